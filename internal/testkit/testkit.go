// Package testkit holds what tests of several packages share: a Store that can be
// made to fail, keys and identifiers.
package testkit

import (
	"context"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/inkan-acme/inkan"
)

// Store is an inkan.Store in memory. Before, if not nil, sees every call and may
// fail it; After sees every Put that was carried out and may lie about it.
type Store struct {
	mu     sync.Mutex
	Values map[string][]byte
	Revs   map[string]inkan.Rev
	Puts   int
	Gets   int
	Lists  int

	Before func(op, key string) error
	After  func(key string) error
}

func New() *Store {
	return &Store{Values: map[string][]byte{}, Revs: map[string]inkan.Rev{}}
}

func (s *Store) call(op, key string, counter *int) error {
	*counter++
	if s.Before != nil {
		return s.Before(op, key)
	}
	return nil
}

func (s *Store) Get(ctx context.Context, key string) ([]byte, inkan.Rev, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.call("get", key, &s.Gets); err != nil {
		return nil, "", err
	}
	data, ok := s.Values[key]
	if !ok {
		return nil, "", fs.ErrNotExist
	}
	return slices.Clone(data), s.Revs[key], nil
}

func (s *Store) Put(ctx context.Context, key string, data []byte, old inkan.Rev) (inkan.Rev, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.call("put", key, &s.Puts); err != nil {
		return "", err
	}
	if err := inkan.CheckKey(key); err != nil {
		return "", err
	}
	if s.Revs[key] != old {
		return "", inkan.ErrConflict
	}
	s.Values[key] = slices.Clone(data)
	s.Revs[key] = inkan.Rev(fmt.Sprint(s.Puts))
	if s.After != nil {
		if err := s.After(key); err != nil {
			return "", err
		}
	}
	return s.Revs[key], nil
}

func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		s.mu.Lock()
		err := s.call("list", prefix, &s.Lists)
		keys := slices.Sorted(maps.Keys(s.Values))
		s.mu.Unlock()
		if err != nil {
			yield("", err)
			return
		}
		for _, k := range keys {
			if strings.HasPrefix(k, prefix) && k > after && !yield(k, nil) {
				return
			}
		}
	}
}

func (s *Store) Delete(ctx context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.Values, key)
	delete(s.Revs, key)
	return nil
}

func (s *Store) Set(key string, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Values[key] = data
	s.Revs[key] += "'"
}

func (s *Store) Count(c *int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *c
}

func Key(t testing.TB, kt inkan.KeyType) *inkan.PrivateKey {
	t.Helper()
	k, err := inkan.GenerateKey(kt)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func IDs(names ...string) []inkan.Identifier {
	ids := make([]inkan.Identifier, len(names))
	for i, n := range names {
		var err error
		if ids[i], err = inkan.ParseIdentifier(n); err != nil {
			panic(err)
		}
	}
	return ids
}
