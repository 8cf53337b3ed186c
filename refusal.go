package inkan

import (
	"slices"
	"time"
)

// Refusal says that a CA refused one way of showing control over an identifier.
// Without a Type, the CA refused the identifier itself (a policy, a CAA record),
// and no other way helps.
type Refusal struct {
	Identifier Identifier `json:"identifier"`       // as it was ordered, with the "*." of a wildcard
	Type       string     `json:"type,omitempty"`   // of the challenge
	Solver     string     `json:"solver,omitempty"` // that showed the proof
	At         time.Time  `json:"at,omitzero"`
}

// way reports whether r refused the proof of id by v.
func (r Refusal) way(id Identifier, v Validation) bool {
	return r.Identifier == id && r.Type == v.Type && r.Solver == v.Solver
}

// RefusedError carries the refusals of an order, for errors.AsType. An Issuer
// that knows them puts one into its error.
type RefusedError struct {
	Refusals []Refusal // At is not set
	Err      error     // never nil
}

func (e *RefusedError) Error() string { return e.Err.Error() }

func (e *RefusedError) Unwrap() error { return e.Err }

// Ways returns the validations that match id, in the order in which they are
// tried. Those that no CA refused come first, in the user's order. Those that a CA
// refused follow, the most recently refused one last.
func Ways(validations []Validation, refusals []Refusal, id Identifier) []Validation {
	var ways []Validation
	for _, v := range validations {
		if v.Matches(id) {
			ways = append(ways, v)
		}
	}
	slices.SortStableFunc(ways, func(a, b Validation) int {
		return LastRefused(refusals, id, a).Compare(LastRefused(refusals, id, b))
	})
	return ways
}

// LastRefused is when a CA last refused the proof of id by v; zero if never.
func LastRefused(refusals []Refusal, id Identifier, v Validation) time.Time {
	var at time.Time
	for _, r := range refusals {
		if r.way(id, v) && r.At.After(at) {
			at = r.At
		}
	}
	return at
}
