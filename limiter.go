package inkan

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// Limiter keeps the CA's published limits, shared by everybody who works on
// the same Store. Safe for concurrent use.
type Limiter interface {
	// Take takes one token from each bucket, or from none. It deducts once
	// per id, also across restarts: a second Take with the same id is free.
	// If a bucket is empty, or a 429 said to wait, it returns an *Error of
	// kind RateLimited whose RetryAfter says when there will be a token.
	Take(ctx context.Context, id string, buckets []Bucket) error
	// Back returns the tokens of id. Only when the CA's answer proves that
	// nothing was used.
	Back(ctx context.Context, id string, buckets []Bucket) error
	// Answer records that the CA refused until then (429 with Retry-After).
	Answer(ctx context.Context, b Bucket, until time.Time) error
}

// Bucket is one token bucket of a CA limit. A bucket that was never touched is
// full.
type Bucket struct {
	// Key is the key in the Store, below "limits/": built by [LimitKey].
	Key string
	// Capacity is the number of tokens in a full bucket. 0 means that no
	// limit is known: such a bucket only remembers what a 429 said.
	Capacity int
	// Refill is the time one token takes to come back.
	Refill time.Duration
	// What names the limit for people: "new orders for account ops".
	What string
}

// LimitKey builds the key of a Bucket: "limits/<ca>/<path...>" where each part
// that is not a checked name goes through [LimitHash] first.
func LimitKey(ca string, parts ...string) string {
	key := "limits/" + ca
	for _, p := range parts {
		key += "/" + p
	}
	return key
}

// LimitHash turns any text into a part of a limit key.
func LimitHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:16])
}
