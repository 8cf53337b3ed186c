package endtoend

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/inkan-acme/inkan/internal/testca"
)

// TestC22RandomKills kills apply and renew every 50 to 500 ms while they work on
// 20 certificates, and begins with 20 others when those are there. At the end all
// are valid; the CA issued one certificate for each and made one order for each,
// and one more for each reply that a kill lost.
func TestC22RandomKills(t *testing.T) {
	want := 25
	if long() {
		want = 1000
	}
	w := newTown(t, testca.Options{NonceReject: 5, Latency: 5 * time.Millisecond, CheckLimits: oneMachine()})
	s := w.newSite(t, false, false)
	kills, lost, generations := 0, 0, 0
	for ; kills < want; generations++ {
		names := s.generation(generations)
		orders := map[string]int{} // wanted at the CA
		for _, name := range names {
			orders[name] = 1
		}
		for calm := 0; calm < 2 && kills < want; { // both commands have nothing left to do
			verb := []string{"apply", "renew"}[calm%2]
			if !s.killWithin(verb) {
				calm++
				continue
			}
			kills++
			calm = 0
			for _, name := range names {
				now := s.lostOrders(name, orders[name]-1)
				orders[name] += now
				lost += now
				s.pairOf(name)
			}
			if t.Failed() {
				return
			}
		}
		s.must("apply")
		for _, name := range names {
			s.sound(name, 1, orders[name])
		}
		s.keysHidden()
		if t.Failed() {
			return
		}
	}
	s.calm()
	t.Logf("proof: %d kills over %d certificates in %d sets: %d orders lost with their reply, 0 certificates too many", kills, generations*20, generations, lost)
}

// generation writes a configuration with 20 certificates of its own, and an
// account of its own: a thousand kills take more orders than an account has in
// three hours.
func (s *site) generation(g int) (names []string) {
	s.t.Helper()
	var text strings.Builder
	fmt.Fprintf(&text, `cas: {test: {directory: %[1]q, roots: %[2]q}}
accounts: {a%[5]d: {email: [ops@example.com], agree_terms: true}}
solvers: {web: {type: webroot, dir: %[3]q}}
targets: {live: {type: files, dir: %[4]q}}
defaults: {ca: test, account: a%[5]d, validate: web, deploy: [live]}
certificates:
`, s.ca.DirectoryURL, s.root, s.rig.webroot, filepath.Join(s.rig.data, "live"), g)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range 20 {
		name := fmt.Sprintf("g%dn%d.example.net", g, i)
		names = append(names, name)
		s.webroots[name] = s.rig.webroot
		fmt.Fprintf(&text, "  %s: {names: [%s]}\n", name, name)
	}
	s.config = filepath.Join(filepath.Dir(s.rig.data), "inkan.yaml")
	if err := os.WriteFile(s.config, []byte(text.String()), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return names
}

// killWithin runs a command and kills it after 50 to 500 ms, unless it ends
// before. An end that is no success fails the test.
func (s *site) killWithin(verb string) bool {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), commandTime)
	defer cancel()
	cmd := s.command(ctx, "", verb)
	var out strings.Builder
	cmd.Stderr = &out
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	after := 50*time.Millisecond + time.Duration(rand.Int64N(int64(450*time.Millisecond)))
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() }) // it may have ended
	err := cmd.Wait()
	timer.Stop()
	switch {
	case killed(err):
		if err := s.ca.Settle(ctx); err != nil {
			s.t.Fatalf("the CA still works for a dead process: %v", err)
		}
		return true
	case err != nil:
		s.t.Fatalf("inkan %s: %v\n%s", verb, err, out.String())
	}
	return false
}

// pairOf checks that what is placed under a name is a pair.
func (s *site) pairOf(name string) {
	s.t.Helper()
	if _, err := os.Lstat(filepath.Join(s.rig.data, "live", name)); err != nil {
		return
	}
	if _, err := s.rig.placed(name); err != nil {
		s.t.Errorf("placed: %v", err)
	}
}
