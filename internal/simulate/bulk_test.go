package simulate

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/engine"
)

// fleetWanted is a fleet in force that its CA wants replaced at once: every
// window lies in the past, as after a revocation (CA/Browser Forum, Baseline
// Requirements 4.9.1.1).
func fleetWanted(w *world, count int) []string {
	w.t.Helper()
	names := make([]string, count)
	for i := range names {
		names[i] = fmt.Sprintf("n%d.example", i)
	}
	wanted := false
	w.ca.advice = func(leaf *x509.Certificate, now time.Time) (inkan.RenewalInfo, error) {
		third := leaf.NotAfter.Sub(leaf.NotBefore) / 3
		info := inkan.RenewalInfo{Start: leaf.NotAfter.Add(-third), End: leaf.NotAfter.Add(-third + day), RetryAfter: now.Add(6 * time.Hour)}
		if wanted && leaf.SerialNumber.Int64() <= int64(count)+100 { // the first of each name
			info.Start, info.End = now.Add(-2*day), now.Add(-day)
		}
		return info, nil
	}
	w.record(w.process(), names...)
	if err := w.renew(w.process()).Err(); err != nil {
		w.t.Fatal(err)
	}
	time.Sleep(10 * day) // all looks are due
	wanted = true
	return names
}

// dice falls on yes with the given chance, alike in every run.
func dice(chance float64, what string, n int) bool {
	h := fnv.New64a()
	fmt.Fprint(h, what, n)
	return float64(h.Sum64()%10_000) < chance*10_000
}

// TestL04BusyCA: while a whole fleet is replaced, every fifth order is told to
// come back later and every twentieth fails for its own reasons. All are
// replaced, each once; who has to wait holds nobody up, and no name fails more
// than five times in an hour.
func TestL04BusyCA(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		names := fleetWanted(w, few(100, 2_000))
		begin, seen := w.truth(), 0
		busy, refused := 0, 0
		free := map[string]time.Time{} // when the CA said that it would take the order
		failures := map[string][]time.Time{}
		w.ca.failAt = func(what, name string, now time.Time) error {
			if what == "newOrder" && now.Before(free[name]) {
				t.Errorf("%s came %v before its time", name, free[name].Sub(now))
			}
			seen++
			switch {
			case what == "newOrder" && dice(0.20, name+"busy", seen):
				busy++
				free[name] = now.Add(15 * time.Minute)
				return inkan.Errorf(inkan.RateLimited, "newOrder", "429").After(free[name])
			case what == "finalize" && dice(0.05, name+"refused", seen):
				refused++
				failures[name] = append(failures[name], now)
				return inkan.Errorf(inkan.Rejected, "validation", "%w", inkan.ErrOrderDead)
			}
			return nil
		}
		var done time.Duration
		for w.truth().Sub(begin) < 5*day && w.ca.count("") < 2*len(names) {
			w.renew(w.process())
			time.Sleep(timers()[1].next(w))
			if n := w.ca.count(""); n >= 2*len(names)*99/100 && done == 0 {
				done = w.truth().Sub(begin)
			}
		}
		for _, name := range names {
			if n := w.ca.count(name); n != 2 {
				t.Errorf("%d certificates for %s, want 2", n, name)
			}
			for i, at := range failures[name] {
				if i >= 5 && at.Sub(failures[name][i-5]) < time.Hour {
					t.Errorf("%s failed six times within %v", name, at.Sub(failures[name][i-5]))
				}
			}
		}
		t.Logf("proof: %d replaced within %s, 99 %% within %s; %d times 429, %d failures of single names",
			len(names), w.truth().Sub(begin).Round(time.Minute), done.Round(time.Minute), busy, refused)
	})
}

// TestL06OutageBeforeTheDeadline: in the middle of a mass replacement with a
// deadline of 24 hours the CA is away for eight. An hour after its return all
// is done, none twice.
func TestL06OutageBeforeTheDeadline(t *testing.T) {
	t.Parallel()
	for _, timer := range timers() {
		t.Run(timer.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				names := fleetWanted(w, few(60, 1_000))
				begin := w.truth()
				var from time.Time
				back := func() time.Time { return from.Add(8 * time.Hour) }
				w.ca.fail = func(_ string, now time.Time) error {
					if from.IsZero() && len(w.ca.issued) > len(names)*3/2 {
						from = now
					}
					if !from.IsZero() && now.Before(back()) {
						return errDown
					}
					return nil
				}
				for w.ca.count("") < 2*len(names) && w.truth().Sub(begin) < 3*day {
					w.renew(w.process())
					time.Sleep(timer.next(w))
				}
				if from.IsZero() {
					t.Fatal("there was no outage")
				}
				late := w.truth().Sub(back())
				if late > 2*time.Hour || w.truth().Sub(begin) > 24*time.Hour {
					t.Errorf("done %v after the CA was back, %v after the beginning", late, w.truth().Sub(begin))
				}
				for _, name := range names {
					if n := w.ca.count(name); n != 2 {
						t.Errorf("%d certificates for %s, want 2", n, name)
					}
				}
				t.Logf("proof: %d replaced, the last %s after the CA was back", len(names), late.Round(time.Minute))
			})
		})
	}
}

// TestM05Poisoned: of many certificates one panics in every try and one never
// ends well. All others come on time.
func TestM05Poisoned(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		count := few(150, 10_000)
		names := make([]string, count)
		for i := range names {
			names[i] = fmt.Sprintf("n%d.example", i)
		}
		poisoned := func(m *engine.Manager) *engine.Manager {
			issuer := m.Issuer
			m.Issuer = func(ctx context.Context, ca, account string) (inkan.Issuer, error) {
				i, err := issuer(ctx, ca, account)
				return poison{i.(*modelIssuer)}, err
			}
			return m
		}
		w.record(w.process(), names...)
		for range 5 {
			report := w.renew(poisoned(w.process()))
			for i := range report.Results {
				r := &report.Results[i]
				switch bad := r.Name == names[0] || r.Name == names[1]; {
				case bad && r.Err == nil:
					t.Errorf("%s: its failure is not told", r.Name)
				case !bad && r.Err != nil:
					t.Errorf("%s: %v", r.Name, r.Err)
				}
			}
			time.Sleep(3 * time.Hour)
		}
		for i, name := range names {
			want := 1
			if i < 2 {
				want = 0
			}
			if n := w.ca.count(name); n != want {
				t.Errorf("%d certificates for %s, want %d", n, name, want)
			}
		}
		m := w.process()
		if o := w.observe(m, names[0]); o.State.LastError == nil || o.State.LastError.Kind != inkan.Bug || !strings.Contains(o.State.LastError.Message, "out of its mind") {
			t.Errorf("the panic is not on record: %+v", o.State.LastError)
		}
		t.Logf("proof: %d of %d issued beside one that panics and one that fails", w.ca.count(""), count)
	})
}

// poison panics for one name and fails for another.
type poison struct{ *modelIssuer }

func (p poison) Issue(ctx context.Context, r inkan.IssueRequest) (*inkan.Issued, error) {
	switch r.Request.Name {
	case "n0.example":
		panic("out of its mind")
	case "n1.example":
		return nil, errors.New("never")
	}
	return p.modelIssuer.Issue(ctx, r)
}
