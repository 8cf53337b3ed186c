package endtoend

import (
	"context"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/inkan-acme/inkan/internal/failpoint"
	"github.com/inkan-acme/inkan/internal/testca"
)

// TestC21KillRecovery kills a run, and then five times in a row the run that is
// to finish it.
func TestC21KillRecovery(t *testing.T) {
	w := newTown(t, testca.Options{AuthzReuse: 100, CheckLimits: oneMachine()})
	rounds := 6
	if long() {
		rounds = 60
	}
	kills, lost := 0, 0
	for range rounds {
		s := w.newSite(t, false, false)
		s.rig.t = t
		had, lostHere := 0, 0
		die := func(args []string) {
			spec := failpoint.Spec{After: rand.IntN(2) == 1, Index: 1 + rand.IntN(12)}
			if args[0] == "issue" {
				spec.Index = 9 + rand.IntN(25) // the account is made, the request recorded or nearly
			}
			if _, err := s.call(spec.String(), args...); killed(err) {
				kills++
			}
			lostHere += s.lostOrders(s.name, had)
			had = s.ordersOf(s.name)
			s.pairHolds(false)
		}
		die(s.issueArgs())
		for range 5 {
			die([]string{"renew"})
		}
		s.must("renew")
		if _, err := s.manager().Request(t.Context(), s.name); err != nil {
			s.must(s.issueArgs()...)
		}
		s.sound(s.name, 1, 1+lostHere)
		s.calm()
		s.keysHidden()
		lost += lostHere
		if t.Failed() {
			t.Logf("%s: what it changed: %s", s.name, lines(s.traced()))
			return
		}
	}
	t.Logf("proof: %d certificates, %d kills, %d orders lost with their reply", rounds, kills, lost)
}

// TestC25Terminate sends SIGTERM while the CA is asked for something: the
// program ends within ten seconds, what it showed is gone or in the journal, and
// the next run finishes the same order.
func TestC25Terminate(t *testing.T) {
	for _, path := range []string{testca.PathNewOrder, testca.PathAuthz, testca.PathChallenge, testca.PathOrder, testca.PathFinalize, testca.PathCertificate} {
		t.Run(strings.Trim(path, "/"), func(t *testing.T) {
			proxy := testca.NewProxy(1)
			w := newTown(t, testca.Options{Middleware: proxy.Wrap})
			s := w.newSite(t, false, false)
			rule := proxy.Add(testca.Rule{Path: path, Do: testca.StallBefore()})
			ctx, cancel := context.WithTimeout(t.Context(), commandTime)
			defer cancel()
			var out strings.Builder
			cmd := s.command(ctx, "", s.issueArgs()...)
			cmd.Stderr = &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			select {
			case <-rule.First():
			case <-ctx.Done():
				t.Fatal("the CA was not asked")
			}
			asked := time.Now()
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			err := cmd.Wait()
			took := time.Since(asked)
			exit, ok := err.(*exec.ExitError)
			if !ok || exit.ExitCode() != 1 {
				t.Errorf("it ended with %v, want status 1\n%s", err, out.String())
			}
			if took > 10*time.Second {
				t.Errorf("it took %v to end", took)
			}
			if text := out.String(); !strings.Contains(text, s.name) || strings.Contains(text, "panic") {
				t.Errorf("it said:\n%s", text)
			}
			rule.Remove()
			s.must("renew")
			s.sound(s.name, 1, 1)
			s.calm()
			t.Logf("proof: it ended after %v", took.Round(time.Millisecond))
		})
	}
}

// TestC26Away kills the program between the certificate and its download, and
// comes back 40 days later: the CA has forgotten the order. One new order makes
// one more certificate; nothing of the old one is left in the way.
func TestC26Away(t *testing.T) {
	proxy := testca.NewProxy(1)
	w := newTown(t, testca.Options{Middleware: proxy.Wrap})
	s := w.newSite(t, false, false)
	if out, err := s.call("before POST /certZ#1", s.issueArgs()...); !killed(err) {
		t.Fatalf("not killed: %v\n%s", err, out)
	}
	o, err := s.manager().Observe(t.Context(), s.name)
	if err != nil {
		t.Fatal(err)
	}
	old := o.Orders[0]
	s.ahead = 40 * 24 * time.Hour // by the clock of the CA too
	proxy.Add(testca.Rule{Do: testca.SetHeader("Date", time.Now().Add(s.ahead).UTC().Format(http.TimeFormat))})
	id := old.OrderURL[strings.LastIndexByte(old.OrderURL, '/')+1:]
	for _, path := range []string{testca.PathOrder, testca.PathFinalize} {
		proxy.Add(testca.Rule{Path: path + id, Do: testca.Problem(http.StatusNotFound, "malformed", "no such order")})
	}
	s.must("renew")
	if n := s.ordersOf(s.name); n != 2 {
		t.Errorf("%d orders, want 2", n)
	}
	if n := len(s.rig.issuedFor(s.name)); n != 2 {
		t.Errorf("%d certificates, want 2", n)
	}
	o, err = s.manager().Observe(t.Context(), s.name)
	if err != nil {
		t.Fatal(err)
	}
	if o.Version == nil || o.Current.N != 1 || len(o.Orders) != 0 || o.State.Attempts != 0 || o.State.Running != "" {
		t.Errorf("n %d, %d journals, state %+v", o.Current.N, len(o.Orders), o.State)
	}
	if o.Version.Pairs[0].Key.Data != nil && old.Key != nil && string(o.Version.Pairs[0].Key.Data) == string(old.Key.Data) {
		t.Error("the key of the lost certificate is used again")
	}
	s.pairHolds(true)
	s.rig.noProofs()
}
