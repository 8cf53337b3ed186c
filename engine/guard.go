package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/inkan-acme/inkan"
)

// panicked is the panic of a plug-in as an error.
type panicked struct {
	value string
	stack []byte
}

func (p *panicked) Error() string { return "it panicked: " + p.value }

// guarded runs one call of a plug-in. A panic in it is an error of kind Bug: it
// costs the certificate in work, not the process and all the others (reliability
// C30, M05).
func guarded(op string, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = inkan.Errorf(inkan.Bug, op, "%w", &panicked{inkan.Printable(fmt.Sprint(p), 1024), debug.Stack()})
		}
	}()
	return f()
}

// isPanic reports whether err comes from a panic of a plug-in.
func isPanic(err error) bool {
	_, ok := errors.AsType[*panicked](err)
	return ok
}

// logPanic logs where a panic was, if err comes from one.
func (m *Manager) logPanic(name string, err error) {
	if p, ok := errors.AsType[*panicked](err); ok {
		m.log().Error("a plug-in panicked", logName(name), logError(err), slog.String("stack", string(p.stack)))
	}
}
