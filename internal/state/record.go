package state

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/inkan-acme/inkan"
)

// envelopeFormat is the number of the only format so far. Every format that
// was ever written is read for ever.
const envelopeFormat = 1

// envelope wraps every value, except those of raw families. It is the same on
// every Store, so that damage is found on all of them. The member "sig" is reserved
// for a signature {alg, key, sig} over "inkan record 1\n", the id of the Store
// ([StoreRecord]), the key and the body; a program that does not know it reads the
// value all the same.
type envelope struct {
	Format  int             `json:"inkan"`
	Counter uint64          `json:"counter"` // grows with every write of the key
	Write   string          `json:"write"`   // random; recognises the own write after a lost reply
	Sum     string          `json:"sum"`     // hex SHA-256 of body
	Body    json.RawMessage `json:"body"`
}

// encode wraps a record. write identifies this very write. sum is that of the
// record without the envelope.
func encode(v any, counter uint64, write string) (data []byte, sum string, err error) {
	body, err := json.Marshal(storable(v))
	if err != nil {
		return nil, "", inkan.Errorf(inkan.Bug, "encoding a record", "%w", err)
	}
	sum = Sum(body)
	if data, err = json.Marshal(envelope{envelopeFormat, counter, write, sum, body}); err != nil {
		return nil, "", inkan.Errorf(inkan.Bug, "encoding a record", "%w", err)
	}
	return data, sum, nil
}

// ErrNewerFormat marks a record that a newer Inkan wrote.
var ErrNewerFormat = errors.New("in format")

// Decode unwraps a record into v, or returns an [inkan.DamagedError].
func Decode(key string, data []byte, v any) (envelope, error) {
	var e envelope
	if err := json.Unmarshal(data, &e); err != nil {
		return e, damaged(key, "it is not a record")
	}
	switch {
	case e.Format > envelopeFormat:
		return e, inkan.Errorf(inkan.Operator, "reading "+key, "it is %w %d; this program reads up to %d", ErrNewerFormat, e.Format, envelopeFormat).
			WithHint("a newer inkan wrote it; update this one")
	case e.Format < 1:
		return e, damaged(key, "it has no format number")
	case Sum(e.Body) != e.Sum:
		return e, damaged(key, "its checksum does not fit")
	}
	if err := json.Unmarshal(e.Body, v); err != nil {
		return e, damaged(key, "its content does not fit its place")
	}
	clean(key, v)
	return e, nil
}

// Sum is the checksum of all records: SHA-256 in hexadecimal.
func Sum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// NewID returns 16 random hexadecimal characters.
func NewID() string {
	var b [8]byte
	rand.Read(b[:]) // never fails (crypto/rand since Go 1.24)
	return hex.EncodeToString(b[:])
}

// Record is a mutable value of a Store as it was read. The zero value with a
// key is one that does not exist yet.
type Record[T any] struct {
	Key     string
	Value   T
	Sum     string    // of the value as it was read; "" while absent
	Rev     inkan.Rev // "" while absent
	counter uint64
}

// Exists reports whether there was a value.
func (r *Record[T]) Exists() bool { return r.Rev != "" }

// Load reads the record at key. An absent one is no error.
func Load[T any](ctx context.Context, s inkan.Store, key string) (Record[T], error) {
	r := Record[T]{Key: key}
	data, rev, err := s.Get(ctx, key)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return r, fmt.Errorf("reading %s: %w", key, err)
	}
	e, err := Decode(key, data, &r.Value)
	if err != nil {
		return r, err
	}
	r.counter, r.Rev, r.Sum = e.Counter, rev, e.Sum
	return r, nil
}

// Save writes v over the record as it was read, or creates it. ErrConflict
// means that somebody else wrote first.
func (r *Record[T]) Save(ctx context.Context, s inkan.Store, v T) error {
	write := NewID()
	data, sum, err := encode(v, r.counter+1, write)
	if err != nil {
		return err
	}
	rev, err := put(ctx, s, r.Key, data, r.Rev, func(there []byte) bool {
		var e envelope
		return json.Unmarshal(there, &e) == nil && e.Write == write
	})
	if err != nil {
		return err
	}
	r.Value, r.Sum, r.counter, r.Rev = v, sum, r.counter+1, rev
	return nil
}

