// Package solvetest is the executable form of the contract of inkan.Solver.
// Every Solver passes it.
package solvetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/inkan-acme/inkan"
)

// Harness tells the suite about a Solver.
type Harness struct {
	// Type is the challenge type.
	Type string
	// Account is the account's URL, for the types that name it.
	Account string
	// Place returns a new, empty place where proofs are shown, such as a
	// directory or a zone: a func that returns another instance of the Solver
	// over that place each time it is called, as another process would have.
	Place func(t *testing.T) func() inkan.Solver
	// Visible returns what a CA would find now that looks for the proof of c.
	// s is the instance that presented last.
	Visible func(t *testing.T, s inkan.Solver, c inkan.Challenge) []string
	// Proof returns what a CA must find; nil: the key authorization.
	Proof func(c inkan.Challenge) string
	// InMemory: what an instance shows ends with it, and no other instance
	// can remove it.
	InMemory bool
	// OneAtATime: a name shows one proof, the next when that is cleaned up;
	// Wait returns when the turn has come.
	OneAtATime bool
}

// Challenge returns the n-th challenge of the suite at a name.
func (h Harness) Challenge(name string, n int) inkan.Challenge {
	token := fmt.Sprintf("-_%s-%020d", "AZaz", n)
	id, err := inkan.ParseIdentifier(name)
	if err != nil {
		panic(err)
	}
	return inkan.Challenge{
		Solver:           "test",
		Type:             h.Type,
		Account:          h.Account,
		Identifier:       id,
		URL:              fmt.Sprintf("https://ca.example/challenge/%d", n),
		Authz:            fmt.Sprintf("https://ca.example/authz/%d", n),
		Token:            token,
		KeyAuthorization: token + "." + strings.Repeat("t", 43),
	}
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	if h.Proof == nil {
		h.Proof = func(c inkan.Challenge) string { return c.KeyAuthorization }
	}
	tests := []struct {
		name string
		test func(h Harness, t *testing.T)
	}{
		{"PresentAndCleanUp", Harness.presentAndCleanUp},
		{"Twice", Harness.twice},
		{"OtherInstance", Harness.otherInstance},
		{"NeverPresented", Harness.neverPresented},
		{"SameName", Harness.sameName},
		{"Many", Harness.many},
		{"Concurrent", Harness.concurrent},
		{"CancelledPresent", Harness.cancelledPresent},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.test(h, t) })
	}
}

func (h Harness) presentAndCleanUp(t *testing.T) {
	s := h.Place(t)()
	c := h.Challenge("www.example.com", 1)
	h.wantAbsent(t, s, c)
	h.present(t, s, c)
	h.wantShown(t, s, c)
	h.cleanUp(t, s, c)
	h.wantAbsent(t, s, c)
}

func (h Harness) twice(t *testing.T) {
	s := h.Place(t)()
	c := h.Challenge("www.example.com", 2)
	h.present(t, s, c)
	again := h.present(t, s, c)
	h.wantShown(t, s, c)
	h.cleanUp(t, s, again...)
	h.wantAbsent(t, s, c)
	h.cleanUp(t, s, again...)
	h.wantAbsent(t, s, c)
	h.present(t, s, c)
	h.wantShown(t, s, c)
	h.cleanUp(t, s, c) // as after a crash: without the undo
	h.wantAbsent(t, s, c)
}

// otherInstance cleans up in another process: with what was journalled, and
// after a crash before that.
func (h Harness) otherInstance(t *testing.T) {
	for _, journalled := range []bool{true, false} {
		open := h.Place(t)
		s := open()
		c := h.Challenge("www.example.com", 3)
		cleaned := h.present(t, s, c)
		if !journalled {
			cleaned[0].Undo = nil
		}
		h.cleanUp(t, open(), cleaned...)
		if h.InMemory {
			h.wantShown(t, s, c)
			h.cleanUp(t, s, cleaned...)
		}
		h.wantAbsent(t, s, c)
	}
}

func (h Harness) neverPresented(t *testing.T) {
	s := h.Place(t)()
	c, other := h.Challenge("www.example.com", 4), h.Challenge("www.example.com", 5)
	h.cleanUp(t, s, c, other)
	h.cleanUp(t, s)
	h.present(t, s, other)
	h.cleanUp(t, s, c)
	h.wantShown(t, s, other)
	h.cleanUp(t, s, other)
	h.wantAbsent(t, s, other)
}

// sameName shows two proofs at one name at once, as a name and its wildcard
// and two orders do; each is removed without the other.
func (h Harness) sameName(t *testing.T) {
	open := h.Place(t)
	s := open()
	a, b := h.Challenge("example.com", 6), h.Challenge("example.com", 7)
	if h.OneAtATime {
		h.turns(t, s, a, b)
		return
	}
	ja := h.present(t, s, a)
	jb := h.present(t, s, b)
	h.wantShown(t, s, a, b)
	h.cleanUp(t, s, ja...)
	h.wantAbsent(t, s, a)
	h.wantShown(t, s, b)
	h.cleanUp(t, s, jb...)
	h.wantAbsent(t, s, a, b)
	both := h.present(t, s, a, b)
	h.wantShown(t, s, a, b)
	h.cleanUp(t, s, both...)
	h.wantAbsent(t, s, a, b)
}

