package acme

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
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

// undoSolver is the world's solver with an undo of its own. Its Wait is wait.
type undoSolver struct {
	*httpSolver
	undo    string
	wait    func() error
	mu      sync.Mutex
	cleaned []inkan.Challenge
}

func (s *undoSolver) Present(ctx context.Context, list []inkan.Challenge) ([]inkan.Undo, error) {
	if _, err := s.httpSolver.Present(ctx, list); err != nil {
		return nil, err
	}
	undo := make([]inkan.Undo, len(list))
	for i := range undo {
		undo[i] = inkan.Undo(s.undo)
	}
	return undo, nil
}

func (s *undoSolver) Wait(context.Context, []inkan.Challenge) error {
	if s.wait == nil {
		return nil
	}
	return s.wait()
}

func (s *undoSolver) CleanUp(ctx context.Context, list []inkan.Challenge) error {
	s.mu.Lock()
	s.cleaned = append(s.cleaned, list...)
	s.mu.Unlock()
	return s.httpSolver.CleanUp(ctx, list)
}

// Two solvers show the same challenge, one after the other: each gets its own
// undo back.
func TestUndoOfTheSolverThatShowed(t *testing.T) {
	w := newWorld(t, testca.Options{}, nil)
	r, j := w.request("a.example.com")
	r.Request.Validations = []inkan.Validation{{Type: inkan.HTTP01, Solver: "slow"}, {Type: inkan.HTTP01, Solver: "web"}}
	r.Solvers["slow"] = &undoSolver{httpSolver: w.solver, undo: `"of slow"`, wait: func() error { return errors.New("nobody sees it") }}
	r.Solvers["web"] = &undoSolver{httpSolver: w.solver, undo: `"of web"`}
	w.mustIssue(r, j)
	got := map[string]string{}
	for _, c := range j.record().Challenges {
		got[c.Solver] = string(c.Undo)
	}
	if diff := cmp.Diff(map[string]string{"slow": `"of slow"`, "web": `"of web"`}, got); diff != "" {
		t.Error(diff)
	}
}

// While a solver fails, the CA refuses what another one showed: that is a
// refusal, and not the lack of a way.
func TestRefusedWhileAnotherSolverFails(t *testing.T) {
	w, p := newProxied(t, testca.Options{})
	var refuse atomic.Bool
	p.Add(testca.Rule{Path: testca.PathAuthz, Do: testca.EditJSON(func(doc map[string]any) {
		if id, _ := doc["identifier"].(map[string]any); !refuse.Load() || id["value"] != "b.example.com" {
			return
		}
		doc["status"] = "invalid"
		doc["challenges"] = []any{map[string]any{"type": "http-01", "status": "invalid", "error": map[string]any{"type": unauthorized, "detail": "nonsense"}}}
	})})
	r, _ := w.request("a.example.com", "b.example.com")
	r.Request.Validations = []inkan.Validation{
		{Match: "a.example.com", Type: inkan.HTTP01, Solver: "slow"}, {Type: inkan.HTTP01, Solver: "web"},
	}
	r.Solvers["slow"] = &undoSolver{httpSolver: w.solver, undo: `1`, wait: func() error {
		refuse.Store(true)
		return errors.New("nobody sees it")
	}}
	_, err := w.client.Issue(t.Context(), r)
	wantError(t, err, inkan.Rejected, "nonsense")
	refused, ok := errors.AsType[*inkan.RefusedError](err)
	want := []inkan.Refusal{{Identifier: inkan.Identifier{Type: inkan.DNS, Value: "b.example.com"}, Type: inkan.HTTP01, Solver: "web"}}
	if !ok || !cmp.Equal(want, refused.Refusals) {
		t.Errorf("%v: refused %v, want %v", err, refused, want)
	}
}

// C27: the account gets another key while a proof stands. That proof is taken
// away, and both are in the journal for the clean-up.
func TestC27ProofOfAnEarlierKey(t *testing.T) {
	w := newWorld(t, testca.Options{}, nil)
	r, j := w.request("a.example.com")
	s := &undoSolver{httpSolver: w.solver, undo: `1`, wait: func() error { return errors.New("nobody sees it") }}
	r.Solvers["web"] = s
	if _, err := w.client.Issue(t.Context(), r); err == nil {
		t.Fatal("no error")
	}
	before := j.record().Challenges
	if _, err := w.newClient().Rollover(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	s.wait = nil
	w.client = w.newClient()
	w.mustIssue(r, j)
	if len(s.cleaned) != 1 || s.cleaned[0].KeyAuthorization != before[0].KeyAuthorization {
		t.Errorf("taken away: %+v, want %+v", s.cleaned, before)
	}
	if after := j.record().Challenges; len(before) != 1 || len(after) != 2 || after[1].KeyAuthorization == before[0].KeyAuthorization || len(after[1].Undo) == 0 {
		t.Errorf("the journal has %+v", after)
	}
}

// A CA may name any type of challenge, and write "error": null where none is.
func TestRefusalsAreOfWhatWasShown(t *testing.T) {
	id := inkan.Identifier{Type: inkan.DNS, Value: "a.example.com"}
	for name, test := range map[string]struct{ body, want string }{
		"null":    {`{"type":"dns-01","status":"pending","error":null},{"type":"http-01","status":"invalid","error":{"detail":"no"}}`, inkan.HTTP01},
		"unknown": {`{"type":"` + strings.Repeat("x", 1000) + `","status":"invalid","error":{"detail":"no"}}`, ""},
		"none":    {``, ""},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := parseAuthz([]byte(`{"status":"invalid","identifier":{"type":"dns","value":"a.example.com"},"challenges":[`+test.body+`]}`), "https://ca.example/authz")
			if err != nil {
				t.Fatal(err)
			}
			o := &order{ids: []inkan.Identifier{id}}
			o.rec.Challenges = []inkan.Challenge{ // the second solver took over from the first
				{Authz: a.url, Type: inkan.HTTP01, Solver: "first"}, {Authz: a.url, Type: inkan.HTTP01, Solver: "web"},
			}
			want := inkan.Refusal{Identifier: id, Type: test.want}
			if test.want != "" {
				want.Solver = "web"
			}
			if got := o.refusals([]*authzObject{a}); len(got) != 1 || got[0] != want {
				t.Errorf("%+v, want %+v", got, want)
			}
		})
	}
}
