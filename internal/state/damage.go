package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/inkan-acme/inkan"
)

// SetAside copies the damaged bytes of key to damaged/, under a name made of
// their hash, so that nothing that somebody may still want to look at is lost.
// It returns the revision of what it copied.
func SetAside(ctx context.Context, s inkan.Store, key string) (inkan.Rev, error) {
	data, rev, err := s.Get(ctx, key)
	if err != nil {
		return "", err
	}
	copyKey := FamilyDamaged + key + "-" + Sum(data)[:8]
	if _, err := s.Put(ctx, copyKey, data, ""); err != nil {
		there, _, getErr := s.Get(ctx, copyKey)
		if getErr != nil || !bytes.Equal(there, data) {
			return "", fmt.Errorf("copying %s to %s: %w", key, copyKey, err)
		}
	}
	return rev, nil
}

// DamagedHint tells what to do about a damaged value.
func DamagedHint(err error) error {
	if d, ok := errors.AsType[*inkan.DamagedError](err); ok {
		return inkan.Errorf(inkan.Operator, "reading the store", "%w", d).
			WithHint("nothing was changed; inkan fsck tells what can be repaired, or restore %s from a backup", d.Key)
	}
	return err
}

func damaged(key, reason string) error { return &inkan.DamagedError{Key: key, Reason: reason} }
