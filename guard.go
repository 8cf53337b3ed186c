package inkan

import "fmt"

// guarded runs one call of a plug-in. A panic in it is an error of kind Bug: it
// costs the certificate in work, not the process and all the others (reliability
// C30, M05).
func guarded(op string, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = Errorf(Bug, op, "it panicked: %s", Printable(fmt.Sprint(p), 1024))
		}
	}()
	return f()
}
