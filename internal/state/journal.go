package state

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/inkan-acme/inkan"
)

// Journal is an [inkan.Journal] over a record of the Store.
type Journal struct {
	s  inkan.Store
	mu sync.Mutex // the issuer and the key maker write at once
	r  Record[inkan.OrderRecord]
}

// NewJournal returns the journal of a new order; [Journal.Create] writes it.
func NewJournal(s inkan.Store, o inkan.OrderRecord) *Journal {
	return &Journal{s: s, r: Record[inkan.OrderRecord]{Key: OrderKey(o.Name, o.Attempt, o.KeyType), Value: o}}
}

// Create writes the journal for the first time.
func (j *Journal) Create(ctx context.Context) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.r.Save(ctx, j.s, j.r.Value)
}

// Load implements [inkan.Journal].
func (j *Journal) Load(ctx context.Context) (inkan.OrderRecord, error) { return j.Record(), nil }

// Record returns the order as it was last written or read.
func (j *Journal) Record() inkan.OrderRecord {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.r.Value
}

// Key returns where the journal stands.
func (j *Journal) Key() string { return j.r.Key }

// Update writes the record to the Store. A conflict means that another process
// took our lease for dead and resumed the order: this one must stop.
func (j *Journal) Update(ctx context.Context, change func(*inkan.OrderRecord)) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	v := j.r.Value
	change(&v)
	err := j.r.Save(ctx, j.s, v)
	if errors.Is(err, inkan.ErrConflict) {
		return inkan.Errorf(inkan.Pending, "certificate "+v.Name, "another process took over the order")
	}
	return err
}

// Journals reads all journals of a certificate, those of any attempt.
func Journals(ctx context.Context, s inkan.Store, name string) ([]*Journal, error) {
	var js []*Journal
	for key, err := range s.List(ctx, OrdersPrefix(name), "") {
		if err != nil {
			return nil, fmt.Errorf("listing the orders of %s: %w", name, err)
		}
		r, err := Load[inkan.OrderRecord](ctx, s, key)
		if err != nil {
			return nil, err
		}
		if r.Exists() {
			js = append(js, &Journal{s: s, r: r})
		}
	}
	return js, nil
}

// NamesWithOrders yields the certificates that have a journal: normally none.
func NamesWithOrders(ctx context.Context, s inkan.Store) ([]string, error) {
	var names []string
	for key, err := range s.List(ctx, FamilyOrders, "") {
		if err != nil {
			return nil, fmt.Errorf("listing the orders: %w", err)
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(key, FamilyOrders), "/")
		if len(names) == 0 || names[len(names)-1] != name {
			names = append(names, name)
		}
	}
	return names, nil
}
