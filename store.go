package inkan

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
)

// DamagedError reports a stored value that is not what was written.
type DamagedError struct {
	Key    string
	Reason string
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("the stored value %s is damaged: %s", e.Key, e.Reason)
}

// CheckKey reports whether key may be a key of a Store: see [Store].
func CheckKey(key string) error {
	if len(key) == 0 || len(key) > 1024 {
		return fmt.Errorf("key of %d bytes; 1 to 1024 are allowed", len(key))
	}
	for element := range strings.SplitSeq(key, "/") {
		if element == "" || element == "." || element == ".." || len(element) > 255 {
			return fmt.Errorf("key %q has a bad element %q", key, element)
		}
	}
	for i := range len(key) {
		switch c := key[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("._-/", c) >= 0:
		default:
			return fmt.Errorf("key %q has a byte that no key may have", key)
		}
	}
	return nil
}

// Rev identifies one stored value of one key. It is opaque, made by the Store,
// and never empty for a value that exists.
type Rev string

// ErrConflict reports that a Put lost: the key exists (create only) or no
// longer holds the value of the given revision.
var ErrConflict = errors.New("the value was changed by somebody else")

// Store keeps bytes under keys with compare-and-swap. Everything that Inkan
// remembers and shares is in one Store; what belongs to one machine is in a
// second one, the Host store. A Store keeps exact bytes and knows nothing of
// what they mean.
//
// Keys (internal/state/families.go lists them) are slash-separated paths of the bytes a-z 0-9 . _ - (and A-Z in the
// tokens of challenges), at most 1,024 bytes, each element at most 255 and
// never "", "." or "..". No key is a directory of another key. [CheckKey] tells.
// A Store takes values of up to [MaxValue] bytes at least.
//
// Durable: when Put returns nil, the value survives a power loss. When it
// returns another error than ErrConflict the value may or may not have been
// written; the caller reads it again to find out (its own write id tells).
// A creation returns ErrConflict only if the value that is there is durable, even
// if its writer died before its Put returned.
// Consistent: a Get or Put that begins after a Put returned sees that value.
// A List that begins after a Put returned shows the key.
// Cancellation: when ctx has ended before a call, it changes nothing and returns
// the error of ctx.
// Retries: the caller retries. A Store never repeats a conditional write.
// Concurrency: any number of processes may call all methods concurrently.
// Errors: Get returns fs.ErrNotExist (errors.Is) for a missing key and any other
// error for a damaged or unreadable one. It returns values whole or not at all.
// After a crash: every value is the old one or the new one, never a mix, and
// what is left of an interrupted write is invisible to Get and List.
type Store interface {
	// Get returns the exact bytes of key and their revision. The caller owns
	// the bytes.
	Get(ctx context.Context, key string) (data []byte, rev Rev, err error)
	// Put writes data. With old == "" it creates the key; otherwise it
	// replaces the value only if its revision still is old. It returns
	// ErrConflict if it lost. There is no unconditional write.
	Put(ctx context.Context, key string, data []byte, old Rev) (Rev, error)
	// List yields all keys that begin with prefix and sort after the key after,
	// in byte order. prefix ends in "/" or is "". Keys put or deleted while it
	// runs may or may not appear. The consumer may stop at any key and pays only
	// for the keys it took. After an error nothing follows.
	List(ctx context.Context, prefix, after string) iter.Seq2[string, error]
	// Delete removes key. An absent key is success. It is only used for keys
	// that are never written again with another value.
	Delete(ctx context.Context, key string) error
}

// MaxValue is how large a value may be, in bytes, that every Store takes.
const MaxValue = 256 << 10

// SpaceChecker is an optional ability of a Store: it reports an error (of kind
// Operator) when fewer than n bytes can be written, so that no order is sent
// whose certificate could not be kept.
type SpaceChecker interface {
	CheckSpace(ctx context.Context, n int64) error
}
