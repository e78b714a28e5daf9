// A server that speaks the protocol of S3, for tests. It keeps buckets in memory, and does not check who asks.
//
// It listens on a free port of this machine, prints its address in one line, and ends with its standard input.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	// Below the name of the first argument, the first part of a host name is the bucket.
	base := fmt.Sprintf("%s:%d", os.Args[1], listener.Addr().(*net.TCPAddr).Port)
	server := gofakes3.New(s3mem.New(), gofakes3.WithHostBucketBase(base)).Server()
	fmt.Printf("http://%s\n", listener.Addr())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	if err := http.Serve(listener, server); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
