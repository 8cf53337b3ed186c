//go:build failpoint

package machine

import (
	"net/http"
	"os"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/acme"
	"github.com/inkan-acme/inkan/internal/failpoint"
	"github.com/inkan-acme/inkan/plug"
)

// faults, in the program that internal/endtoend builds with the tag failpoint,
// kills it at one of the changes it makes. The environment says how:
//
//	INKAN_FAILPOINT        before POINT or after POINT
//	INKAN_FAILPOINT_TRACE  a file to which the points are appended
//	INKAN_FAILPOINT_CLOCK  how far the clock is ahead
type faults struct {
	points *failpoint.Points
	ahead  time.Duration
}

// newFaults panics on what it cannot read: only a test sees it.
func newFaults(env map[string]string) faults {
	var f faults
	spec, err := failpoint.ParseSpec(env["INKAN_FAILPOINT"])
	if err != nil {
		panic(err)
	}
	if d := env["INKAN_FAILPOINT_CLOCK"]; d != "" {
		if f.ahead, err = time.ParseDuration(d); err != nil {
			panic(err)
		}
	}
	f.points = failpoint.New(spec, nil)
	if name := env["INKAN_FAILPOINT_TRACE"]; name != "" {
		trace, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			panic(err)
		}
		f.points = failpoint.New(spec, trace)
	}
	return f
}

// plugins adds what lives in the process of the test: a Store and a DNS host.
func (f faults) plugins(s *plug.Set) *plug.Set {
	plug.Add(&s.Stores, "failpoint-remote", failpoint.Remote)
	plug.AddSolver(&s.Solvers, "failpoint-dns", inkan.DNS01, func(_ plug.Env, c failpoint.DNSConfig) (inkan.Solver, error) {
		return failpoint.DNS(&http.Client{Transport: f.points.Transport(http.DefaultTransport)}, c), nil
	})
	return s
}

// store puts points around a Store.
func (f faults) store(label string, s inkan.Store) inkan.Store { return f.points.Store(label, s) }

// transport puts points around the requests to a CA.
func (f faults) transport(env plug.Env, c acme.Config) (plug.Env, acme.Config) {
	env.HTTP = &http.Client{Transport: f.points.Transport(acme.NewTransport(c.Roots, c.Proxy))}
	c.Roots, c.Proxy = nil, nil
	return env, c
}

// now is the clock.
func (f faults) now() func() time.Time {
	return func() time.Time { return time.Now().Add(f.ahead) }
}
