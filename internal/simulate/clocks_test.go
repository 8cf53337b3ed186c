package simulate

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/store"
)

const year = 365 * day

// oneShotOrDaemon runs a test with a fresh process for each run, and with one
// process that stays.
func oneShotOrDaemon(t *testing.T, test func(t *testing.T, w *world, process func() *engine.Manager)) {
	for _, kind := range []string{"one-shot", "daemon"} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.ca.advice = func(leaf *x509.Certificate, now time.Time) (inkan.RenewalInfo, error) {
					start := leaf.NotBefore.Add(58 * day)
					return inkan.RenewalInfo{Start: start, End: start.Add(2 * day), RetryAfter: now.Add(6 * time.Hour)}, nil
				}
				process := w.process
				if kind == "daemon" {
					m := w.process()
					process = func() *engine.Manager { return m }
				}
				test(t, w, process)
			})
		})
	}
}

func fleet(n int) []string {
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("n%d.example", i))
	}
	return names
}

// TestG01ClockOffByAYear: no mass renewal, nothing forgotten, a warning; and
// the certificates are renewed when it is time by the CA's clock, be the local
// one wrong for days or for ever.
func TestG01ClockOffByAYear(t *testing.T) {
	t.Parallel()
	count := few(1, 10)
	for _, c := range []struct {
		what  string
		off   time.Duration
		lasts time.Duration
	}{
		{"a year ahead for three days", year, 3 * day},
		{"a year behind for three days", -year, 3 * day},
		{"a year ahead for ever", year, 70 * day},
		{"a year behind for ever", -year, 70 * day},
		{"two hours ahead for ever", 2 * time.Hour, 70 * day},
		{"two hours behind for ever", -2 * time.Hour, 70 * day},
	} {
		if !long() && c.lasts != 3*day && c.off > 0 {
			continue // the long form has every case
		}
		t.Run(c.what, func(t *testing.T) {
			oneShotOrDaemon(t, func(t *testing.T, w *world, process func() *engine.Manager) {
				var log strings.Builder
				w.log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
				m := process()
				m.Log = w.log
				w.record(m, fleet(count)...)
				begin := w.truth()
				for w.truth().Sub(begin) < 70*day {
					age := w.truth().Sub(begin)
					if age == 10*day {
						w.setClock(c.off)
					}
					if age == 10*day+c.lasts {
						w.setClock(0)
					}
					if err := w.renew(process()).Err(); err != nil {
						t.Fatal(err)
					}
					if n := w.ca.count(""); age < 57*day && n != count {
						t.Fatalf("%d certificates after %.0f days, want %d", n, age.Hours()/24, count)
					}
					time.Sleep(time.Hour)
				}
				if n := w.ca.count(""); n != 2*count {
					t.Errorf("%d certificates after 70 days, want %d", n, 2*count)
				}
				looks := float64(len(w.ca.looks)) / float64(count) / 70
				t.Logf("proof: %.2f looks a day and certificate", looks)
				// A process that lives for one run asks for the time besides.
				most := 4.5 + 24*c.lasts.Hours()/24/float64(count)/70
				if looks > most || looks < 3 {
					t.Errorf("%.2f looks a day and certificate, want 3 to %.1f", looks, most)
				}
				if !strings.Contains(log.String(), "the clock of this machine differs") {
					t.Error("nobody was told of the clock")
				}
			})
		})
	}
}

