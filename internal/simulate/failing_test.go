package simulate

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/engine"
)

// TestG07ThirtyDaysOfFailure: at most 34 attempts a name (1, 10, 100 minutes,
// then daily) whatever the CA fails with, and delays that never fall.
func TestG07ThirtyDaysOfFailure(t *testing.T) {
	t.Parallel()
	modes := map[string]func(now time.Time) error{
		"503": func(time.Time) error { return inkan.Errorf(inkan.Temporary, "newOrder", "503") },
		"429 for 1 h": func(now time.Time) error {
			return inkan.Errorf(inkan.RateLimited, "newOrder", "429").After(now.Add(time.Hour))
		},
		"429 for 1 s": func(now time.Time) error {
			return inkan.Errorf(inkan.RateLimited, "newOrder", "429").After(now.Add(time.Second))
		},
		"terms":        func(time.Time) error { return inkan.Errorf(inkan.Operator, "newOrder", "new terms") },
		"refused":      func(time.Time) error { return inkan.Errorf(inkan.Rejected, "newOrder", "rejectedIdentifier") },
		"invalid":      func(time.Time) error { return inkan.Errorf(inkan.Rejected, "validation", "%w", inkan.ErrOrderDead) },
		"wrong answer": func(time.Time) error { return inkan.Errorf(inkan.Bug, "download", "another key") },
	}
	for mode, failure := range modes {
		for _, timer := range timers() {
			t.Run(mode+", "+timer.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					var tries []time.Time
					w.ca.fail = func(_ string, now time.Time) error {
						tries = append(tries, now)
						return failure(now)
					}
					w.record(w.process(), "a.example")
					begin := time.Now()
					for time.Since(begin) < 30*day {
						w.renew(w.process()) // each run is a process of its own
						time.Sleep(timer.next(w))
					}
					if len(tries) > 34 || len(tries) < 20 {
						t.Errorf("%d attempts in 30 days, want 20 to 34", len(tries))
					}
					slack := time.Second
					if timer.name == "hourly" {
						slack = time.Hour
					}
					for i := 2; i < len(tries); i++ {
						if before, after := tries[i-1].Sub(tries[i-2]), tries[i].Sub(tries[i-1]); after < before-slack {
							t.Errorf("attempt %d came %v after the one before, which had waited %v", i+1, after, before)
						}
					}
					t.Logf("proof: %d attempts", len(tries))
				})
			})
		}
	}
}

// TestG08ThreeYearsOfFailure: far below the 1,152 after which Let's Encrypt
// pauses a name: the hundredth failure in a row asks the operator.
func TestG08ThreeYearsOfFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		down, tries := true, 0
		w.ca.fail = func(_ string, now time.Time) error {
			if !down {
				return nil
			}
			tries++
			return inkan.Errorf(inkan.Temporary, "newOrder", "503 of ca.example")
		}
		w.record(w.process(), "a.example")
		begin := time.Now()
		stopped := time.Time{}
		for time.Since(begin) < 3*365*day {
			w.renew(w.process())
			if tries == 100 && stopped.IsZero() {
				stopped = time.Now()
			}
			time.Sleep(6 * time.Hour)
		}
		t.Logf("proof: %d attempts in three years, the last after %.0f days", tries, stopped.Sub(begin).Hours()/24)
		if tries != 100 {
			t.Errorf("%d attempts in three years of failure, want 100", tries)
		}
		m := w.process()
		o := w.observe(m, "a.example")
		s := engine.PlanCertificate(o, engine.PlanOptions{}, w.wall())[0]
		if s.Action != engine.ActionWait || !strings.Contains(s.Reason, "inkan renew --name a.example") || !strings.Contains(s.Reason, "503 of ca.example") {
			t.Errorf("the plan does not ask the operator: %+v", s)
		}
		if n := countKeys(t, w.store, "due/cert/"); n != 1 {
			t.Errorf("%d due entries, want 1", n)
		}

		// A person asks: once, and it stays held.
		ask := func() {
			p, err := m.Plan(t.Context(), engine.PlanOptions{Scope: engine.Named("a.example"), ByPerson: true})
			if err != nil {
				t.Fatal(err)
			}
			m.Run(t.Context(), p)
		}
		ask()
		w.renew(m)
		time.Sleep(25 * time.Hour)
		w.renew(m)
		if tries != 101 {
			t.Errorf("%d attempts after a person asked once, want 101", tries)
		}
		// The CA is back; a person asks, and all is as ever.
		down = false
		ask()
		if o := w.observe(m, "a.example"); o.Version == nil || o.State.Attempts != 0 {
			t.Errorf("after the CA came back: %+v", o.State)
		}
	})
}

// TestG08ChangedRequest: who changes what is asked for has it tried again.
func TestG08ChangedRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.ca.fail = func(string, time.Time) error { return inkan.Errorf(inkan.Rejected, "newOrder", "rejectedIdentifier") }
		m := w.process()
		w.record(m, "a.example")
		for range 120 {
			w.renew(m)
			time.Sleep(25 * time.Hour)
		}
		w.ca.fail = nil
		w.renew(m)
		if n := w.ca.count(""); n != 0 {
			t.Fatalf("%d certificates without being asked", n)
		}
		r := request("a.example")
		r.Identifiers = append(r.Identifiers, inkan.Identifier{Type: inkan.DNS, Value: "b.example"})
		if _, err := m.Record(t.Context(), r, inkan.OriginCLI); err != nil {
			t.Fatal(err)
		}
		w.renew(m)
		if n := w.ca.count(""); n != 1 {
			t.Errorf("%d certificates after the request was changed, want 1", n)
		}
	})
}

func countKeys(t *testing.T, s inkan.Store, prefix string) int {
	t.Helper()
	n := 0
	for _, err := range s.List(t.Context(), prefix, "") {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}
