package endtoend

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/inkan-acme/inkan/internal/failpoint"
	"github.com/inkan-acme/inkan/internal/testca"
)

// rolloverArgs give the site's account a new key.
func (s *site) rolloverArgs() []string {
	return []string{"account", "rollover", "--ca", s.ca.DirectoryURL}
}

// TestC27FailpointsRollover kills the program before and after every write and
// every request of a recorded key change. Whatever comes next finds the account:
// a renewal with either key, and the same command again, which ends with one
// key. No second account is made.
func TestC27FailpointsRollover(t *testing.T) {
	w := newTown(t, testca.Options{AuthzReuse: 100})
	s := w.newSite(t, false, false)
	s.must(s.issueArgs()...)
	s.traced()
	s.must(s.rolloverArgs()...)
	points := s.traced()
	if len(points) < 5 {
		t.Fatalf("only %d points: %s", len(points), lines(points))
	}
	var kills atomic.Int64
	t.Run("kill", func(t *testing.T) {
		for i, p := range points {
			for _, after := range []bool{false, true} {
				spec := failpoint.Spec{After: after, Point: p.Point}
				renewFirst := long() || i%2 == 0
				t.Run(spec.String(), func(t *testing.T) {
					t.Parallel()
					s := w.newSite(t, false, false)
					s.must(s.issueArgs()...)
					out, err := s.call(spec.String(), s.rolloverArgs()...)
					if killed(err) {
						kills.Add(1)
					} else if err != nil {
						t.Errorf("%v\n%s", err, out)
					}
					s.keysHidden()
					n := uint64(1)
					if renewFirst {
						s.must("renew", "--force", "--name", s.name)
						n++
					}
					s.must(s.rolloverArgs()...)
					s.must("account", "show", "--ca", s.ca.DirectoryURL)
					s.must("renew", "--force", "--name", s.name)
					s.rig.sound(s.name, n+1)
					if n := s.accounts(); n != 1 {
						t.Errorf("%d accounts", n)
					}
				})
			}
		}
	})
	has := func(kind string) bool {
		return slices.ContainsFunc(points, func(p failpoint.Change) bool { return strings.HasPrefix(p.Kind(), kind) })
	}
	if !has("put store/accounts") || !has("POST "+testca.PathKeyChange) {
		t.Errorf("not the points of a key change: %s", lines(points))
	}
	t.Logf("proof: %d kills in %d points of a key change: 0 accounts lost, 0 made", kills.Load(), len(points))
}
