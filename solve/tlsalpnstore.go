package solve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/inkan-acme/inkan"
)

// In a shared Store each name has one slot, tls-alpn-01/<server name>: the key
// authorization that is shown, or nothing. It changes by compare-and-swap only,
// from nothing to a proof and from that to nothing, and is never deleted: an
// empty slot is left for each name that was ever validated this way.
//
// An order that needs several slots and finds one in use releases its own slots
// that sort after that one. So a waiting order holds no slot that sorts after
// the one it waits for, and two orders never wait for each other.

const (
	slotPrefix = "tls-alpn-01/"
	// turnTime is how long an order waits for its turn at a name.
	turnTime = 5 * time.Minute
	// slotPause is about how often it looks.
	slotPause = 500 * time.Millisecond
	// maxReads bounds how often the Store is read at once for handshakes,
	// since anybody can cause them.
	maxReads = 64
	// readTime is for one such reading.
	readTime = 5 * time.Second
)

// takeAll takes the slots of all challenges, as they become free.
func (t *TLSALPN) takeAll(ctx, limited context.Context, challenges []inkan.Challenge) error {
	for {
		busy, err := t.take(ctx, challenges)
		if err != nil || busy == "" {
			return err
		}
		pause := time.NewTimer(slotPause/2 + rand.N(slotPause))
		select {
		case <-pause.C:
		case <-limited.Done():
			pause.Stop()
			return notOurTurn(ctx, busy)
		}
	}
}

// take takes the slots of the challenges. It returns the first name whose slot
// another proof holds, and then releases our slots that sort after it.
func (t *TLSALPN) take(ctx context.Context, challenges []inkan.Challenge) (busy string, err error) {
	var mu sync.Mutex
	err = each(challenges, func(c inkan.Challenge) error {
		taken, err := t.takeSlot(ctx, c)
		if err != nil {
			return fmt.Errorf("tls-alpn-01 for %s: %w", c.Identifier.Value, err)
		}
		mu.Lock()
		defer mu.Unlock()
		if name := serverName(c.Identifier); !taken && (busy == "" || name < busy) {
			busy = name
		}
		return nil
	})
	if err == nil && busy == "" {
		t.hold(challenges, true)
		return "", nil
	}
	behind := slices.DeleteFunc(slices.Clone(challenges), func(c inkan.Challenge) bool { return err == nil && serverName(c.Identifier) <= busy })
	return busy, errors.Join(err, t.release(context.WithoutCancel(ctx), behind))
}

func (t *TLSALPN) hold(challenges []inkan.Challenge, held bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range challenges {
		if p := t.find(c); p != nil {
			p.held = held
		}
	}
}

// takeSlot puts the proof of c into its slot and reports whether it is there.
func (t *TLSALPN) takeSlot(ctx context.Context, c inkan.Challenge) (bool, error) {
	key := slotPrefix + serverName(c.Identifier)
	data, rev, err := t.Store.Get(ctx, key)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		rev = ""
	case err != nil:
		return false, err
	case string(data) == c.KeyAuthorization:
		return true, nil
	case len(data) > 0:
		return false, nil
	}
	_, err = t.Store.Put(ctx, key, []byte(c.KeyAuthorization), rev)
	if err == nil {
		return true, nil
	}
	// It may have been written although an error came back.
	now, _, readErr := t.Store.Get(ctx, key)
	switch {
	case readErr == nil && string(now) == c.KeyAuthorization:
		return true, nil
	case errors.Is(err, inkan.ErrConflict):
		return false, nil
	}
	return false, err
}

// release empties the slots that hold the proofs of the challenges.
func (t *TLSALPN) release(ctx context.Context, challenges []inkan.Challenge) error {
	t.hold(challenges, false)
	if t.Store == nil {
		return nil
	}
	return each(challenges, func(c inkan.Challenge) error {
		if check(inkan.TLSALPN01, c) != nil {
			return nil // never shown
		}
		key := slotPrefix + serverName(c.Identifier)
		data, rev, err := t.Store.Get(ctx, key)
		if errors.Is(err, fs.ErrNotExist) || err == nil && string(data) != c.KeyAuthorization {
			return nil
		}
		if err == nil {
			_, err = t.Store.Put(ctx, key, nil, rev)
		}
		if err == nil {
			return nil
		}
		if now, _, readErr := t.Store.Get(ctx, key); readErr == nil && string(now) != c.KeyAuthorization {
			return nil // it was written, or somebody else cleaned up
		}
		return fmt.Errorf("tls-alpn-01 clean-up for %s: %w", c.Identifier.Value, err)
	})
}

// stored makes the certificate for a server name of what stands in the Store.
// Nothing is cached: a request that comes too early must not hide the proof.
func (t *TLSALPN) stored(ctx context.Context, server string) (*tls.Certificate, error) {
	id, ok := identifierOf(server)
	if !ok {
		return nil, nil
	}
	t.once.Do(func() { t.reads = make(chan struct{}, maxReads) })
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	select {
	case t.reads <- struct{}{}:
		defer func() { <-t.reads }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	data, _, err := t.Store.Get(ctx, slotPrefix+server)
	token, thumbprint, _ := strings.Cut(string(data), ".")
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && len(data) == 0:
		return nil, nil
	case err != nil:
		return nil, err
	case !inkan.IsToken(token) || len(thumbprint) > 100 || !inkan.IsBase64URL(thumbprint):
		return nil, inkan.Errorf(inkan.Operator, "store", "what stands at %s is no key authorization", slotPrefix+server)
	}
	return challengeCertificate(id, string(data))
}
