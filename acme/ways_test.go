package acme

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/testca"
)

// brokenSolver cannot show anything.
type brokenSolver struct{ cleaned int }

func (s *brokenSolver) Present(context.Context, []inkan.Challenge) ([]inkan.Undo, error) {
	return nil, inkan.Errorf(inkan.Operator, "DNS host", "wrong credentials")
}

func (s *brokenSolver) CleanUp(_ context.Context, cs []inkan.Challenge) error {
	s.cleaned += len(cs)
	return nil
}

// unseenSolver shows, but nobody ever sees it.
type unseenSolver struct{ brokenSolver }

func (s *unseenSolver) Present(context.Context, []inkan.Challenge) ([]inkan.Undo, error) {
	return nil, nil
}

func (s *unseenSolver) Wait(context.Context, []inkan.Challenge) error {
	return inkan.Errorf(inkan.Temporary, "propagation", "ns1.example.com still answers with the old value")
}

// A solver that cannot show a proof gives way to the next within the same
// order: the CA never looked, so nothing failed there.
func TestAnotherWayInTheSameOrder(t *testing.T) {
	for name, broken := range map[string]inkan.Solver{"present": &brokenSolver{}, "wait": &unseenSolver{}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, testca.Options{}, nil)
			r, j := w.request("a.example.com", "b.example.com")
			r.Request.Validations = []inkan.Validation{
				{Match: "b.example.com", Type: inkan.HTTP01, Solver: "web"},
				{Match: "a.example.com", Type: inkan.DNS01, Solver: "dns"},
				{Type: inkan.HTTP01, Solver: "web"},
			}
			r.Solvers["dns"] = broken
			w.mustIssue(r, j)
			if n := len(j.record().Challenges); n != 3 {
				t.Errorf("the journal has %d challenges to clean up, want the one that was given up too", n)
			}
			if n := w.ca.Count(testca.PathNewOrder); n != 1 {
				t.Errorf("%d orders", n)
			}
		})
	}
}

// Without another way the error is the solver's, and on our side.
func TestNoOtherWay(t *testing.T) {
	w := newWorld(t, testca.Options{}, nil)
	r, _ := w.request("a.example.com")
	r.Request.Validations = []inkan.Validation{{Type: inkan.DNS01, Solver: "dns"}}
	r.Solvers["dns"] = &brokenSolver{}
	_, err := w.client.Issue(t.Context(), r)
	wantError(t, err, inkan.Operator, "solver dns", "wrong credentials")
	if !errors.Is(err, inkan.ErrOurSide) {
		t.Error("the CA had no part in it")
	}
}

// A06: a refused proof is told with the solver that showed it, and the ways
// that were refused come last.
func TestA06RefusedProof(t *testing.T) {
	w := newWorld(t, testca.Options{}, nil)
	w.solver.wrong = true
	r, _ := w.request("a.example.com")
	_, err := w.client.Issue(t.Context(), r)
	refused, ok := errors.AsType[*inkan.RefusedError](err)
	if !ok || !errors.Is(err, inkan.ErrOrderDead) || errors.Is(err, inkan.ErrOurSide) {
		t.Fatalf("%v tells no refusal", err)
	}
	want := []inkan.Refusal{{Identifier: inkan.Identifier{Type: inkan.DNS, Value: "a.example.com"}, Type: inkan.HTTP01, Solver: "web"}}
	if diff := cmp.Diff(want, refused.Refusals); diff != "" {
		t.Error(diff)
	}
}

// A name that the CA refuses to order at all is told without a way.
func TestRefusedIdentifiers(t *testing.T) {
	w := newWorld(t, testca.Options{}, on(testca.PathNewOrder, 1, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(400)
		w.Write([]byte(`{"type":"urn:ietf:params:acme:error:rejectedIdentifier","detail":"two names","subproblems":[
			{"type":"urn:ietf:params:acme:error:rejectedIdentifier","detail":"policy","identifier":{"type":"dns","value":"B.example.com"}},
			{"type":"urn:ietf:params:acme:error:rejectedIdentifier","detail":"policy","identifier":{"type":"dns","value":"never.asked.example"}}]}`))
	}))
	r, _ := w.request("a.example.com", "b.example.com")
	_, err := w.client.Issue(t.Context(), r)
	wantError(t, err, inkan.Rejected, "rejectedIdentifier")
	refused, ok := errors.AsType[*inkan.RefusedError](err)
	want := []inkan.Refusal{{Identifier: inkan.Identifier{Type: inkan.DNS, Value: "b.example.com"}}}
	if !ok || !cmp.Equal(want, refused.Refusals) {
		t.Errorf("%v: refused %v, want %v", err, refused, want)
	}
}