// turns presents two proofs at one name, of which the second has to wait.
func (h Harness) turns(t *testing.T, s inkan.Solver, a, b inkan.Challenge) {
	h.present(t, s, a)
	if _, err := s.Present(t.Context(), []inkan.Challenge{b}); err != nil {
		t.Fatalf("Present: %v", err)
	}
	h.wantShown(t, s, a)
	h.wantAbsent(t, s, b)
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.(inkan.Waiter).Wait(stopped, []inkan.Challenge{b}); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait = %v; want context.Canceled", err)
	}
	waited := make(chan error, 1)
	go func() { waited <- s.(inkan.Waiter).Wait(t.Context(), []inkan.Challenge{b}) }()
	h.cleanUp(t, s, a)
	if err := <-waited; err != nil {
		t.Errorf("Wait: %v", err)
	}
	h.wantAbsent(t, s, a)
	h.wantShown(t, s, b)
	h.cleanUp(t, s, b)
	h.wantAbsent(t, s, a, b)
}

func (h Harness) many(t *testing.T) {
	s := h.Place(t)()
	var all []inkan.Challenge
	for n := range 50 {
		all = append(all, h.Challenge(fmt.Sprintf("n%d.example.com", n), 100+n))
	}
	cleaned := h.present(t, s, all...)
	h.wantShown(t, s, all...)
	h.cleanUp(t, s, cleaned[:25]...)
	h.wantAbsent(t, s, all[:25]...)
	h.wantShown(t, s, all[25:]...)
	h.cleanUp(t, s, cleaned[25:]...)
	h.wantAbsent(t, s, all...)
}

// concurrent runs orders at the same names at once.
func (h Harness) concurrent(t *testing.T) {
	s := h.Place(t)()
	stays := h.Challenge("example.com", 999)
	if h.OneAtATime {
		stays = h.Challenge("stays.example.com", 999)
	}
	h.present(t, s, stays)
	var wg sync.WaitGroup
	for order := range 16 {
		wg.Go(func() {
			for round := range 3 {
				cs := []inkan.Challenge{
					h.Challenge("example.com", 1000+order*10+round),
					h.Challenge(fmt.Sprintf("n%d.example.com", order), 1005+order*10+round),
				}
				undo, err := s.Present(t.Context(), cs)
				if err != nil {
					t.Errorf("Present of order %d: %v", order, err)
				}
				for i := range undo {
					cs[i].Undo = undo[i]
				}
				if err := h.wait(t, s, cs); err != nil {
					t.Errorf("Wait of order %d: %v", order, err)
				}
				for _, c := range cs {
					if got := h.Visible(t, s, c); !slices.Contains(got, h.Proof(c)) {
						t.Errorf("order %d: the proof at %s is not visible; %q is", order, c.Identifier, got)
					}
				}
				if err := s.CleanUp(t.Context(), cs); err != nil {
					t.Errorf("CleanUp of order %d: %v", order, err)
				}
			}
		})
	}
	wg.Wait()
	h.wantShown(t, s, stays)
	h.cleanUp(t, s, stays)
	h.wantAbsent(t, s, stays)
}

// cancelledPresent: whatever a failed Present leaves, CleanUp removes.
func (h Harness) cancelledPresent(t *testing.T) {
	s := h.Place(t)()
	cs := []inkan.Challenge{h.Challenge("a.example.com", 8), h.Challenge("b.example.com", 9)}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Present(ctx, cs); !errors.Is(err, context.Canceled) {
		t.Errorf("Present = %v; want context.Canceled", err)
	}
	h.cleanUp(t, s, cs...)
	h.wantAbsent(t, s, cs...)
	h.present(t, s, cs...)
	h.wantShown(t, s, cs...)
	h.cleanUp(t, s, cs...)
	h.wantAbsent(t, s, cs...)
}

// present returns the challenges as they would be journalled.
func (h Harness) present(t *testing.T, s inkan.Solver, cs ...inkan.Challenge) []inkan.Challenge {
	t.Helper()
	undo, err := s.Present(t.Context(), cs)
	if err != nil {
		t.Fatalf("Present: %v", err)
	}
	if undo != nil && len(undo) != len(cs) {
		t.Fatalf("Present returned %d undos for %d challenges", len(undo), len(cs))
	}
	if err := h.wait(t, s, cs); err != nil {
		t.Fatalf("Wait: %v", err)
	}
	cs = slices.Clone(cs)
	for i, u := range undo {
		if len(u) > inkan.MaxUndo || u != nil && !json.Valid(u) {
			t.Errorf("the undo is no JSON of at most %d bytes: %.200s", inkan.MaxUndo, u)
		}
		cs[i].Undo = u
	}
	return cs
}

// wait waits for the turn of the challenges.
func (h Harness) wait(t *testing.T, s inkan.Solver, cs []inkan.Challenge) error {
	if !h.OneAtATime {
		return nil
	}
	return s.(inkan.Waiter).Wait(t.Context(), cs)
}

func (h Harness) cleanUp(t *testing.T, s inkan.Solver, cs ...inkan.Challenge) {
	t.Helper()
	if err := s.CleanUp(t.Context(), cs); err != nil {
		t.Fatalf("CleanUp: %v", err)
	}
}

func (h Harness) wantShown(t *testing.T, s inkan.Solver, cs ...inkan.Challenge) {
	t.Helper()
	for _, c := range cs {
		if got := h.Visible(t, s, c); !slices.Contains(got, h.Proof(c)) {
			t.Errorf("at %s %q is visible; want %q", c.Identifier, got, h.Proof(c))
		}
	}
}

func (h Harness) wantAbsent(t *testing.T, s inkan.Solver, cs ...inkan.Challenge) {
	t.Helper()
	for _, c := range cs {
		if got := h.Visible(t, s, c); slices.Contains(got, h.Proof(c)) {
			t.Errorf("at %s the proof %q is visible; want it absent", c.Identifier, h.Proof(c))
		}
	}
}
