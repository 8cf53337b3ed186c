package state

import (
	"math"
	"time"

	"github.com/inkan-acme/inkan"
)

// Bucket is a record under limits/. It is never deleted; an absent one is full. The
// journals of the orders say who holds a token. Older records also have that here,
// as "taken", which is not read any more.
type Bucket struct {
	Tokens float64   `json:"tokens"`
	At     time.Time `json:"at"`             // when Tokens was right
	Until  time.Time `json:"until,omitzero"` // what a 429 said
}

// monthOff is how far ahead of the clock a bucket may stand to be believed.
const monthOff = 30 * 24 * time.Hour

// BlockedAt reports whether a 429 still says to wait.
func (b *Bucket) BlockedAt(now time.Time) bool {
	return now.Before(b.Until) && !FarAhead(b.Until, now)
}

// Fill brings b to the present.
func (b *Bucket) Fill(k inkan.Bucket, now time.Time, exists bool) {
	capacity := float64(k.Capacity)
	switch {
	case !exists:
		b.Tokens = capacity
	case now.After(b.At) && k.Refill > 0:
		b.Tokens = math.Min(capacity, b.Tokens+float64(now.Sub(b.At))/float64(k.Refill))
	}
	b.At = b.trusted(now)
}

// trusted is the instant that b is brought to. A clock that went back gives
// nothing away, so that is never before b.At; but if b.At is a month ahead or
// more, waiting for it would block the bucket.
func (b *Bucket) trusted(now time.Time) time.Time {
	if now.Before(b.At) && !now.Before(b.At.Add(-monthOff)) {
		return b.At
	}
	return now
}
