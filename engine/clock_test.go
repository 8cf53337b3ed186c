package engine

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/state"
	"github.com/inkan-acme/inkan/internal/testkit"
)

// skewed is an Issuer that knows the time of its CA.
type skewed struct {
	skew time.Duration
	ok   bool
}

func (s skewed) Issue(context.Context, inkan.IssueRequest) (*inkan.Issued, error) { panic("not asked") }

func (s skewed) ClockSkew() (time.Duration, bool) { return s.skew, s.ok }

// TestG01Skew: whose clock is believed.
func TestG01Skew(t *testing.T) {
	year := 365 * day
	for _, c := range []struct {
		what   string
		cas    []skewed
		jump   time.Duration // of the local clock, after the answers
		want   time.Duration
		known  bool
		warned int
	}{
		{"no CA has answered", []skewed{{}}, 0, 0, false, 0},
		{"the clocks agree", []skewed{{3 * time.Second, true}}, 0, 0, true, 0},
		{"a little off: told, not corrected", []skewed{{-10 * time.Minute, true}}, 0, 0, true, 1},
		{"an hour off: told, not corrected", []skewed{{time.Hour, true}}, 0, 0, true, 1},
		{"a year behind", []skewed{{year, true}}, 0, year, true, 1},
		{"a year ahead", []skewed{{-year, true}}, 0, -year, true, 1},
		{"two CAs say so", []skewed{{year, true}, {year + 2*time.Second, true}}, 0, year, true, 2},
		{"one CA agrees with us", []skewed{{year, true}, {time.Second, true}}, 0, 0, true, 1},
		{"the CAs do not agree", []skewed{{year, true}, {-year, true}}, 0, 0, true, 2},
		{"the clock was set right meanwhile", []skewed{{year, true}}, year, 0, false, 1},
		{"the clock jumped after it was right", []skewed{{0, true}}, -year, 0, false, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			var jump time.Duration
			var log strings.Builder
			m := &Manager{Now: func() time.Time { return time.Now().Add(jump) }, Log: slog.New(slog.NewTextHandler(&log, nil))}
			for i, ca := range c.cas {
				m.noteSkew(fmt.Sprint("ca", i), ca)
				m.noteSkew(fmt.Sprint("ca", i), ca) // the second time is no news
			}
			time.Sleep(3 * time.Hour)
			jump = c.jump
			skew, known := m.clock.skew(m.wall())
			if skew != c.want || known != c.known {
				t.Errorf("%s: skew %v, known %v; want %v, %v", c.what, skew, known, c.want, c.known)
			}
			if got := m.now().Sub(m.wall()); got != c.want {
				t.Errorf("%s: corrected by %v", c.what, got)
			}
			if n := strings.Count(log.String(), "NTP"); n != c.warned {
				t.Errorf("%s: %d warnings, want %d:\n%s", c.what, n, c.warned, log.String())
			}
		})
	}
}

// TestG01FarAhead: what a wrong clock wrote into the future binds nobody.
func TestG01FarAhead(t *testing.T) {
	far := chainNow.Add(365 * day)
	for _, c := range []struct {
		what   string
		change func(o *Observed)
		want   string
	}{
		{"due", func(o *Observed) { o.State.Due = state.DueKey(state.CertQueue, far, o.Name) }, "wait: renewed at"},
		{"a failed attempt", func(o *Observed) {
			o.State.Due, o.State.Attempts, o.State.Running = state.DueKey(state.CertQueue, far, o.Name), 3, "x"
		}, "resume"},
		{"what the CA asked to wait", func(o *Observed) { o.State.NotBefore = far }, "wait: renewed at"},
		{"the next look", func(o *Observed) { o.State.ARI.Look = far }, "look"},
		{"a failed deployment", func(o *Observed) {
			o.Targets[0].Deployed = inkan.Deployed{Want: 4, Accepted: 3, Status: inkan.DeployFailed, Attempts: 2, Next: far}
		}, "deploy"},
	} {
		o := planned(t)
		c.change(o)
		if got := lines(planOf(o, PlanOptions{}, chainNow)); !strings.HasPrefix(got[0], c.want) {
			t.Errorf("%s a year ahead: %v, want %s", c.what, got, c.want)
		}
	}

	// The due index: what is due, and behind it what nobody would ever meet.
	s := testkit.New()
	for i, at := range []time.Duration{-time.Hour, 0, time.Minute, 24 * time.Hour, state.Farthest, state.Farthest + 2*time.Second, 365 * day} {
		if err := state.PutDue(t.Context(), s, state.DueKey(state.CertQueue, chainNow.Add(at), fmt.Sprint("n", i))); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := state.DueUntil(t.Context(), s, state.CertQueue, chainNow)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name)
	}
	if want := []string{"n0", "n1", "n5", "n6"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("due: %v, %v; want %v", names, err, want)
	}

	// A bucket of a limit: no refill for the past, but not blocked for a year.
	b := state.Bucket{Tokens: 0, At: far, Until: far}
	b.Fill(inkan.Bucket{Capacity: 5, Refill: time.Hour}, chainNow, true)
	if b.Tokens != 0 || !b.At.Equal(chainNow) || b.BlockedAt(chainNow) {
		t.Errorf("the bucket: %+v", b)
	}
}