// TestG01NoTrustWithoutTime: a clock so wrong that TLS refuses the CA. Every
// try fails; nothing is renewed, and when the clock is right again everything
// goes on as if nothing had been.
func TestG01NoTrustWithoutTime(t *testing.T) {
	t.Parallel()
	count := few(1, 10)
	for _, off := range []time.Duration{year, -year} {
		t.Run(fmt.Sprint(off), func(t *testing.T) {
			oneShotOrDaemon(t, func(t *testing.T, w *world, process func() *engine.Manager) {
				w.ca.fail = func(string, time.Time) error {
					w.mu.Lock()
					defer w.mu.Unlock()
					if w.off.Abs() > 30*day {
						return inkan.Errorf(inkan.Operator, "asking ca.example", "its certificate is not valid now")
					}
					return nil
				}
				w.record(process(), fleet(count)...)
				begin := w.truth()
				for w.truth().Sub(begin) < 70*day {
					age := w.truth().Sub(begin)
					if age == 10*day {
						w.setClock(off)
					}
					if age == 13*day {
						w.setClock(0)
					}
					err := w.renew(process()).Err()
					if err != nil && !errors.Is(err, inkan.Operator) {
						t.Fatal(err)
					}
					if n := w.ca.count(""); age < 57*day && n != count {
						t.Fatalf("%d certificates after %.0f days, want %d", n, age.Hours()/24, count)
					}
					time.Sleep(time.Hour)
				}
				if n := w.ca.count(""); n != 2*count {
					t.Errorf("%d certificates after 70 days, want %d", n, 2*count)
				}
			})
		})
	}
}

// TestG02JumpDuringLease: the clock jumps while a process holds the lease, back
// and ahead. Leases live on the monotonic clock: nobody else takes the work.
func TestG02JumpDuringLease(t *testing.T) {
	t.Parallel()
	for _, jump := range []time.Duration{-2 * time.Hour, day, -year, year} {
		t.Run(fmt.Sprint(jump), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				slow := w.process()
				i := &modelIssuer{ca: w.ca, wall: w.wall, step: func(string) { time.Sleep(5 * time.Minute) }}
				slow.Issuer = func(context.Context, string, string) (inkan.Issuer, error) { return i, nil }
				w.record(slow, "a.example")
				done := make(chan error)
				go func() { done <- w.renew(slow).Err() }()
				time.Sleep(7 * time.Minute) // between newOrder and finalize
				w.setClock(jump)
				for range 5 {
					other := w.process()
					if err := w.renew(other).Err(); err != nil && !errors.Is(err, inkan.Pending) {
						t.Errorf("the other process: %v", err)
					}
				}
				if err := <-done; err != nil {
					t.Errorf("the holder: %v", err)
				}
				for range 48 {
					w.renew(w.process())
					time.Sleep(time.Hour)
				}
				if n := w.ca.count(""); n != 1 || len(w.ca.orders) != 1 {
					t.Errorf("%d certificates of %d orders, want one", n, len(w.ca.orders))
				}
				if o := w.observe(w.process(), "a.example"); o.Current.N != 1 || o.State.Lease != nil || o.State.Running != "" {
					t.Errorf("current %d, state %+v", o.Current.N, o.State)
				}
			})
		})
	}
}

// TestG03PostDated: a CA whose certificates begin 90 minutes from now. The
// target keeps the one it has until then.
func TestG03PostDated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		host, target := store.Mem(), &targetOfOne{}
		process := func() *engine.Manager {
			m := w.process()
			m.Host = host
			m.Target = func(context.Context, string) (*engine.Target, error) { return &engine.Target{Deployer: target}, nil }
			return m
		}
		r := request("a.example")
		r.Targets = []string{"web"}
		m := process()
		if _, err := m.Record(t.Context(), r, inkan.OriginCLI); err != nil {
			t.Fatal(err)
		}
		w.renew(m)
		if target.leaf() == nil {
			t.Fatal("the first certificate is not in place")
		}
		w.ca.mu.Lock()
		w.ca.backdate = -90 * time.Minute
		w.ca.mu.Unlock()
		var early, switched time.Duration
		for range 70 * 24 * 4 {
			if err := w.renew(process()).Err(); err != nil && !errors.Is(err, inkan.Rejected) {
				t.Fatal(err)
			}
			leaf := target.leaf()
			if now := w.truth(); now.Before(leaf.NotBefore) {
				early++
			} else if w.ca.count("") == 2 && switched == 0 && leaf.NotBefore.After(w.ca.last["a.example"].at) {
				switched = now.Sub(w.ca.last["a.example"].at)
			}
			time.Sleep(15 * time.Minute)
		}
		t.Logf("proof: deployed %s after it was issued", switched)
		if early > 0 || switched < 90*time.Minute || switched > 105*time.Minute {
			t.Errorf("in place before it was valid %d times; deployed %s after it was issued", early, switched)
		}
	})
}

