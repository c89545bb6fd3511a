// Command server is Teppan's BookingsService as people write it in Go: grpc-go, pgx, generated messages.
//
// It reads and writes the schema "bookings" as Teppan's migrations make it. Without -checked it verifies no token and expects a role that
// sees all rows; with -checked it makes the checks that Teppan makes, as the role bookings_app.
package main

import (
	"context"
	"flag"
	"log"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/jackc/pgx/v4/pgxpool"
	"google.golang.org/grpc"

	pb "teppan/bookingspb"
)

const lockTimeout = "8s"

type server struct {
	pb.UnimplementedBookingsServiceServer // has CancelBooking

	pool    *pgxpool.Pool
	checked bool
	key     []byte // fingerprints requests
}

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address to listen on")
	database := flag.String("database", "", "URL of the database")
	checked := flag.Bool("checked", false, "verify tokens and roles, and isolate stations by row-level security")
	keyFile := flag.String("key", "", "JWKS or PEM file of the Ed25519 public key that tokens are verified with")
	pool := flag.Int("pool", 16, "connections to the database")
	flag.Parse()

	config, err := pgxpool.ParseConfig(*database)
	if err != nil {
		log.Fatal(err)
	}
	config.MaxConns = int32(*pool)
	config.ConnConfig.RuntimeParams["lock_timeout"] = lockTimeout
	connections, err := pgxpool.ConnectConfig(context.Background(), config)
	if err != nil {
		log.Fatal(err)
	}
	defer connections.Close()

	var options []grpc.ServerOption
	if *checked {
		verifier, err := newVerifier(*keyFile)
		if err != nil {
			log.Fatal(err)
		}
		options = append(options, grpc.UnaryInterceptor(verifier.unary), grpc.StreamInterceptor(verifier.stream))
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	serving := grpc.NewServer(options...)
	pb.RegisterBookingsServiceServer(serving, &server{pool: connections, checked: *checked, key: []byte("a key for fingerprints")})
	go stopOnSignal(serving)
	log.Printf("listening on %s", listener.Addr())
	if err := serving.Serve(listener); err != nil {
		log.Fatal(err)
	}
}

func stopOnSignal(serving *grpc.Server) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	<-signals
	time.AfterFunc(2*time.Second, serving.Stop)
	serving.GracefulStop()
}