// TestG03NotYetValid: the target keeps what it has until the new one is valid.
func TestG03NotYetValid(t *testing.T) {
	o := planned(t)
	o.Version.Pairs[0].Leaf.NotBefore = chainNow.Add(90 * time.Minute)
	o.Targets[0].Deployed = inkan.Deployed{Want: 3, Accepted: 3, Status: inkan.DeployAccepted, Options: "o1"}
	got := planOf(o, PlanOptions{}, chainNow)
	if got[0].Action != ActionWait || !got[0].At.Equal(chainNow.Add(90*time.Minute)) {
		t.Errorf("before it is valid: %v", lines(got))
	}
	if got := planOf(o, PlanOptions{}, chainNow.Add(90*time.Minute)); got[0].Action != ActionDeploy {
		t.Errorf("when it is valid: %v", lines(got))
	}
	o.Targets[0].Deployed = inkan.Deployed{}
	if got := planOf(o, PlanOptions{}, chainNow); got[0].Action != ActionDeploy {
		t.Errorf("where there is none yet: %v", lines(got))
	}
}

// TestG08AsksTheOperator: after a hundred failures in a row only a person has
// it tried again.
func TestG08AsksTheOperator(t *testing.T) {
	o := planned(t)
	o.Version, o.Current = nil, inkan.Current{}
	o.State = inkan.State{Attempts: MaxAttempts, LastError: &inkan.LastError{Kind: inkan.Temporary, Message: "order: 503 of ca.example"}, Due: state.DueKey(state.CertQueue, chainNow, o.Name)}
	for _, running := range []string{"", "id"} {
		o.State.Running = running
		s := planOf(o, PlanOptions{}, chainNow)[0]
		if s.Action != ActionWait || !strings.Contains(s.Reason, "inkan renew --name "+o.Name) || !strings.Contains(s.Reason, "503") {
			t.Errorf("%+v", s)
		}
		for _, opt := range []PlanOptions{{ByPerson: true}, {Renew: true}} {
			if s := planOf(o, opt, chainNow)[0]; s.Action != ActionIssue && s.Action != ActionResume {
				t.Errorf("%+v: %+v", opt, s)
			}
		}
		o.State.Attempts--
		if s := planOf(o, PlanOptions{}, chainNow)[0]; s.Action == ActionWait {
			t.Errorf("one less: %+v", s)
		}
		o.State.Attempts++
	}
	// What its killed worker left is finished all the same.
	o.Abandoned = true
	if s := planOf(o, PlanOptions{}, chainNow)[0]; s.Action != ActionResume {
		t.Errorf("%+v", s)
	}
	if next := nextDue(o, chainNow); !next.Equal(chainNow.Add(day)) {
		t.Errorf("next due %v", next)
	}
}

// TestL01Urgency: those without a certificate first, then by expiry.
func TestL01Urgency(t *testing.T) {
	p := &Plan{}
	for _, days := range []int{30, 0, 3, 12, 3} {
		c := CertificatePlan{}
		if days > 0 {
			c.expires = chainNow.Add(time.Duration(days) * day)
		}
		p.Certificates = append(p.Certificates, c)
	}
	if got, want := p.byUrgency(), []int{1, 2, 4, 3, 0}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestG06L06NextTry: a certificate that lives for days does not wait for days, nor
// one that its CA may revoke.
func TestG06L06NextTry(t *testing.T) {
	of := func(life, age time.Duration) *inkan.Version {
		leaf := lived(life)
		leaf.NotBefore, leaf.NotAfter = chainNow.Add(-age), chainNow.Add(life-age)
		return &inkan.Version{Pairs: []inkan.Pair{{Leaf: leaf}}}
	}
	week, quarter := of(160*time.Hour, 80*time.Hour), of(90*day, 60*day)
	down := inkan.Errorf(inkan.Temporary, "order", "down")
	for _, c := range []struct {
		what     string
		v        *inkan.Version
		hurry    bool
		err      error
		attempts int
		want     time.Duration
	}{
		{"none yet", nil, false, down, 4, day},
		{"90 days", quarter, false, down, 4, day},
		{"160 hours", week, false, down, 4, 8 * time.Hour},
		{"160 hours, the third", week, false, down, 3, 100 * time.Minute},
		{"160 hours, the first", week, false, down, 1, time.Minute},
		{"160 hours, refused", week, false, inkan.Errorf(inkan.Rejected, "order", "no"), 2, 8 * time.Hour},
		{"160 hours, the CA asks for 12", week, false, inkan.Errorf(inkan.RateLimited, "order", "later").After(chainNow.Add(12 * time.Hour)), 4, 12 * time.Hour},
		{"160 hours, expired", of(160*time.Hour, 161*time.Hour), false, down, 4, day},
		{"an hour", of(time.Hour, time.Minute), false, down, 4, 100 * time.Minute},
		{"90 days, wanted", quarter, true, down, 4, time.Hour},
		{"90 days, wanted, the first", quarter, true, down, 1, time.Minute},
		{"90 days, wanted, the third", quarter, true, down, 3, time.Hour},
		{"90 days, wanted for a day", quarter, true, down, 27, time.Hour},
		{"90 days, wanted for longer", quarter, true, down, 28, day},
		{"90 days, wanted, refused", quarter, true, inkan.Errorf(inkan.Rejected, "order", "no"), 2, day},
		{"90 days, wanted, the CA asks for 3 hours", quarter, true, inkan.Errorf(inkan.RateLimited, "order", "later").After(chainNow.Add(3 * time.Hour)), 4, 3 * time.Hour},
		{"160 hours, wanted", week, true, down, 4, time.Hour},
		{"160 hours, wanted for longer", week, true, down, 28, 8 * time.Hour},
	} {
		if got := nextTryFor(c.v, c.hurry, c.err, c.attempts, chainNow).Sub(chainNow); got != c.want {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}