// targetOfOne remembers the leaf that it was given last.
type targetOfOne struct {
	mu   sync.Mutex
	last *x509.Certificate
}

func (d *targetOfOne) Deploy(_ context.Context, dep inkan.Deployment) (inkan.Receipt, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last = dep.Version.Pairs[0].Leaf
	return inkan.Receipt(`{}`), nil
}

func (d *targetOfOne) leaf() *x509.Certificate {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last
}

// TestG04Suspend: a machine sleeps for three days, also across the moment of
// renewal and in the middle of an order. On wake each due job runs once.
func TestG04Suspend(t *testing.T) {
	t.Parallel()
	count := few(2, 20)
	for _, at := range []time.Duration{10 * day, 57 * day} {
		t.Run(fmt.Sprintf("after %v", at), func(t *testing.T) {
			oneShotOrDaemon(t, func(t *testing.T, w *world, process func() *engine.Manager) {
				w.record(process(), fleet(count)...)
				begin := w.truth()
				for w.truth().Sub(begin) < 75*day {
					if w.truth().Sub(begin) == at {
						w.suspend(3 * day)
						before := len(w.ca.looks)
						if err := w.renew(process()).Err(); err != nil {
							t.Fatal(err)
						}
						// Each certificate is looked at once; one request
						// besides asked for the time.
						if n := len(w.ca.looks) - before; n > count+1 {
							t.Errorf("%d looks on wake, want %d", n, count)
						}
					}
					if err := w.renew(process()).Err(); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Hour)
				}
				if n := w.ca.count(""); n != 2*count {
					t.Errorf("%d certificates after 75 days, want %d", n, 2*count)
				}
			})
		})
	}
	t.Run("in the middle of an order", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			m := w.process()
			i := &modelIssuer{ca: w.ca, wall: w.wall, step: func(what string) {
				if what == "finalize" {
					w.suspend(3 * day)
				}
			}}
			m.Issuer = func(context.Context, string, string) (inkan.Issuer, error) { return i, nil }
			w.record(m, "a.example")
			if err := w.renew(m).Err(); err != nil {
				t.Fatal(err)
			}
			for range 12 {
				w.renew(w.process())
				time.Sleep(time.Hour)
			}
			if n := w.ca.count(""); n != 1 || len(w.ca.orders) != 1 {
				t.Errorf("%d certificates of %d orders, want one", n, len(w.ca.orders))
			}
		})
	})
}

// TestG05Dates: leap days, the end of 32-bit seconds, a century that is no leap
// year, and the ends of years.
func TestG05Dates(t *testing.T) {
	t.Parallel()
	for _, date := range []string{"2028-02-28T23:30:00Z", "2038-01-19T02:30:00Z", "2099-12-31T23:30:00Z", "2100-02-28T23:30:00Z"} {
		t.Run(date, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				at, err := time.Parse(time.RFC3339, date)
				if err != nil {
					t.Fatal(err)
				}
				w := newWorld(t)
				w.suspend(at.Add(-80 * time.Hour).Sub(w.truth())) // the renewal falls on the date
				w.ca.life = 160 * time.Hour
				w.record(w.process(), "a.example")
				for range 10 * 24 {
					if err := w.renew(w.process()).Err(); err != nil && !errors.Is(err, inkan.Rejected) {
						t.Fatal(err)
					}
					if left := lastEnd(w.ca, "a.example").Sub(w.truth()); left < 70*time.Hour {
						t.Fatalf("%s left at %s", left, w.truth())
					}
					time.Sleep(time.Hour)
				}
				if n := w.ca.count(""); n < 3 || n > 4 {
					t.Errorf("%d certificates in ten days, want 3 or 4", n)
				}
			})
		})
	}
}
