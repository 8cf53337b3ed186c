package store

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
)

// MemConfig holds the options of [MemPlugin]: there are none.
type MemConfig struct {
	_ struct{} `help:"keeps everything in memory, for trials: it is gone when the program ends"`
}

// MemPlugin is [Mem] as a plug-in.
func MemPlugin(plug.Env, MemConfig) (inkan.Store, error) { return Mem(), nil }

// Mem returns an empty Store in memory. Nothing in it survives the process.
func Mem() inkan.Store { return &mem{values: map[string]value{}} }

type mem struct {
	mu     sync.RWMutex
	values map[string]value
	keys   []string // sorted
	writes uint64   // counts writes, for revisions
}

type value struct {
	data []byte
	rev  inkan.Rev
}

func (m *mem) Get(ctx context.Context, key string) ([]byte, inkan.Rev, error) {
	if err := memBegin(ctx, key); err != nil {
		return nil, "", err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	v, ok := m.values[key]
	if !ok {
		return nil, "", fmt.Errorf("memory store: get %s: %w", key, fs.ErrNotExist)
	}
	return bytes.Clone(v.data), v.rev, nil
}

func (m *mem) Put(ctx context.Context, key string, data []byte, old inkan.Rev) (inkan.Rev, error) {
	if err := memBegin(ctx, key); err != nil {
		return "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.values[key].rev != old { // absent: ""
		return "", fmt.Errorf("memory store: put %s: %w", key, inkan.ErrConflict)
	}
	if old == "" {
		if err := m.insert(key); err != nil {
			return "", err
		}
	}
	m.writes++
	rev := inkan.Rev(strconv.FormatUint(m.writes, 10))
	m.values[key] = value{append([]byte{}, data...), rev}
	return rev, nil
}

// insert adds a key to the sorted list. It refuses what a file store cannot
// keep, so that a test over memory does not pass where files would fail.
func (m *mem) insert(key string) error {
	for i := range len(key) {
		if key[i] != '/' {
			continue
		}
		if _, ok := m.values[key[:i]]; ok {
			return inkan.Errorf(inkan.Bug, "memory store", "put %s: the key %s exists, so no key can be below it", key, key[:i])
		}
	}
	below := key + "/"
	if i, _ := slices.BinarySearch(m.keys, below); i < len(m.keys) && strings.HasPrefix(m.keys[i], below) {
		return inkan.Errorf(inkan.Bug, "memory store", "put %s: there are keys below this one, so it cannot be a key itself", key)
	}
	i, _ := slices.BinarySearch(m.keys, key)
	m.keys = slices.Insert(m.keys, i, key)
	return nil
}

// List looks each next key up when it is asked for, so that the consumer may
// call the Store meanwhile.
func (m *mem) List(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if prefix != "" && !strings.HasSuffix(prefix, "/") {
			yield("", inkan.Errorf(inkan.Bug, "memory store", "list %q: a prefix ends in a slash", prefix))
			return
		}
		last := max(after, prefix) // no key ends in a slash, so none is equal to prefix
		for {
			if err := ctx.Err(); err != nil {
				yield("", err)
				return
			}
			key, ok := m.next(last)
			if !ok || !strings.HasPrefix(key, prefix) || !yield(key, nil) {
				return
			}
			last = key
		}
	}
}

// next returns the first key behind last.
func (m *mem) next(last string) (string, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	i, found := slices.BinarySearch(m.keys, last)
	if found {
		i++
	}
	if i == len(m.keys) {
		return "", false
	}
	return m.keys[i], true
}

func (m *mem) Delete(ctx context.Context, key string) error {
	if err := memBegin(ctx, key); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.values[key]; ok {
		delete(m.values, key)
		i, _ := slices.BinarySearch(m.keys, key)
		m.keys = slices.Delete(m.keys, i, i+1)
	}
	return nil
}

func memBegin(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := inkan.CheckKey(key); err != nil {
		return inkan.Errorf(inkan.Bug, "memory store", "%w", err)
	}
	return nil
}
