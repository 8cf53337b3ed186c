package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/testca"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/plugins"
	"github.com/inkan-acme/inkan/store"
)

// countedStore counts what a command asks of its Store.
type countedStore struct {
	inkan.Store
	mu    *sync.Mutex
	calls *[]string
}

func (s countedStore) note(op, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*s.calls = append(*s.calls, op+" "+key)
}

func (s countedStore) Get(ctx context.Context, key string) ([]byte, inkan.Rev, error) {
	s.note("get", key)
	return s.Store.Get(ctx, key)
}

func (s countedStore) Put(ctx context.Context, key string, data []byte, old inkan.Rev) (inkan.Rev, error) {
	s.note("put", key)
	return s.Store.Put(ctx, key, data, old)
}

func (s countedStore) Delete(ctx context.Context, key string) error {
	s.note("delete", key)
	return s.Store.Delete(ctx, key)
}

func (s countedStore) List(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	s.note("list", prefix)
	return s.Store.List(ctx, prefix, after)
}

// TestOperations: what a command knows already it does not ask its Store again.
// On S3 each of these operations is a request.
func TestOperations(t *testing.T) {
	ca, err := testca.New(testca.Options{AlwaysValid: true})
	if err != nil {
		t.Fatal(err)
	}
	defer ca.Close()
	dir := t.TempDir()
	root, www, conf := filepath.Join(dir, "root.pem"), filepath.Join(dir, "www"), filepath.Join(dir, "inkan.yaml")
	if err := os.WriteFile(root, ca.RootsPEM, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(www, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(conf, []byte("store: {type: counted, dir: "+filepath.Join(dir, "store")+"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var calls []string
	set := plugins.All()
	plug.Add(&set.Stores, "counted", func(env plug.Env, c store.FileConfig) (inkan.Store, error) {
		s, err := store.File(env, c)
		return countedStore{s, &mu, &calls}, err
	})
	for _, c := range []struct {
		args     []string
		max      int
		observes int
	}{
		{[]string{"issue", "www.example.org", "--ca", ca.DirectoryURL, "--ca-root", root, "--agree-tos", "--email", "ops@example.com", "--webroot", www, "--deploy-dir", filepath.Join(dir, "out")}, 37, 1},
		{[]string{"renew", "--force", "--name", "www.example.org"}, 24, 1},
		{[]string{"renew"}, 3, 0},
		{[]string{"list"}, 7, 1},
	} {
		calls = nil
		var out bytes.Buffer
		args := append([]string{"--config", conf, "--data", filepath.Join(dir, "data")}, c.args...)
		if status := Run(t.Context(), set, strings.NewReader(""), io.Discard, &out, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}, args); status != exitDone {
			t.Fatalf("%s: status %d\n%s", c.args[0], status, out.String())
		}
		count, observes := map[string]int{}, 0 // only who observes lists the orders of a certificate
		for _, call := range calls {
			op, key, _ := strings.Cut(call, " ")
			count[op]++
			if op == "list" && strings.HasPrefix(key, "orders/www") {
				observes++
			}
		}
		t.Logf("proof: inkan %s: %d operations %v, observed %d times", c.args[0], len(calls), fmt.Sprint(count), observes)
		if len(calls) > c.max || observes != c.observes {
			t.Errorf("inkan %s: %d operations, want at most %d; observed %d times, want %d:\n%s", c.args[0], len(calls), c.max, observes, c.observes, strings.Join(calls, "\n"))
		}
	}
}
