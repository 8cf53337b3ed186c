package machine

import "github.com/inkan-acme/inkan/internal/state"

// ServingKeys is what the keys of a Store begin with that a machine reads which
// only serves or deploys what others obtain.
func ServingKeys() []string { return state.ReadKeys() }

// AnsweringKeys is what the keys begin with that the solver http-01 writes.
func AnsweringKeys() []string { return []string{state.ChallengeKeys} }
