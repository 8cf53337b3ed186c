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
	// Who reads our output may go away in the middle of an order (reliability
	// J07): writing then fails, and the work goes on. Caught, not ignored: what
	// is ignored here would be in our children too.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	a := newApp(os.Stdin, os.Stdout, os.Stderr, os.Environ(), os.Args[1:])
	return a.execute(ctx)
}
