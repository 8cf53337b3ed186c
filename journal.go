package inkan

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
)

// journal is the Journal over a record of the Store.
type journal struct {
	s  Store
	mu sync.Mutex // the issuer and the key maker write at once
	r  record[OrderRecord]
}

func newJournal(s Store, o OrderRecord) *journal {
	return &journal{s: s, r: record[OrderRecord]{key: orderKey(o.Name, o.Attempt, o.KeyType), v: o}}
}

func (j *journal) create(ctx context.Context) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.r.save(ctx, j.s, j.r.v)
}

func (j *journal) Load(ctx context.Context) (OrderRecord, error) { return j.record(), nil }

// record returns the order as it was last written or read.
func (j *journal) record() OrderRecord {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.r.v
}

// key returns where the journal stands.
func (j *journal) key() string { return j.r.key }

// Update writes through. A conflict means that another process resumed the
// order because it held our lease for dead: this one must stop.
func (j *journal) Update(ctx context.Context, change func(*OrderRecord)) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	v := j.r.v
	change(&v)
	err := j.r.save(ctx, j.s, v)
	if errors.Is(err, ErrConflict) {
		return Errorf(Pending, "certificate "+v.Name, "another process took over the order")
	}
	return err
}

// journalsOf reads all journals of a certificate, those of any attempt.
func journalsOf(ctx context.Context, s Store, name string) ([]*journal, error) {
	var js []*journal
	for key, err := range s.List(ctx, ordersPrefix+name+"/", "") {
		if err != nil {
			return nil, fmt.Errorf("listing the orders of %s: %w", name, err)
		}
		r, err := load[OrderRecord](ctx, s, key)
		if err != nil {
			return nil, err
		}
		if r.exists() {
			js = append(js, &journal{s: s, r: r})
		}
	}
	return js, nil
}

// namesWithOrders yields the certificates that have a journal: normally none.
func namesWithOrders(ctx context.Context, s Store) ([]string, error) {
	var names []string
	for key, err := range s.List(ctx, ordersPrefix, "") {
		if err != nil {
			return nil, fmt.Errorf("listing the orders: %w", err)
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(key, ordersPrefix), "/")
		if len(names) == 0 || names[len(names)-1] != name {
			names = append(names, name)
		}
	}
	return names, nil
}

// accountStore is the AccountStore over a record of the Store.
type accountStore struct {
	s   Store
	key string
}

// Accounts returns the record of an account in the Store. ca and account must
// pass [CheckName].
func Accounts(s Store, ca, account string) AccountStore {
	return accountStore{s, accountKey(ca, account)}
}

func (a accountStore) Load(ctx context.Context) (AccountRecord, error) {
	r, err := load[AccountRecord](ctx, a.s, a.key)
	if err == nil && !r.exists() {
		err = fs.ErrNotExist
	}
	return r.v, err
}

func (a accountStore) Update(ctx context.Context, change func(*AccountRecord)) error {
	_, err := update(ctx, a.s, a.key, func(v *AccountRecord, _ bool) error { change(v); return nil })
	return err
}
