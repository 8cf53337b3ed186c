package inkan

import (
	"encoding/json"
	"time"
)

// What stands under which key: internal/state/families.go.

// HostRecord is what was given on the command line of this machine: a target, a
// solver or a CA with its options. It is kept in the Host store because nothing
// from a shared Store is ever executed (design law 7).
type HostRecord struct {
	Kind    string          `json:"kind"` // the plug-in: "files", "exec", "webroot" ...
	Options json.RawMessage `json:"options"`
}

// Owner tells which process holds a lease. Main fills it in. Of the zero value,
// nobody can check whether the process still runs.
type Owner struct {
	Host  string `json:"host,omitempty"`
	Boot  string `json:"boot,omitempty"`  // the boot id of the machine
	PIDNS string `json:"pidns,omitempty"` // the process id namespace
	PID   int    `json:"pid,omitempty"`
	Start string `json:"start,omitempty"` // tells one process from a later one with the same id
}

// Lease says who works on a certificate. It only avoids double work: the base of
// the journal decides what may be published. No expiry instant is stored. A lease
// is dead when its owner is known to be gone, or when its counter stood still for
// 60 s on the reader's own monotonic clock.
type Lease struct {
	Owner   Owner  `json:"owner"`
	Token   string `json:"token"` // new each time the lease is taken
	Counter uint64 `json:"counter"`
}

// RequestRecord is a CertificateRequest as it stands in the Store, with where
// it came from.
type RequestRecord struct {
	CertificateRequest
	Origin string `json:"origin"` // OriginCLI, OriginConfig, OriginImport, OriginAPI
	// Source names the configuration that a request of OriginConfig came from, so
	// that no other configuration over the same Store takes it for one of its own
	// that was left out. Records that were written before 2026-11-29 have none.
	Source     string `json:"source,omitempty"`
	Generation uint64 `json:"generation"`
	Unmanaged  bool   `json:"unmanaged,omitempty"` // left the configuration file: kept, not renewed
	Deleted    bool   `json:"deleted,omitempty"`   // a tombstone
}

// The origins of a request.
const (
	OriginCLI    = "cli"
	OriginConfig = "config"
	OriginImport = "import"
	OriginAPI    = "api"
)

// State is the one mutable record of a certificate's work.
type State struct {
	Due       string      `json:"due,omitempty"` // the key of the due entry in force
	Attempts  int         `json:"attempts,omitempty"`
	LastError *LastError  `json:"last_error,omitempty"`
	NotBefore time.Time   `json:"not_before,omitzero"` // no request to the CA before (Retry-After)
	Running   string      `json:"running,omitempty"`   // the attempt id of the order in work
	Lease     *Lease      `json:"lease,omitempty"`
	ARI       ARIState    `json:"ari,omitzero"`
	Renewals  []time.Time `json:"renewals,omitempty"` // of the last seven days
	Recent    []string    `json:"recent,omitempty"`   // the keys of its last events
	Revoked   []string    `json:"revoked,omitempty"`  // fingerprints of revoked leaves

	Refusals []Refusal `json:"refusals,omitempty"` // what CAs refused in the last 30 days
	NewKey   bool      `json:"new_key,omitempty"`  // the CA refused the key in use: the next order gets a new one in spite of KeyReuse

	Round
}

// Round is what is remembered for one round of tries. A pause, a success or a
// change of the request ends the round.
type Round struct {
	FailedCAs    []string     `json:"failed_cas,omitempty"` // they failed in this round
	Without      []Identifier `json:"without,omitempty"`    // left out of the next order (CertificateRequest.AllowSubset)
	Alternatives int          `json:"instead,omitempty"`    // how many alternatives were tried without a pause

	// RetryAfter holds the Retry-After of each CA that was given up for the next
	// one. It outlasts the round.
	RetryAfter map[string]time.Time `json:"waits,omitempty"`
}

// LastError is what went wrong at the last attempt.
type LastError struct {
	At      time.Time `json:"at"`
	Kind    Kind      `json:"kind"`
	Message string    `json:"message"`
	Hints   []string  `json:"hints,omitempty"`
	// NoService is the CA that could not be reached or failed by itself.
	NoService string `json:"no_service,omitempty"`
}

// ARIState is what the CA last advised for the version in force.
type ARIState struct {
	N              uint64    `json:"n,omitempty"` // the version it speaks of
	Start          time.Time `json:"start,omitzero"`
	End            time.Time `json:"end,omitzero"`
	Pick           time.Time `json:"pick,omitzero"` // picked in the window once
	Look           time.Time `json:"look,omitzero"` // when to ask again
	Looked         time.Time `json:"looked,omitzero"`
	ExplanationURL string    `json:"explanation_url,omitempty"`
	Error          string    `json:"error,omitempty"`
	Failing        time.Time `json:"failing,omitzero"` // since when the CA does not answer; zero if it does
	Misses         int       `json:"misses,omitempty"` // failed looks since then
	Told           bool      `json:"told,omitempty"`   // an event has told of it
}

// Current is the pointer to the version in force: the commit point. Readers
// compare N, and K where keys matter.
type Current struct {
	N     uint64              `json:"n"`           // only grows; decides what may be published
	K     uint64              `json:"k,omitempty"` // how often the keys of this version were sealed again
	Seq   uint64              `json:"seq,omitempty"`
	Top   uint64              `json:"top"` // the highest seq ever published
	ID    string              `json:"id,omitempty"`
	At    time.Time           `json:"at"`
	Pairs map[KeyType]PairSum `json:"pairs,omitempty"` // empty: no version in force
}

// PairSum identifies the values of one pair of the version in force, and repeats
// what readers need most often.
type PairSum struct {
	Value string `json:"value,omitempty"` // checksum of the whole record of the certificate
	SPKI  string `json:"spki,omitempty"`  // hash of the public key, by which key and certificate belong together
	Key   string `json:"key,omitempty"`   // checksum of the key as it is stored; sealed keys need not have one
	// Cert is the checksum of the chains alone. Versions that were published before
	// 2026-11-29 have it in the place of Value and SPKI.
	Cert string `json:"cert,omitempty"`

	Fingerprint string    `json:"fingerprint,omitempty"` // SHA-256 of the leaf, in hexadecimal
	NotBefore   time.Time `json:"not_before,omitzero"`
	NotAfter    time.Time `json:"not_after,omitzero"`
}

// Deployed is the state of one certificate at one target of this host.
type Deployed struct {
	Want      uint64     `json:"want"`               // the n that shall be there
	Accepted  uint64     `json:"accepted,omitempty"` // the n that the target took last
	Version   string     `json:"version,omitempty"`  // its <seq>-<id>
	Status    string     `json:"status"`             // DeployPending, DeployAccepted, DeployFailed
	Receipt   Receipt    `json:"receipt,omitempty"`
	Options   string     `json:"options,omitempty"` // of the target when it accepted
	Attempts  int        `json:"attempts,omitempty"`
	Next      time.Time  `json:"next,omitzero"`
	Lease     *Lease     `json:"lease,omitempty"` // of the process that deploys now
	At        time.Time  `json:"at,omitzero"`
	LastError *LastError `json:"last_error,omitempty"`
}

// The states of a deployment.
const (
	DeployPending  = "deploying"
	DeployAccepted = "accepted"
	DeployFailed   = "failed"
)

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
