package inkan

import (
	"slices"
	"time"
)

// Refusal says that a CA refused an identifier: one way of showing control over
// it, or, without a Type, the identifier itself (a policy, a CAA record), where
// no other way helps.
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

const (
	// refusalsKept is how long a way that failed is tried last.
	refusalsKept = 30 * 24 * time.Hour
	// refusalsPerHour bounds the failed authorizations of one identifier that
	// are made without a person: Let's Encrypt allows five an hour for each
	// account, and people want some left when they look into it.
	refusalsPerHour = 2
	// refusalsOfOne bounds what is kept of one identifier.
	refusalsOfOne = 8
)

// withRefusals returns the state's refusals with new ones, without the old.
func withRefusals(have, fresh []Refusal, now time.Time) []Refusal {
	have = slices.DeleteFunc(slices.Clone(have), func(r Refusal) bool { return now.Sub(r.At) > refusalsKept })
	for _, r := range fresh {
		r.At = now.UTC()
		have = append(have, r)
	}
	seen := map[Identifier]int{}
	kept := slices.Collect(func(yield func(Refusal) bool) {
		for _, r := range slices.Backward(have) {
			if seen[r.Identifier]++; seen[r.Identifier] <= refusalsOfOne && !yield(r) {
				return
			}
		}
	})
	slices.Reverse(kept)
	return kept
}

// refusedUntil returns the instant from which one more failed authorization of
// id stays within refusalsPerHour; now, if it does already.
func refusedUntil(refusals []Refusal, id Identifier, now time.Time) time.Time {
	var recent []time.Time
	for _, r := range refusals {
		if r.Identifier == id && now.Sub(r.At) < time.Hour {
			recent = append(recent, r.At)
		}
	}
	if len(recent) < refusalsPerHour {
		return now
	}
	slices.SortFunc(recent, time.Time.Compare)
	// A clock that was ahead must not make it wait for longer.
	return earlier(recent[len(recent)-refusalsPerHour], now).Add(time.Hour)
}

// Ways returns the validations that match id, in the order in which they are
// tried: the user's, but a way that a CA refused comes after those that none
// did, the one refused last at the end.
func Ways(validations []Validation, refusals []Refusal, id Identifier) []Validation {
	var ways []Validation
	for _, v := range validations {
		if v.Matches(id) {
			ways = append(ways, v)
		}
	}
	slices.SortStableFunc(ways, func(a, b Validation) int {
		return lastRefused(refusals, id, a).Compare(lastRefused(refusals, id, b))
	})
	return ways
}

// lastRefused is when a CA last refused the proof of id by v; zero if never.
func lastRefused(refusals []Refusal, id Identifier, v Validation) time.Time {
	var at time.Time
	for _, r := range refusals {
		if r.way(id, v) && r.At.After(at) {
			at = r.At
		}
	}
	return at
}
