package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/inkan-acme/inkan"
)

// damagedPrefix holds copies of values whose checksum failed.
const damagedPrefix = "damaged/"

// SetAside copies the damaged bytes of key to damaged/, under a name made of
// their hash, so that nothing that somebody may still want to look at is lost.
// It returns the revision of what it copied.
func SetAside(ctx context.Context, s inkan.Store, key string) (inkan.Rev, error) {
	data, rev, err := s.Get(ctx, key)
	if err != nil {
		return "", err
	}
	copyKey := damagedPrefix + key + "-" + Sum(data)[:8]
	if _, err := s.Put(ctx, copyKey, data, ""); err != nil {
		there, _, getErr := s.Get(ctx, copyKey)
		if getErr != nil || !bytes.Equal(there, data) {
			return "", fmt.Errorf("copying %s to %s: %w", key, copyKey, err)
		}
	}
	return rev, nil
}

// Soundest returns the newest version of a certificate that can be read whole
// and has not expired, for when the one in force cannot; fs.ErrNotExist if
// there is none.
func Soundest(ctx context.Context, s inkan.Store, name string, now time.Time) (*inkan.Version, error) {
	vs, _ := Versions(ctx, s, name) // what cannot be read is passed over
	for i := len(vs) - 1; i >= 0; i-- {
		v := vs[i]
		usable := true
		for k := range v.Pairs {
			p := &v.Pairs[k]
			keyed := p.Key != nil || p.Source != "issued"
			usable = usable && keyed && now.Before(p.Leaf.NotAfter)
		}
		if usable {
			return v, nil
		}
	}
	return nil, fmt.Errorf("a sound version of %s: %w", name, fs.ErrNotExist)
}

// Family returns the first element of a key.
func Family(key string) string {
	family, _, _ := strings.Cut(key, "/")
	return family
}

// DamagedHint tells what to do about a damaged value.
func DamagedHint(err error) error {
	if d, ok := errors.AsType[*inkan.DamagedError](err); ok {
		return inkan.Errorf(inkan.Operator, "reading the store", "%w", d).
			WithHint("nothing was changed; restore %s from a backup", d.Key)
	}
	return err
}

func damaged(key, reason string) error { return &inkan.DamagedError{Key: key, Reason: reason} }
