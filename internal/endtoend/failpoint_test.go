package endtoend

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/inkan-acme/inkan/internal/failpoint"
	"github.com/inkan-acme/inkan/internal/testca"
)

// scenario is a run that is recorded and then killed at each of its points.
type scenario struct {
	name  string
	byDNS bool
	setUp func(s *site)          // undisturbed, before the run
	run   func(s *site) []string // the command
	n     int                    // versions published when all is done
}

var scenarios = []scenario{
	{name: "http-01", n: 1, setUp: func(*site) {}, run: (*site).issueArgs},
	{name: "dns-01", n: 1, byDNS: true, setUp: func(*site) {}, run: func(*site) []string { return []string{"apply"} }},
	{name: "already valid", n: 2, setUp: func(s *site) { s.must(s.issueArgs()...) },
		run: func(s *site) []string { return []string{"renew", "--force", "--name", s.name} }},
}

// tally counts what became of the kills of one recorded run.
type tally struct{ points, killed, missed, before, extra, retries atomic.Int64 }

func (c *tally) String() string {
	return fmt.Sprintf("%d points, %d kills, %d runs that ended without meeting theirs, %d before anything was recorded, %d orders lost with their reply, %d further tries",
		c.points.Load(), c.killed.Load(), c.missed.Load(), c.before.Load(), c.extra.Load(), c.retries.Load())
}

// TestC01Failpoints kills the program before and after every change that a
// recorded run made: every write to its Stores and every request to the CA and to
// the DNS host. It is started again and must finish: the same
// order, one certificate, one pair, nothing left, and no request over a limit of
// the CA at any time (V1-V10).
func TestC01ToC20C24Failpoints(t *testing.T) {
	w := newTown(t, testca.Options{AuthzReuse: 100, CheckLimits: oneMachine()})
	var kills, extra int64
	for _, remote := range []bool{false, true} {
		for _, sc := range scenarios {
			kind := "file"
			if remote {
				kind = "remote"
			}
			// The quick form kills everywhere in one run, here and there in the others.
			every := 1
			if !long() && (remote || sc.byDNS || sc.n > 1) {
				every = 12
			}
			var c tally
			t.Run(kind+"/"+sc.name, func(t *testing.T) { w.killEverywhere(t, sc, remote, every, &c) })
			t.Logf("%s store, %s: %v", kind, sc.name, &c)
			kills += c.killed.Load()
			extra += c.extra.Load()
		}
	}
	t.Logf("proof: %d kills before and after each change of the recorded runs: 0 torn pairs, 0 lost keys, 0 extra certificates, %d orders lost with their reply", kills, extra)
	if long() && kills < 240 {
		t.Errorf("%d kills, want at least 240", kills)
	}
}

// killEverywhere records the run and kills it at every so-manieth point.
func (w *town) killEverywhere(t *testing.T, sc scenario, remote bool, every int, c *tally) {
	s := w.newSite(t, remote, sc.byDNS)
	sc.setUp(s)
	s.traced()
	s.must(sc.run(s)...)
	points := s.traced()
	s.sound(s.name, sc.n, sc.n)
	s.calm()
	if t.Failed() {
		return
	}
	c.points.Store(int64(len(points)))
	skip := 0
	for _, p := range points {
		for _, after := range []bool{false, true} {
			if skip++; skip%every != 0 {
				continue
			}
			spec := failpoint.Spec{After: after, Point: p.Point}
			t.Run(spec.String(), func(t *testing.T) {
				t.Parallel()
				w.newSite(t, remote, sc.byDNS).killAt(t, sc, spec, c)
			})
		}
	}
}

// killAt is one kill and what follows it.
func (s *site) killAt(t *testing.T, sc scenario, spec failpoint.Spec, c *tally) {
	sc.setUp(s)
	had := s.ordersOf(s.name)
	if s.remote != nil {
		s.remote.Lose(loseReplies(rand.IntN(5)))
	}
	s.traced()
	out, err := s.call(spec.String(), sc.run(s)...)
	trace := s.traced()
	defer func() {
		if t.Failed() {
			t.Logf("%s: %v\n%s", spec.String(), err, out)
			t.Logf("the run that was killed: %s", lines(trace))
		}
	}()
	if killed(err) {
		c.killed.Add(1)
	} else {
		// Polls vary, and a lost reply may have ended the run before.
		c.missed.Add(1)
		if err != nil {
			s.saysWhy(out, err)
		}
	}
	lost := s.lostOrders(s.name, had)
	if lost > 0 && killed(err) {
		last := trace[len(trace)-1].Kind()
		if !strings.HasPrefix(last, "POST /order-plz") && last != "put store/orders" {
			t.Errorf("the order's URL was lost at %s", last)
		}
		c.extra.Add(int64(lost))
	}
	s.pairHolds(sc.n > 1)
	s.keysHidden()
	s.recover(sc, c)
	s.sound(s.name, sc.n, sc.n+lost)
	s.calm()
	s.keysHidden()
	if n := s.accounts(); n > 1 {
		t.Errorf("%d accounts", n)
	}
}

// accounts counts the accounts that signed the site's orders.
func (s *site) accounts() int {
	var urls []string
	for _, r := range s.ca.Requests() {
		if slices.ContainsFunc(r.Identifiers, func(id testca.Identifier) bool { return id.Value == s.name }) && !slices.Contains(urls, r.Account) {
			urls = append(urls, r.Account)
		}
	}
	return len(urls)
}

// loseReplies loses the reply of every fifth write.
func loseReplies(phase int) func(int) failpoint.Loss {
	return func(write int) failpoint.Loss {
		if write%5 == phase {
			return failpoint.LostReply
		}
		return failpoint.Kept
	}
}

// loseBoth loses replies, and requests too.
func loseBoth(write int) failpoint.Loss {
	switch {
	case write%7 == 3:
		return failpoint.LostReply
	case write%11 == 5:
		return failpoint.LostRequest
	}
	return failpoint.Kept
}

// recover does what a timer or a person does after a crash: renew, and the same
// command again if the killed one had not got so far that anybody knew of it.
// Over a connection that loses requests a command may fail, and says so.
func (s *site) recover(sc scenario, c *tally) {
	s.t.Helper()
	if !s.known(sc) {
		c.before.Add(1)
	}
	if s.remote != nil {
		s.remote.Lose(loseBoth)
	}
	for try := 1; ; try++ {
		args := []string{"renew", "--name", s.name}
		switch known := s.known(sc); {
		case !known:
			args = sc.run(s)
		case s.remote == nil:
			args = []string{"renew"}
		}
		out, err := s.call("", args...)
		if err == nil {
			break
		}
		s.saysWhy(out, err)
		if s.remote == nil || try == 12 {
			s.t.Fatalf("inkan %s: try %d: %v\n%s", strings.Join(args, " "), try, err, out)
		}
		c.retries.Add(1)
	}
	if s.remote != nil {
		s.remote.Lose(nil)
		s.must("renew") // what was left to clear away
	}
}

// known reports whether the Store says what is to be done, or it is done.
func (s *site) known(sc scenario) bool {
	s.t.Helper()
	o, err := s.manager().Observe(s.t.Context(), s.name)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return o.Current.N >= uint64(sc.n) || o.State.Running != "" || sc.n == 1 && o.Request != nil
}

func lines(trace failpoint.Trace) string {
	var b strings.Builder
	for _, p := range trace {
		fmt.Fprintf(&b, "\n\t%s", p.Point)
		if !p.Ended {
			b.WriteString(" (not ended)")
		}
	}
	return b.String()
}
