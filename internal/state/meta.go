package state

import (
	"context"
	"errors"
	"time"

	"github.com/inkan-acme/inkan"
)

// StoreRecord names a Store. Signatures are over its id, so that a record of
// one Store is no record of another, and followers see that a Store was
// exchanged.
type StoreRecord struct {
	ID      string    `json:"id"`
	Created time.Time `json:"created"`
}

const storeKey = FamilyMeta + "store"

// Identify returns the record of the Store, and makes it if there is none. If
// several processes make it concurrently, all return the one that won.
func Identify(ctx context.Context, s inkan.Store, now time.Time) (StoreRecord, error) {
	for {
		r, err := Load[StoreRecord](ctx, s, storeKey)
		if err != nil || r.Exists() {
			return r.Value, err
		}
		err = r.Save(ctx, s, StoreRecord{ID: NewID(), Created: now.UTC()})
		if !errors.Is(err, inkan.ErrConflict) {
			return r.Value, err
		}
	}
}
