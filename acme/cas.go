package acme

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// CA is what is known about a certificate authority before anybody asked it.
type CA struct {
	Name        string // as in requests: "letsencrypt"
	Title       string // for people: "Let's Encrypt"
	Directory   string // the URL of its directory
	Source      string // the page that publishes the URL and the limits
	Staging     bool   // its certificates are not trusted by the public
	EABRequired bool   // an account needs an external account binding
	Limits      Limits // the zero value means that none are published
	Facts       []Fact // what no directory tells; see [Client.Capabilities]
}

// Limits are what a CA publishes about how often it may be asked.
type Limits struct {
	// Endpoint limits per client address, kept in memory by a [Throttle].
	NewNonce    Rate `json:"new_nonce,omitzero"`
	NewAccount  Rate `json:"new_account,omitzero"`
	NewOrder    Rate `json:"new_order,omitzero"`
	Revoke      Rate `json:"revoke,omitzero"`
	RenewalInfo Rate `json:"renewal_info,omitzero"`
	Directory   Rate `json:"directory,omitzero"`
	Other       Rate `json:"other,omitzero"`

	// All limits all requests together, to spare a CA while thousands of
	// certificates are replaced. No CA publishes such a limit.
	All Rate `json:"all,omitzero"`

	// Issuance limits, kept in the Store by the inkan.Limiter.
	Orders   Quota `json:"orders,omitzero"`   // new orders per account
	Domain   Quota `json:"domain,omitzero"`   // certificates per registered domain, whoever ordered them
	Set      Quota `json:"set,omitzero"`      // certificates per exact set of identifiers
	Failures Quota `json:"failures,omitzero"` // failed authorizations per identifier and account
}

// Rate is a token bucket of requests. The zero value is no limit.
type Rate struct {
	PerSecond float64 `json:"per_second"`
	Burst     int     `json:"burst"`
}

// Quota is a token bucket of issuance. The zero value is no limit.
type Quota struct {
	Capacity int           `json:"capacity"`
	Refill   time.Duration `json:"refill_ns"` // for one token
}

// KnownCA returns the CA that is built in under name.
func KnownCA(name string) (CA, bool) {
	for _, ca := range KnownCAs() {
		if ca.Name == name {
			return ca, true
		}
	}
	return CA{}, false
}

// letsEncryptEndpoints adds the limits of Let's Encrypt's load balancer, which
// answers 503 beyond them: https://letsencrypt.org/docs/rate-limits/#overall-requests-limit
func letsEncryptEndpoints(l Limits) Limits {
	l.NewNonce = Rate{20, 10}
	l.NewAccount = Rate{5, 15}
	l.NewOrder = Rate{300, 200}
	l.Revoke = Rate{10, 100}
	l.RenewalInfo = Rate{1000, 100}
	l.Directory = Rate{40, 40}
	l.Other = Rate{250, 125}
	return l
}

// CAName returns the name under which the CA with this directory is kept: that
// of the known CA, else "ca-" and a hash of the URL.
func CAName(directory string) string {
	for _, ca := range KnownCAs() {
		if ca.Directory == directory {
			return ca.Name
		}
	}
	sum := sha256.Sum256([]byte(directory))
	return "ca-" + hex.EncodeToString(sum[:8])
}
