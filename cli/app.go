package cli

import (
	"io"
	"log/slog"
	"strings"

	"github.com/inkan-acme/inkan/internal/term"
	"github.com/inkan-acme/inkan/machine"
	"github.com/inkan-acme/inkan/plug"
)

// app is one run of the command: what it was called with, the machine it works
// on and the person it talks to.
type app struct {
	*machine.Machine
	*term.Terminal
	args []string

	// Flags of every command.
	verbose  int
	detailed bool // --detailed-exitcode

	log     *slog.Logger
	changed bool // for --detailed-exitcode
}

func newApp(set *plug.Set, stdin io.Reader, stdout, stderr io.Writer, environ, args []string) *app {
	env := map[string]string{}
	for _, kv := range environ {
		k, v, _ := strings.Cut(kv, "=")
		env[k] = v
	}
	a := &app{args: args, Terminal: &term.Terminal{Stdin: stdin, Stdout: stdout, Stderr: stderr, Plain: env["NO_COLOR"] != "" || env["TERM"] == "dumb", Dumb: env["TERM"] == "dumb"}}
	a.Machine = machine.New(a.addManual(set.Clone()), env, version(), a.logger)
	return a
}

// trial is the same run, dry.
func (a *app) trial(recorded bool) *app {
	t := *a
	t.Machine = a.Machine.Trial(recorded)
	return &t
}

// logger writes to stderr only: journald and friends keep files.
func (a *app) logger() *slog.Logger {
	if a.log == nil {
		level := slog.LevelWarn
		switch {
		case a.Quiet:
			level = slog.LevelError
		case a.verbose == 1:
			level = slog.LevelInfo
		case a.verbose > 1:
			level = slog.LevelDebug
		}
		a.log = slog.New(slog.NewTextHandler(a.Stderr, &slog.HandlerOptions{Level: level}))
	}
	return a.log
}
