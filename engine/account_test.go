package engine

import (
	"errors"
	"io/fs"
	"sync"
	"testing"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/testkit"
)

// TestF07Accounts: twenty workers that start without an account agree on one key.
func TestF07Accounts(t *testing.T) {
	ctx := t.Context()
	s := testkit.New()
	a := Accounts(s, "le", "default")
	if _, err := a.Load(ctx); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			err := Accounts(s, "le", "default").Update(ctx, func(r *inkan.AccountRecord) {
				if r.Key == nil {
					r.Key = &inkan.StoredKey{Form: inkan.PlainKey, Data: []byte{byte(i)}}
				}
				r.Contacts = append(r.Contacts, "x")
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	r, err := a.Load(ctx)
	if err != nil || len(r.Contacts) != 20 || r.Key == nil {
		t.Errorf("%d updates, %v", len(r.Contacts), err)
	}
	if err := s.Delete(ctx, "accounts/le/default"); err != nil || len(s.Values) != 0 {
		t.Errorf("the account lies elsewhere: %v", s.Values)
	}
}
