// Command inkan-demo shows what inkan does, on this machine alone: it starts a
// test CA and a web site on loopback and then runs the real inkan command.
//
//	go run ./cmd/inkan-demo [--keep] [--inkan FILE]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() { os.Exit(run()) }

func run() int {
	if len(os.Args) == 3 && os.Args[1] == siteCommand {
		return serveSite(os.Args[2], os.Stdin, os.Stdout, os.Stderr)
	}
	keep := flag.Bool("keep", false, "leave the CA, the web site and the files for exploring, until Ctrl-C")
	binary := flag.String("inkan", "", "show the inkan command in this `FILE` (default: build it)")
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s := newScreen(os.Stdout, os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb")
	switch err := show(ctx, s, *binary, *keep); {
	case err == nil:
		return 0
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		fmt.Fprintln(os.Stderr, "inkan-demo: stopped; everything is removed")
	default:
		fmt.Fprintln(os.Stderr, "inkan-demo: error:", err)
	}
	return 1
}
