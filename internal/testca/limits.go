package testca

import (
	"fmt"
	"time"
)

// Limits is what a CA documents about how often it may be asked. A zero Quota
// or Rate is no limit. It is written down here once more, and not taken from
// package acme, so that the judge does not share the mistakes of the judged.
type Limits struct {
	Accounts    Quota // new accounts per client address
	Orders      Quota // new orders per account
	Domain      Quota // certificates per registered domain, IPv4 address or IPv6 /64
	Set         Quota // certificates per exact set of identifiers
	Failures    Quota // failed authorizations per identifier and account
	Consecutive Quota // the same without a success between them

	// Per client address, enforced before the CA sees the request.
	Directory, NewNonce, NewAccount, NewOrder, Revoke, RenewalInfo, Other Rate

	// Now is the clock of the CA; nil means time.Now.
	Now func() time.Time
}

// Quota is a bucket that holds Capacity tokens and gains one every Refill.
type Quota struct {
	Capacity int
	Refill   time.Duration
}

// Rate is nginx's limit_req: PerSecond requests a second, and Burst more that
// may come at once.
type Rate struct {
	PerSecond float64
	Burst     int
}

// LetsEncrypt returns the limits of https://letsencrypt.org/docs/rate-limits/
// as of 2026-08-05.
func LetsEncrypt() *Limits {
	return &Limits{
		Accounts:    Quota{10, 18 * time.Minute},
		Orders:      Quota{300, 36 * time.Second},
		Domain:      Quota{50, 202 * time.Minute},
		Set:         Quota{5, 34 * time.Hour},
		Failures:    Quota{5, 12 * time.Minute},
		Consecutive: Quota{1152, 24 * time.Hour},
		Directory:   Rate{40, 40},
		NewNonce:    Rate{20, 10},
		NewAccount:  Rate{5, 15},
		NewOrder:    Rate{300, 200},
		Revoke:      Rate{10, 100},
		RenewalInfo: Rate{1000, 100},
		Other:       Rate{250, 125},
	}
}

// Violation is one request over a documented limit.
type Violation struct {
	Time    time.Time
	Row     string // of the table of limits, with its numbers
	Subject string // the account, names or address that the limit belongs to
	Request string // method and path
}

func (v Violation) String() string {
	return fmt.Sprintf("%s: %s for %s at %s", v.Row, v.Request, v.Subject, v.Time.Format("15:04:05.000"))
}

// row names a quota with its numbers.
func (q Quota) row(what string) string {
	return fmt.Sprintf("%s (%d, one more every %s)", what, q.Capacity, q.Refill)
}

// row names a rate with its numbers.
func (r Rate) row(endpoint string) string {
	return fmt.Sprintf("requests to %s (%g a second, burst %d)", endpoint, r.PerSecond, r.Burst)
}

// bucket is a token bucket; the zero value has never been touched and is full.
type bucket struct {
	used float64 // tokens missing
	at   time.Time
}

// refill brings the bucket to now. Time that goes back gives nothing.
func (b *bucket) refill(now time.Time, perToken time.Duration) {
	if now.After(b.at) {
		if !b.at.IsZero() && perToken > 0 {
			b.used = max(0, b.used-float64(now.Sub(b.at))/float64(perToken))
		}
		b.at = now
	}
}

// has reports whether a whole token is left under q. Sums of refills are not
// exact, so a millionth of a token is forgiven.
func (b *bucket) has(q Quota, now time.Time) bool {
	b.refill(now, q.Refill)
	return b.used+1 <= float64(q.Capacity)+1e-6
}

// pass counts one request under r and reports whether it may pass. As nginx
// does it, one that may not pass is not counted.
func (b *bucket) pass(r Rate, now time.Time) bool {
	b.refill(now, time.Duration(float64(time.Second)/r.PerSecond))
	if b.used > float64(r.Burst)+1e-6 {
		return false
	}
	b.used++
	return true
}
