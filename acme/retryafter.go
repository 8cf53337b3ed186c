package acme

import (
	"net/http"
	"strings"
	"time"
)

// The bounds of what a CA may ask us to wait (reliability A04).
const (
	minRetryAfter = time.Second
	maxRetryAfter = 24 * time.Hour
)

// retryAfter reads the Retry-After of an answer, clamped to [1 s, 24 h].
// Garbage counts as absent (0).
func retryAfter(h http.Header, now time.Time) time.Duration {
	d, ok := parseRetryAfter(h, now)
	if !ok {
		return 0
	}
	return min(max(d, minRetryAfter), maxRetryAfter)
}

// parseRetryAfter reads seconds or an HTTP date (RFC 9110 section 10.2.3). A
// date is measured against the CA's own clock if the answer tells it, so that
// a wrong clock here does no harm. Seconds beyond a century are cut to one.
func parseRetryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if v == "" || len(v) > 64 {
		return 0, false
	}
	if strings.Trim(v, "0123456789") == "" {
		const most = 100 * 365 * 24 * 3600
		seconds := int64(0)
		for _, digit := range v {
			seconds = min(seconds*10+int64(digit-'0'), most)
		}
		return time.Duration(seconds) * time.Second, true
	}
	t, err := http.ParseTime(v)
	if err != nil {
		return 0, false
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	return max(0, t.Sub(now)), true
}
