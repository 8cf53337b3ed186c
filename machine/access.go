package machine

import "github.com/inkan-acme/inkan/internal/state"

// ServingKeys returns the prefixes of the keys that a machine reads if it only
// serves or deploys what others obtain.
func ServingKeys() []string { return state.ReadKeys() }

// AnsweringKeys returns the prefixes of the keys that the solver http-01 writes.
func AnsweringKeys() []string { return []string{state.ChallengeKeys} }
