// Command inkan obtains TLS certificates from ACME certificate authorities,
// keeps them, renews them and brings them to where they are used.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a := newApp(os.Stdin, os.Stdout, os.Stderr, os.Environ(), os.Args[1:])
	return a.execute(ctx)
}
