package store_test

import (
	"testing"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/plugtest/storetest"
	"github.com/inkan-acme/inkan/store"
)

func TestMem(t *testing.T) {
	storetest.Run(t, func(t *testing.T) inkan.Store {
		s, err := store.MemPlugin(plug.Env{}, store.MemConfig{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

func TestMemRefusesKeyBelowKey(t *testing.T) {
	keyBelowKey(t, store.Mem())
}

// keyBelowKey checks what not every Store can see, but these two do.
func keyBelowKey(t *testing.T, s inkan.Store) {
	t.Helper()
	for _, key := range []string{"a", "b/c/d"} {
		if _, err := s.Put(t.Context(), key, nil, ""); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"a/b", "a/b/c", "b", "b/c"} {
		_, err := s.Put(t.Context(), key, nil, "")
		if err == nil || inkan.KindOf(err) == inkan.Temporary {
			t.Errorf("Put(%q) = %v; want an error that no retry mends", key, err)
		}
	}
}
