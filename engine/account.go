package engine

import (
	"context"
	"io/fs"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/state"
)

// accountStore is the AccountStore over a record of the Store.
type accountStore struct {
	s   inkan.Store
	key string
}

// Accounts returns the record of an account in the Store. ca and account must
// pass [inkan.CheckName].
func Accounts(s inkan.Store, ca, account string) inkan.AccountStore {
	return accountStore{s, state.AccountKey(ca, account)}
}

func (a accountStore) Load(ctx context.Context) (inkan.AccountRecord, error) {
	r, err := state.Load[inkan.AccountRecord](ctx, a.s, a.key)
	if err == nil && !r.Exists() {
		err = fs.ErrNotExist
	}
	return r.Value, err
}

func (a accountStore) Update(ctx context.Context, change func(*inkan.AccountRecord)) error {
	_, err := state.Update(ctx, a.s, a.key, func(v *inkan.AccountRecord, _ bool) error { change(v); return nil })
	return err
}
