// Package guard calls plug-ins, which may be anybody's: a panic in one costs the
// certificate in work, not the process and all the others (reliability C30, M05).
package guard

import (
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/inkan-acme/inkan"
)

// maxShown bounds what is shown of the value of a panic, in bytes.
const maxShown = 1024

// panicked is the panic of a plug-in as an error.
type panicked struct {
	value string
	stack []byte
}

func (p *panicked) Error() string { return "it panicked: " + p.value }

// Call runs one call of a plug-in. A panic in it is an error of kind Bug.
func Call(op string, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = inkan.Errorf(inkan.Bug, op, "%w", &panicked{inkan.Printable(fmt.Sprint(p), maxShown), debug.Stack()})
		}
	}()
	return f()
}

// Make calls what makes a plug-in: a constructor, or a function of the program. If
// nothing comes of it, that is an error of kind Bug too, with the text missing.
func Make[T any](op, missing string, make func() (T, error)) (v T, err error) {
	err = Call(op, func() error {
		v, err = make()
		return err
	})
	if err == nil && any(v) == nil {
		err = inkan.Errorf(inkan.Bug, op, "%s", missing)
	}
	return v, err
}

// Stack says where a panic was that [Call] caught; false if err comes from none.
func Stack(err error) ([]byte, bool) {
	p, ok := errors.AsType[*panicked](err)
	if !ok {
		return nil, false
	}
	return p.stack, true
}