// put writes data over the value of the revision old. A doubtful answer is
// settled by reading the value and asking ours whether it is what we wrote. If the
// old value still stands, the write is tried once more, and only once: a hiccup
// between an answer of the CA and the journal must not cost the order.
func put(ctx context.Context, s inkan.Store, key string, data []byte, old inkan.Rev, ours func(there []byte) bool) (inkan.Rev, error) {
	var err error
	for range 2 {
		var rev inkan.Rev
		if rev, err = s.Put(ctx, key, data, old); err == nil {
			return rev, nil
		}
		seen, seenRev, readErr := s.Get(context.WithoutCancel(ctx), key)
		switch {
		case readErr == nil && ours(seen):
			return seenRev, nil
		case errors.Is(err, inkan.ErrConflict):
			return "", inkan.ErrConflict
		case ctx.Err() != nil || !mayRetry(err, readErr, seenRev, old):
			return "", fmt.Errorf("writing %s: %w", key, err)
		}
	}
	return "", fmt.Errorf("writing %s: %w", key, err)
}

// mayRetry reports whether a write that failed did not happen, and may succeed
// the next time: the value of the revision old still stands.
func mayRetry(err, readErr error, seen, old inkan.Rev) bool {
	absent := errors.Is(readErr, fs.ErrNotExist)
	return inkan.KindOf(err) == inkan.Temporary && (readErr == nil || absent) && seen == old
}

// Update edits the record at key by compare-and-swap until it wins. change may
// be called more than once; returning ErrUnchanged leaves the record as it is.
func Update[T any](ctx context.Context, s inkan.Store, key string, change func(v *T, exists bool) error) (Record[T], error) {
	for {
		r, err := Load[T](ctx, s, key)
		if err != nil {
			return r, err
		}
		v := r.Value
		if err := change(&v, r.Exists()); err != nil {
			if err == ErrUnchanged {
				err = nil
			}
			return r, err
		}
		if err := r.Save(ctx, s, v); !errors.Is(err, inkan.ErrConflict) {
			return r, err
		}
		if err := ctx.Err(); err != nil {
			return r, err
		}
	}
}

// Confirm makes sure that the value at key is durable: the process that wrote it
// may have died before it was. It tries to create the value again, because a
// creation fails with ErrConflict only if the value that is there is durable (see
// [inkan.Store]).
func Confirm(ctx context.Context, s inkan.Store, key string) error {
	data, _, err := s.Get(ctx, key)
	if err != nil {
		return fmt.Errorf("reading %s: %w", key, err)
	}
	if _, err := s.Put(ctx, key, data, ""); err != nil && !errors.Is(err, inkan.ErrConflict) {
		return fmt.Errorf("writing %s: %w", key, err)
	}
	return nil
}

// ErrUnchanged tells [Update] to leave the record as it is.
var ErrUnchanged = errors.New("unchanged")

// CreateOnce writes a value that is created once and never changes. The write id
// is given, so that the same fact gives the same bytes: a value that is there
// already must be equal. It returns the checksum of the record.
func CreateOnce(ctx context.Context, s inkan.Store, key string, v any, write string) (sum string, err error) {
	data, sum, err := encode(v, 1, write)
	if err != nil {
		return "", err
	}
	_, err = put(ctx, s, key, data, "", func(there []byte) bool { return bytes.Equal(there, data) })
	if !errors.Is(err, inkan.ErrConflict) {
		return sum, err
	}
	there, _, err := s.Get(context.WithoutCancel(ctx), key)
	switch {
	case err != nil:
		return "", fmt.Errorf("writing %s: %w", key, err)
	case !bytes.Equal(there, data):
		return "", inkan.Errorf(inkan.Bug, "writing "+key, "another value is there already")
	}
	return sum, nil
}
