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
}

// Limits are what a CA publishes about how often it may be asked.
type Limits struct {
	// Endpoint limits per client address, kept in memory by a [Throttle].
	NewNonce, NewAccount, NewOrder, Revoke, RenewalInfo, Directory, Other Rate

	// All is for every request, whatever it asks: for who wants to be polite
	// while thousands of certificates are replaced. CAs publish none.
	All Rate

	// Issuance limits, kept in the Store by the inkan.Limiter.
	Orders   Quota // new orders per account
	Domain   Quota // certificates per registered domain, whoever ordered them
	Set      Quota // certificates per exact set of identifiers
	Failures Quota // failed authorizations per identifier and account
}

// Rate is a token bucket of requests. The zero value is no limit.
type Rate struct {
	PerSecond float64
	Burst     int
}

// Quota is a token bucket of issuance. The zero value is no limit.
type Quota struct {
	Capacity int
	Refill   time.Duration // for one token
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

// KnownCAs returns the CAs that are built in, the default first.
func KnownCAs() []CA {
	return []CA{
		{
			// URL: https://letsencrypt.org/getting-started/
			Name:      "letsencrypt",
			Title:     "Let's Encrypt",
			Directory: "https://acme-v02.api.letsencrypt.org/directory",
			Source:    "https://letsencrypt.org/docs/rate-limits/",
			Limits: letsEncryptEndpoints(Limits{
				Orders:   Quota{300, 36 * time.Second},
				Domain:   Quota{50, 202 * time.Minute},
				Set:      Quota{5, 34 * time.Hour},
				Failures: Quota{5, 12 * time.Minute},
			}),
		},
		{
			// URL and limits: https://letsencrypt.org/docs/staging-environment/
			Name:      "letsencrypt-staging",
			Title:     "Let's Encrypt (staging)",
			Directory: "https://acme-staging-v02.api.letsencrypt.org/directory",
			Source:    "https://letsencrypt.org/docs/staging-environment/",
			Staging:   true,
			Limits: letsEncryptEndpoints(Limits{
				Orders:   Quota{1500, 3 * time.Hour / 1500},
				Domain:   Quota{30000, 7 * 24 * time.Hour / 30000},
				Set:      Quota{30000, 7 * 24 * time.Hour / 30000},
				Failures: Quota{200, time.Hour / 200},
			}),
		},
		{
			// URL: https://cloud.google.com/certificate-manager/docs/public-ca-tutorial
			Name:        "google",
			Title:       "Google Trust Services",
			Directory:   "https://dv.acme-v02.api.pki.goog/directory",
			Source:      "https://cloud.google.com/certificate-manager/docs/public-ca-tutorial",
			EABRequired: true,
		},
		{
			// URL: https://zerossl.com/documentation/acme/
			Name:        "zerossl",
			Title:       "ZeroSSL",
			Directory:   "https://acme.zerossl.com/v2/DV90",
			Source:      "https://zerossl.com/documentation/acme/",
			EABRequired: true,
		},
	}
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
