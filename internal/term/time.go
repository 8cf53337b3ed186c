package term

import (
	"fmt"
	"time"
)

// When writes an instant for people: how far away.
func When(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	d := t.Sub(now)
	words := Roughly(d.Abs())
	if d < 0 {
		return words + " ago"
	}
	return "in " + words
}

// Instant writes a moment for a sentence: "in 10 min (2026-11-22 15:04 UTC)".
func Instant(t, now time.Time) string { return When(t, now) + " (" + Stamp(t) + ")" }

// Until writes a moment with how far away it is: "2026-11-22 15:04 UTC (in 10 min)".
func Until(t, now time.Time) string { return Stamp(t) + " (" + When(t, now) + ")" }

// Stamp writes a moment in UTC, to the minute.
func Stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// Roughly writes a span with one unit.
func Roughly(d time.Duration) string {
	switch {
	case d < 90*time.Second:
		return fmt.Sprintf("%d s", int(d.Round(time.Second).Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Round(time.Minute).Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Round(time.Hour).Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Round(time.Hour).Hours()/24))
}
