// Command load calls one method again and again with bodies that are prepared, and writes what it saw as JSON.
//
// It knows no message: requests go out and answers come in as bytes. Where -offset is given, each body gets a fresh UUID there, as a
// write that is to have an effect of its own needs.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

const (
	idBytes    = 36
	frameBytes = 5 // before each gRPC message
)

type raw struct{}

func (raw) Marshal(v interface{}) ([]byte, error) { return *v.(*[]byte), nil }

func (raw) Unmarshal(data []byte, v interface{}) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}

func (raw) Name() string { return "proto" }

func (raw) String() string { return "proto" }

// seen is what one client saw.
type seen struct {
	micros   []float64
	received int64
	failures map[string]int
}

type call func(body []byte) (received int, err error)

func main() {
	kind := flag.String("kind", "grpc", "grpc, or http for a POST of JSON")
	target := flag.String("target", "", "host:port")
	path := flag.String("path", "", "of the method")
	authorization := flag.String("authorization", "", "metadata or header")
	bodies := flag.String("bodies", "", "file of bodies, each after its length in 4 bytes, big endian")
	offset := flag.Int("offset", -1, "where in each body a fresh UUID is written")
	clients := flag.Int("clients", 1, "calls at a time, each client on a connection of its own")
	seconds := flag.Float64("seconds", 1, "how long to begin calls")
	most := flag.Int64("most", 0, "how many calls to begin at most; 0: no limit")
	rate := flag.Float64("rate", 0, "calls a second that begin by the clock; 0: each client begins one when it has the answer to the last")
	deadline := flag.Duration("deadline", 0, "of each call; 0: none")
	outstanding := flag.Int("outstanding", 1, "with -rate: how many calls may be under way")
	window := flag.Duration("window", time.Second/4, "with -rate: good answers are counted for each")
	after := flag.Duration("after", 0, "with -rate: how long clients go on without it afterwards")
	closed := flag.Int("closed", 1, "with -after: how many clients")
	flag.Parse()

	prepared, err := read(*bodies)
	if err != nil {
		log.Fatal(err)
	}
	results := make([]seen, *clients)
	calls := make([]call, *clients)
	for n := range calls {
		if calls[n], err = dial(*kind, *target, *path, *authorization, *deadline); err != nil {
			log.Fatal(err)
		}
	}
	if *rate > 0 {
		lasts := time.Duration(*seconds * float64(time.Second))
		var spent float64
		var windows []int
		result := offer(calls, prepared, *offset, *rate, lasts, *outstanding, *window, func() {
			spent = cpu()
			windows = again(calls[:min(*closed, len(calls))], prepared, *offset, *after, *window)
		})
		write(result.summary(lasts, spent, windows))
		return
	}
	var begun int64
	var group sync.WaitGroup
	start := time.Now()
	until := start.Add(time.Duration(*seconds * float64(time.Second)))
	for n := range calls {
		group.Add(1)
		go func(n int) {
			defer group.Done()
			results[n] = client(calls[n], prepared, *offset, until, &begun, *most)
		}(n)
	}
	group.Wait()
	write(summary(results, time.Since(start)))
}

func write(found map[string]interface{}) {
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		log.Fatal(err)
	}
}

func min(a, b int) int {
	if a < b {
		return a
	}
	return b
}

func read(file string) ([][]byte, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var found [][]byte
	for len(content) >= 4 {
		length := int(binary.BigEndian.Uint32(content))
		if length > len(content)-4 {
			return nil, io.ErrUnexpectedEOF
		}
		found = append(found, content[4:4+length])
		content = content[4+length:]
	}
	if len(found) == 0 {
		return nil, errors.New("the file has no body")
	}
	return found, nil
}

func dial(kind, target, path, authorization string, deadline time.Duration) (call, error) {
	if kind == "http" {
		return posting("http://"+target+path, authorization), nil
	}
	connection, err := grpc.Dial(target, grpc.WithInsecure(), grpc.WithBlock(), grpc.WithTimeout(5*time.Second),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{})))
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	if authorization != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", authorization)
	}
	return func(body []byte) (int, error) {
		var answer []byte
		ctx := ctx
		if deadline > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, deadline)
			defer cancel()
		}
		err := connection.Invoke(ctx, path, &body, &answer)
		return len(answer) + frameBytes, err
	}, nil
}

func posting(url, authorization string) call {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
	return func(body []byte) (int, error) {
		req, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
		if err != nil {
			return 0, err
		}
		req.Header.Set("content-type", "application/json")
		if authorization != "" {
			req.Header.Set("authorization", authorization)
		}
		answer, err := client.Do(req)
		if err != nil {
			return 0, err
		}
		defer answer.Body.Close()
		content, err := io.ReadAll(answer.Body)
		if err == nil && answer.StatusCode/100 != 2 {
			err = fmt.Errorf("%s: %.200s", answer.Status, content)
		}
		return len(content), err
	}
}

func client(invoke call, prepared [][]byte, offset int, until time.Time, begun *int64, most int64) seen {
	result := seen{failures: map[string]int{}}
	for time.Now().Before(until) {
		number := atomic.AddInt64(begun, 1)
		if most > 0 && number > most {
			break
		}
		body := filled(prepared, int(number), offset)
		start := time.Now()
		received, err := invoke(body)
		if err != nil {
			result.failures[err.Error()]++
			continue
		}
		result.micros = append(result.micros, float64(time.Since(start).Nanoseconds())/1e3)
		result.received += int64(received)
	}
	return result
}

// filled returns a body, with a fresh UUID in it where it has a place for one.
func filled(prepared [][]byte, number, offset int) []byte {
	body := prepared[number%len(prepared)]
	if offset >= 0 {
		body = append([]byte(nil), body...)
		copy(body[offset:offset+idBytes], fresh())
	}
	return body
}

func fresh() string {
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		log.Fatal(err)
	}
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	text := hex.EncodeToString(id[:])
	return text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:]
}

func summary(results []seen, took time.Duration) map[string]interface{} {
	var micros []float64
	var received int64
	failed, failures := 0, map[string]int{}
	for _, each := range results {
		micros = append(micros, each.micros...)
		received += each.received
		for what, count := range each.failures {
			failed += count
			if len(failures) < 10 || failures[what] > 0 {
				failures[what] += count
			}
		}
	}
	sort.Float64s(micros)
	return map[string]interface{}{
		"done": len(micros), "failed": failed, "failures": failures, "bytes": received, "seconds": took.Seconds(),
		"p50_us": quantile(micros, 0.5), "p99_us": quantile(micros, 0.99),
	}
}
