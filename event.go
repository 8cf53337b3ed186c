package inkan

import "time"

// EventKind says what happened.
type EventKind string

// The kinds of events.
const (
	EventIssued       EventKind = "issued"        // a version was published
	EventFailed       EventKind = "failed"        // an attempt ended without one
	EventDeployed     EventKind = "deployed"      // a target accepted a version
	EventDeployFailed EventKind = "deploy-failed" // a target did not
	EventRevoked      EventKind = "revoked"       //
	EventDeleted      EventKind = "deleted"       //
	EventSuperseded   EventKind = "superseded"    // a version came too late and became a spare
	EventDamaged      EventKind = "damaged"       // a stored value failed its checksum
	EventNoAdvice     EventKind = "no-advice"     // the CA has not said for a day when to renew
)

// Event is one fact about a certificate. Events are written once and never
// changed.
type Event struct {
	ID      string    `json:"id"`
	At      time.Time `json:"at"` // when it became true
	Kind    EventKind `json:"kind"`
	Name    string    `json:"name"`
	N       uint64    `json:"n,omitempty"` // of current
	Target  string    `json:"target,omitempty"`
	Message string    `json:"message,omitempty"` // one line, escaped
	Hint    string    `json:"hint,omitempty"`
	NextTry time.Time `json:"next_try,omitzero"`
}
