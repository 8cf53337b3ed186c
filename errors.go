package inkan

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Kind says what an error means for the work it interrupted. A Kind is itself
// an error, so errors.Is(err, inkan.RateLimited) asks for it.
type Kind int

const (
	// Temporary: the same attempt may succeed later without anybody's help.
	// It is the zero value, so an unclassified error is retried, slowly.
	Temporary Kind = iota
	// RateLimited: a limit of the CA or of this Store says when to come back.
	RateLimited
	// Pending: the work goes on from its journal. It is no failure and causes no
	// back-off.
	Pending
	// Operator: a person must change something first (terms, DNS, a path).
	Operator
	// Rejected: the other side refused for good; the same question gets the
	// same answer until the request changes.
	Rejected
	// Bug: somebody broke a contract: a CA that signed another key, or us.
	Bug
)

// String returns the lower-case word that stands in messages and JSON.
func (k Kind) String() string {
	switch k {
	case Temporary:
		return "temporary"
	case RateLimited:
		return "rate-limited"
	case Pending:
		return "pending"
	case Operator:
		return "operator"
	case Rejected:
		return "rejected"
	case Bug:
		return "bug"
	}
	return fmt.Sprintf("kind(%d)", int(k))
}

// Error makes a Kind usable with errors.Is.
func (k Kind) Error() string { return k.String() }

// MarshalText writes the word of [Kind.String], so that stored states stay
// readable when kinds are added.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads the word of [Kind.String]. An unknown word, written by a
// newer program, counts as Temporary.
func (k *Kind) UnmarshalText(b []byte) error {
	for c := Temporary; c <= Bug; c++ {
		if c.String() == string(b) {
			*k = c
			return nil
		}
	}
	*k = Temporary
	return nil
}

// Error is the one error type of Inkan. Plug-ins return it where they know
// more than their caller; every other error counts as [Temporary].
//
// The message is "<op>: <err>", lower case, without a full stop. Hint tells a
// person how to fix it, also without a full stop. Neither ever holds a secret.
type Error struct {
	Op         string    // the step, the name and the host: "newOrder at acme.example"
	Kind       Kind      //
	RetryAfter time.Time // the earliest next try; zero if none is asked for
	Hint       string    // what to do; may be empty; several lines are several hints
	Err        error     // what happened; never nil
}

// Errorf returns an *Error of the given kind; the format may use %w.
func Errorf(kind Kind, op, format string, args ...any) *Error {
	return &Error{Op: op, Kind: kind, Err: fmt.Errorf(format, args...)}
}

// WithHint sets the hint and returns e.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// After sets the earliest next try and returns e.
func (e *Error) After(t time.Time) *Error {
	e.RetryAfter = t
	return e
}

func (e *Error) Error() string {
	switch {
	case e.Err == nil:
		return e.Op
	case e.Op == "":
		return e.Err.Error()
	}
	return e.Op + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is the Kind of e.
func (e *Error) Is(target error) bool {
	k, ok := target.(Kind)
	return ok && k == e.Kind
}

// KindOf returns the Kind of the outermost *Error in err. A cancelled context
// is [Pending] (the journal holds the work), every other error [Temporary].
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	if errors.Is(err, context.Canceled) {
		return Pending
	}
	return Temporary
}

// HintsOf returns the hints of every *Error in err, outermost first, without
// repeats.
func HintsOf(err error) []string {
	var hints []string
	seen := map[string]bool{}
	for err != nil {
		if e, ok := err.(*Error); ok {
			for h := range strings.SplitSeq(e.Hint, "\n") {
				if h != "" && !seen[h] {
					seen[h] = true
					hints = append(hints, h)
				}
			}
		}
		if many, ok := err.(interface{ Unwrap() []error }); ok {
			for _, one := range many.Unwrap() {
				for _, h := range HintsOf(one) {
					if !seen[h] {
						seen[h] = true
						hints = append(hints, h)
					}
				}
			}
			return hints
		}
		err = errors.Unwrap(err)
	}
	return hints
}

// RetryAfterOf returns the latest RetryAfter of the *Errors in err, or zero.
func RetryAfterOf(err error) time.Time {
	var latest time.Time
	take := func(at time.Time) {
		if at.After(latest) {
			latest = at
		}
	}
	for err != nil {
		if e, ok := err.(*Error); ok {
			take(e.RetryAfter)
		}
		if many, ok := err.(interface{ Unwrap() []error }); ok {
			for _, one := range many.Unwrap() {
				take(RetryAfterOf(one))
			}
			return latest
		}
		err = errors.Unwrap(err)
	}
	return latest
}

// Printable returns s fit for a terminal, a log and a table: control and
// format characters escaped, cut to at most max bytes, the last three of them
// dots if anything is missing. Whatever a CA or a network said passes through
// it before a person reads it.
func Printable(s string, max int) string {
	const dots = "..."
	var b strings.Builder
	whole := 0 // how much of the text stays if dots must follow
	for _, r := range s {
		piece := string(r)
		switch {
		case r == utf8.RuneError:
			piece = `\ufffd`
		case unicode.IsControl(r), unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp):
			piece = fmt.Sprintf("\\u%04x", r)
		}
		if b.Len()+len(piece) > max {
			return b.String()[:whole] + dots[:min(max, len(dots))]
		}
		b.WriteString(piece)
		if b.Len()+len(dots) <= max {
			whole = b.Len()
		}
	}
	return b.String()
}
