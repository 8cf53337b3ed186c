package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/inkan-acme/inkan"
)

// failures are the errors of several certificates, one message each.
type failures []failure

type failure struct {
	err  error
	next string // when the next try comes, in words
}

func (f failures) Error() string {
	lines := make([]string, len(f))
	for i := range f {
		lines[i] = f[i].err.Error()
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

// printError writes "inkan: error: ..." and the hints. Everything in it that
// came from outside has passed inkan.Printable; new lines are kept as ours.
func (a *app) printError(err error) {
	if a.json {
		a.printJSONError(err)
		return
	}
	all, ok := errors.AsType[failures](err)
	if !ok {
		all = failures{{err: err}}
	}
	for _, f := range all {
		for i, line := range strings.Split(strings.TrimSpace(f.err.Error()), "\n") {
			if i == 0 {
				fmt.Fprintf(a.stderr, "%s %s\n", a.paint(red, "inkan: error:"), line)
			} else {
				fmt.Fprintf(a.stderr, "  %s\n", line)
			}
		}
		for _, h := range inkan.HintsOf(f.err) {
			fmt.Fprintf(a.stderr, "%s %s\n", a.paint(yellow, "hint:"), h)
		}
		if f.next != "" {
			fmt.Fprintf(a.stderr, "%s %s\n", a.paint(yellow, "next:"), f.next)
		}
	}
}

type jsonError struct {
	Error string   `json:"error"`
	Kind  string   `json:"kind"`
	Hints []string `json:"hints,omitempty"`
	Next  string   `json:"next,omitempty"`
}

func (a *app) printJSONError(err error) {
	all, ok := errors.AsType[failures](err)
	if !ok {
		all = failures{{err: err}}
	}
	enc := json.NewEncoder(a.stderr)
	for _, f := range all {
		kind := inkan.KindOf(f.err).String()
		if _, ok := errors.AsType[usageError](f.err); ok {
			kind = "usage"
		}
		if err := enc.Encode(jsonError{f.err.Error(), kind, inkan.HintsOf(f.err), f.next}); err != nil {
			return // there is nobody left to tell
		}
	}
}
