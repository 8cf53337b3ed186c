package engine

import (
	"time"

	"github.com/inkan-acme/inkan"
)

// maxRetryAfter bounds what anybody may ask us to wait (reliability A04).
const maxRetryAfter = 24 * time.Hour

// NextTry is the one place that turns an error into the instant of the next
// try. attempts counts the failures so far, this one included. The delays are
// 1, 10 and 100 minutes, then a day, and never fall; a RetryAfter moves the
// instant later, clamped to [1 s, 24 h]. Pending work goes on at once.
// Rejected and Operator errors wait for a change of the request, at most a day.
func NextTry(err error, attempts int, now time.Time) time.Time {
	var at time.Time
	switch inkan.KindOf(err) {
	case inkan.Pending:
		at = now
	case inkan.Operator, inkan.Rejected, inkan.Bug:
		at = now.Add(24 * time.Hour)
		if attempts <= 1 {
			// The first refusal may be an outage dressed as a refusal.
			at = now.Add(100 * time.Minute)
		}
	default:
		at = now.Add(backOff(attempts))
	}
	if ra := inkan.RetryAfterOf(err); !ra.IsZero() {
		at = later(at, clampTime(ra, now.Add(time.Second), now.Add(maxRetryAfter)))
	}
	return at
}

// hurriedTries is how many failures in a row are followed by a try within an hour
// if the CA wants the certificate replaced: a CA has to revoke some within 24 hours,
// others within five days (CA/Browser Forum, Baseline Requirements 4.9.1.1).
const hurriedTries = 3 + 24

// nextTryFor is [NextTry] for a certificate in force, for which a day may be too
// long. While it is valid, one that lives less than ten days is tried again after a
// twentieth of its life at most, 8 hours of 160. One that its CA may revoke at any
// hour (hurry) is tried every hour for a day after temporary failures (reliability
// L06).
func nextTryFor(v *inkan.Version, hurry bool, err error, attempts int, now time.Time) time.Time {
	at := NextTry(err, attempts, now)
	if v == nil || !now.Before(v.ValidUntil()) {
		return at
	}
	life := v.ValidUntil().Sub(v.ValidFrom())
	passing := inkan.KindOf(err) == inkan.Temporary || inkan.KindOf(err) == inkan.RateLimited
	var soon time.Time
	switch {
	case hurry && passing && attempts <= hurriedTries:
		soon = now.Add(time.Hour)
	case life < shortLife:
		soon = now.Add(max(life/20, backOff(3)))
	default:
		return at
	}
	if ra := inkan.RetryAfterOf(err); !ra.IsZero() {
		soon = later(soon, clampTime(ra, now.Add(time.Second), now.Add(maxRetryAfter)))
	}
	return earlier(at, soon)
}

func backOff(attempts int) time.Duration {
	switch {
	case attempts <= 1:
		return time.Minute
	case attempts == 2:
		return 10 * time.Minute
	case attempts == 3:
		return 100 * time.Minute
	}
	return 24 * time.Hour
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func clampTime(t, lo, hi time.Time) time.Time { return earlier(later(t, lo), hi) }
