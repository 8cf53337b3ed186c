package inkan

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// Limiter keeps the limits that a CA has published. Everybody who works on the
// same Store shares them. A Limiter does not know who holds a token: the caller
// journals that (see [OrderRecord]). A Limiter is safe for concurrent use.
type Limiter interface {
	// Take takes one token from each bucket. If one of them refuses, it takes
	// none. Every call deducts: the caller journals what it holds and does not
	// take that again. A crash in the middle of Take loses tokens.
	//
	// A bucket refuses when it is empty, or when a 429 said to wait and the time
	// has not come. The error is then an *Error of kind RateLimited, whose
	// RetryAfter says when the bucket will give a token. A bucket whose Capacity
	// is 0 gives no token. Take only asks it whether a 429 still says to wait.
	Take(ctx context.Context, buckets []Bucket) error
	// Refund gives one token back to each bucket. The caller refunds a token
	// only when the CA's answer proves that it was not used, and only when its
	// journal says that it holds the token. It takes the token out of the
	// journal first: a crash in between loses a token, and no bucket ever gets
	// one too many. A full bucket stays as it is.
	Refund(ctx context.Context, buckets []Bucket) error
	// Block records that a 429 said to wait until then.
	Block(ctx context.Context, b Bucket, until time.Time) error
}

// Bucket is one token bucket of a CA limit. A bucket that was never touched is
// full.
type Bucket struct {
	// Key is the key in the Store, below "limits/": built by [LimitKey].
	Key string
	// Capacity is the number of tokens in a full bucket. 0 means that no token
	// is taken, since no limit is known or the caller holds one: such a bucket
	// only tells what a 429 said.
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
