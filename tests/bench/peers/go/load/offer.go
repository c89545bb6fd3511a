package main

import (
	"fmt"
	"sort"
	"sync"
	"syscall"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const tick = time.Millisecond

// offered is what came of calls that begin by the clock, whatever has become of those before.
type offered struct {
	mutex    sync.Mutex
	good     []float64 // microseconds since the call was due, as the next two
	refused  []float64 // by the server, before the deadline
	late     []float64 // until the call began
	failures map[string]int
	windows  []int // good answers, by when they came
	expired  int   // no answer by the deadline
	skipped  int   // due when as many as allowed were under way
}

// offer begins rate calls a second for so long, at most outstanding of them at a time. It does what comes then as soon as the last
// has begun, and returns when all have ended.
func offer(calls []call, prepared [][]byte, offset int, rate float64, lasts time.Duration, outstanding int, window time.Duration, then func()) *offered {
	result := &offered{failures: map[string]int{}, windows: make([]int, int(lasts/window))}
	places := make(chan struct{}, outstanding)
	var group sync.WaitGroup
	start := time.Now()
	for number := 0; ; {
		elapsed := time.Since(start)
		if elapsed >= lasts {
			break
		}
		for ; float64(number) < elapsed.Seconds()*rate; number++ {
			due := start.Add(time.Duration(float64(number) / rate * float64(time.Second)))
			select {
			case places <- struct{}{}:
			default:
				result.skipped++
				continue
			}
			group.Add(1)
			go func(number int) {
				defer group.Done()
				result.one(calls[number%len(calls)], filled(prepared, number, offset), due, start, window)
				<-places
			}(number)
		}
		time.Sleep(tick)
	}
	then()
	group.Wait()
	return result
}

func (result *offered) one(invoke call, body []byte, due, start time.Time, window time.Duration) {
	late := time.Since(due)
	_, err := invoke(body)
	took := time.Since(due)
	result.mutex.Lock()
	defer result.mutex.Unlock()
	result.late = append(result.late, micros(late))
	if err != nil {
		result.failures[reason(err)]++
		if status.Code(err) == codes.DeadlineExceeded {
			result.expired++
		} else {
			result.refused = append(result.refused, micros(took))
		}
		return
	}
	result.good = append(result.good, micros(took))
	if n := int(time.Since(start) / window); n < len(result.windows) {
		result.windows[n]++
	}
}

// again lets clients call in a closed loop, and counts good answers by when they came.
func again(calls []call, prepared [][]byte, offset int, lasts, window time.Duration) []int {
	windows := make([]int, int(lasts/window))
	var mutex sync.Mutex
	var group sync.WaitGroup
	start := time.Now()
	for n := range calls {
		group.Add(1)
		go func(n int) {
			defer group.Done()
			for number := n; time.Since(start) < lasts; number += len(calls) {
				_, err := calls[n](filled(prepared, number, offset))
				if at := int(time.Since(start) / window); err == nil && at < len(windows) {
					mutex.Lock()
					windows[at]++
					mutex.Unlock()
				}
			}
		}(n)
	}
	group.Wait()
	return windows
}

// reason says why a call failed: its status, and the reason in its details.
func reason(err error) string {
	found := status.Convert(err)
	for _, detail := range found.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return fmt.Sprintf("%s %s", found.Code(), info.Reason)
		}
	}
	return found.Code().String()
}

func micros(took time.Duration) float64 { return float64(took.Nanoseconds()) / 1e3 }

func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(q*float64(len(sorted)-1))]
}

func (result *offered) summary(lasts time.Duration, spent float64, after []int) map[string]interface{} {
	for _, each := range [][]float64{result.good, result.refused, result.late} {
		sort.Float64s(each)
	}
	return map[string]interface{}{
		"seconds": lasts.Seconds(), "good": len(result.good), "refused": len(result.refused), "expired": result.expired, "skipped": result.skipped,
		"failures": result.failures, "windows": result.windows, "after": after, "cpu_seconds": spent,
		"good_us":    []float64{quantile(result.good, 0.5), quantile(result.good, 0.99)},
		"refused_us": []float64{quantile(result.refused, 0.5), quantile(result.refused, 0.99)},
		"late_us":    []float64{quantile(result.late, 0.5), quantile(result.late, 0.99), quantile(result.late, 1)},
	}
}

// cpu returns the seconds that this process took so far.
func cpu() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}
