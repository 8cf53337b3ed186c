// Package cli is the command inkan as a function, so that a program with other
// plug-ins is a few lines:
//
//	func main() {
//		set := plugins.All()
//		plug.Add(&set.Deployers, "mine", mine)
//		os.Exit(cli.Main(set))
//	}
package cli

import (
	"context"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/inkan-acme/inkan/plug"
)

// Main is what main does: it runs the command that this process was called with,
// until it ends or the process is asked to, and returns the exit status.
func Main(set *plug.Set) int {
	return Run(untilAsked{sync.OnceValue(catchSignals)}, set, os.Stdin, os.Stdout, os.Stderr, os.Environ(), os.Args[1:])
}

// untilAsked is a context that ends when the process is asked to end. It catches
// signals from its first use on, and every store, CA and plug-in uses it before
// it changes anything. A command that only prints does not use it, because
// catching signals would be a tenth of its CPU time.
type untilAsked struct{ ctx func() context.Context }

func (u untilAsked) Deadline() (time.Time, bool) { return u.ctx().Deadline() }
func (u untilAsked) Done() <-chan struct{}       { return u.ctx().Done() }
func (u untilAsked) Err() error                  { return u.ctx().Err() }
func (u untilAsked) Value(key any) any           { return u.ctx().Value(key) }

// catchSignals is for the rest of the process: there is no way back.
func catchSignals() context.Context {
	ctx, _ := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The reader of our output may go away in the middle of an order
	// (reliability J07): writing then fails, and the work goes on. The signal is
	// caught, not ignored, because children inherit ignored signals.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	return ctx
}

// Run runs one command and returns its exit status (docs/reference/exit-status.md).
// It knows the plug-ins of set and, besides, those that need a terminal; set
// itself stays as it is. environ and args are as in os.Environ and os.Args[1:].
// Questions are asked and colours used only where stdin, stdout and stderr are
// terminals.
func Run(ctx context.Context, set *plug.Set, stdin io.Reader, stdout, stderr io.Writer, environ, args []string) int {
	return newApp(set, stdin, stdout, stderr, environ, args).execute(ctx)
}
