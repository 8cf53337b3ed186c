package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/term"
	"github.com/inkan-acme/inkan/plug"
)

// failures are the errors of several certificates, one message each.
type failures []failure

type failure struct {
	name string // of the certificate
	err  error
	next time.Time // when the next try comes; zero if it is not known
}

// message is the text of f: it always names the certificate.
func (f failure) message() string {
	text := f.err.Error()
	switch {
	case errors.Is(f.err, context.Canceled):
		text = "interrupted; what was begun is on record, and inkan renew goes on with it"
	case f.name == "" || strings.HasPrefix(text, "certificate "+f.name):
		return text
	}
	return "certificate " + f.name + ": " + text
}

func (f failures) Error() string {
	lines := make([]string, len(f))
	for i := range f {
		lines[i] = f[i].message()
	}
	return strings.Join(lines, "\n")
}

func (f failures) Unwrap() []error {
	errs := make([]error, len(f))
	for i := range f {
		errs[i] = f[i].err
	}
	return errs
}

// split returns the messages that err is made of.
func split(err error) failures {
	if all, ok := errors.AsType[failures](err); ok {
		return all
	}
	return failures{{err: err}}
}

// also adds a failure to err, which may be nil.
func also(err error, f failure) error {
	if f.err == nil {
		return err
	}
	if err == nil {
		return failures{f}
	}
	return append(split(err), f)
}

// printError writes "inkan: error: ..." and the hints. Everything in it that
// came from outside has passed inkan.Printable; new lines are ours.
func (a *app) printError(err error) {
	for _, f := range split(err) {
		if a.JSON {
			a.printJSONError(f)
		} else {
			a.printFailure(f)
		}
	}
}

func (a *app) printFailure(f failure) {
	prefix := a.PaintErr(term.Red, "inkan: error:")
	if p, ok := errors.AsType[*plug.Problems](f.err); ok {
		// Each at the beginning of its line, where editors look for places.
		fmt.Fprintf(a.Stderr, "%s the configuration has %s\n%s\n", prefix, count(p.Len(), "fault"), p)
		return
	}
	ctx := context.Background()
	a.TellErr(term.Red, "inkan: error:", a.InWords(ctx, strings.TrimSpace(f.message())))
	for _, h := range inkan.HintsOf(f.err) {
		a.TellErr(term.Yellow, "hint:", a.InWords(ctx, h))
	}
	if !f.next.IsZero() {
		a.TellErr(term.Yellow, "next:", nextWords(f, time.Now()))
	}
}

// nextWords says when the next try is. Before that nobody may try again if the CA
// asked us to wait.
func nextWords(f failure, now time.Time) string {
	text := "the next run tries again"
	if f.next.After(now) {
		text = "the next try is " + term.Instant(f.next, now)
	}
	if errors.Is(f.err, inkan.RateLimited) || !inkan.RetryAfterOf(f.err).IsZero() {
		return text
	}
	return text + "; inkan renew --name " + f.name + " tries now"
}

type jsonError struct {
	Name  string    `json:"name,omitempty"`
	Error string    `json:"error"`
	Kind  string    `json:"kind"`
	Hints []string  `json:"hints,omitempty"`
	Next  time.Time `json:"next,omitzero"`
}

func (a *app) printJSONError(f failure) {
	kind := inkan.KindOf(f.err).String()
	if _, ok := errors.AsType[usageError](f.err); ok {
		kind = "usage"
	}
	enc := json.NewEncoder(a.Stderr)
	if err := enc.Encode(jsonError{f.name, f.err.Error(), kind, inkan.HintsOf(f.err), f.next}); err != nil {
		return // there is nobody left to tell
	}
}
