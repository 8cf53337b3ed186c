package inkan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
)

// damagedPrefix holds copies of values whose checksum failed.
const damagedPrefix = "damaged/"

// setAside copies the damaged bytes of key to damaged/, under a name made of
// their hash, so that nothing that somebody may still want to look at is lost.
// It returns the revision of what it copied.
func setAside(ctx context.Context, s Store, key string) (Rev, error) {
	data, rev, err := s.Get(ctx, key)
	if err != nil {
		return "", err
	}
	copyKey := damagedPrefix + key + "-" + sumOf(data)[:8]
	if _, err := s.Put(ctx, copyKey, data, ""); err != nil {
		there, _, getErr := s.Get(ctx, copyKey)
		if getErr != nil || !bytes.Equal(there, data) {
			return "", fmt.Errorf("copying %s to %s: %w", key, copyKey, err)
		}
	}
	return rev, nil
}

// noteDamage copies what is damaged in the version in force and writes the
// event, once.
func (m *Manager) noteDamage(ctx context.Context, o *Observed) {
	d, ok := errors.AsType[*DamagedError](o.VersionErr)
	if !ok {
		return
	}
	if _, err := setAside(ctx, m.Store, d.Key); err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.log().Warn("a damaged value could not be copied", logName(o.Name), logError(err))
	}
	e := Event{ID: "damaged-" + sumOf([]byte(d.Key))[:16], At: o.Current.At, Kind: EventDamaged, Name: o.Name, N: o.Current.N, Message: Printable(d.Error(), 500)}
	if err := writeEvent(ctx, m.Store, e); err != nil {
		m.log().Warn("an event could not be written", logName(o.Name), logError(err))
	}
}

// soundest returns the newest version of a certificate that can be read whole
// and has not expired, for when the one in force cannot; fs.ErrNotExist if
// there is none.
func soundest(ctx context.Context, s Store, name string, now time.Time) (*Version, error) {
	vs, _ := versions(ctx, s, name) // what cannot be read is passed over
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

// familyOf returns the first element of a key.
func familyOf(key string) string {
	family, _, _ := strings.Cut(key, "/")
	return family
}
