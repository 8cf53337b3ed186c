package solve_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/plugtest/solvetest"
	"github.com/inkan-acme/inkan/solve"
	"github.com/inkan-acme/inkan/store"
)

var harness = solvetest.Harness{Type: inkan.HTTP01}

func overStore(t *testing.T, s inkan.Store) inkan.Solver {
	t.Helper()
	solver, err := solve.HTTP01(plug.Env{}, solve.HTTP01Config{Store: plug.Ref[inkan.Store]{Value: s}})
	if err != nil {
		t.Fatal(err)
	}
	return solver
}

// TestHTTP01Webroot serves the webroot with a real web server.
func TestHTTP01Webroot(t *testing.T) {
	servers := map[inkan.Solver]string{}
	h := harness
	h.Place = func(t *testing.T) func() inkan.Solver {
		root := t.TempDir()
		server := httptest.NewServer(http.FileServer(http.Dir(root)))
		t.Cleanup(server.Close)
		return func() inkan.Solver {
			s, err := store.File(plug.Env{}, store.FileConfig{Dir: root, Public: true})
			if err != nil {
				t.Fatal(err)
			}
			solver := overStore(t, s)
			servers[solver] = server.Listener.Addr().String()
			return solver
		}
	}
	h.Visible = func(t *testing.T, s inkan.Solver, c inkan.Challenge) []string {
		return fetch(t, servers[s], c.Identifier.Value, c.Token)
	}
	solvetest.Run(t, h)
}

func TestHTTP01Memory(t *testing.T) {
	stores := map[inkan.Solver]inkan.Store{}
	h := harness
	h.Place = func(t *testing.T) func() inkan.Solver {
		s := store.Mem()
		return func() inkan.Solver {
			solver := overStore(t, s)
			stores[solver] = s
			return solver
		}
	}
	h.Visible = func(t *testing.T, s inkan.Solver, c inkan.Challenge) []string {
		data, _, err := stores[s].Get(t.Context(), ".well-known/acme-challenge/"+c.Token)
		if err != nil {
			return nil
		}
		return []string{string(data)}
	}
	solvetest.Run(t, h)
}

func TestHTTP01Collision(t *testing.T) {
	s := store.Mem()
	solver := overStore(t, s)
	c := harness.Challenge("example.com", 1)
	key := ".well-known/acme-challenge/" + c.Token
	if _, err := s.Put(t.Context(), key, []byte(c.Token+".other"), ""); err != nil {
		t.Fatal(err)
	}
	_, err := solver.Present(t.Context(), []inkan.Challenge{c})
	if inkan.KindOf(err) != inkan.Operator || len(inkan.HintsOf(err)) == 0 {
		t.Errorf("Present over another answer: %v", err)
	}
	if err := solver.CleanUp(t.Context(), []inkan.Challenge{c}); err != nil {
		t.Error(err)
	}
	if data, _, err := s.Get(t.Context(), key); string(data) != c.Token+".other" {
		t.Errorf("the other answer is now %q, %v", data, err)
	}
}

// forgetful is a store whose Put happens although it reports an error, or
// does not happen.
type forgetful struct {
	inkan.Store
	happens bool
}

var errLost = errors.New("the reply was lost")

func (f forgetful) Put(ctx context.Context, key string, data []byte, old inkan.Rev) (inkan.Rev, error) {
	if f.happens {
		if _, err := f.Store.Put(ctx, key, data, old); err != nil {
			return "", err
		}
	}
	return "", errLost
}

func TestHTTP01PutReportsAnError(t *testing.T) {
	for _, happens := range []bool{true, false} {
		s := store.Mem()
		solver := overStore(t, forgetful{s, happens})
		c := harness.Challenge("example.com", 1)
		_, err := solver.Present(t.Context(), []inkan.Challenge{c})
		if happens != (err == nil) || !happens && !errors.Is(err, errLost) {
			t.Errorf("Present = %v; the write happened: %v", err, happens)
		}
		if err := solver.CleanUp(t.Context(), []inkan.Challenge{c}); err != nil {
			t.Error(err)
		}
		if _, _, err := s.Get(t.Context(), ".well-known/acme-challenge/"+c.Token); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after the clean-up: %v", err)
		}
	}
}

// hostile returns challenges whose token must never become part of a path.
func hostile() (cs []inkan.Challenge) {
	for _, token := range []string{
		"", "../../../etc/cron.d/xxxxxxxxxxxx", "short", strings.Repeat("x", 21), strings.Repeat("x", 10<<20),
		"aaaaaaaaaaaaaaaaaaaaaaaa;id", "aaaaaaaaaaaaaaaaaaaaaa/b", `aaaaaaaaaaaaaaaaaaaaaa\b`, "aaaaaaaaaaaaaaaaaaaaaa\x00",
		"aaaaaaaaaaaaaaaaaaaaaa%2f", "aaaaaaaaaaaaaaaaaaaaaa.", "aaaaaaaaaaaaaaaaaaaaaa==", "..aaaaaaaaaaaaaaaaaaaaaa", "äaaaaaaaaaaaaaaaaaaaaaaa",
	} {
		c := harness.Challenge("example.com", 1)
		c.Token, c.KeyAuthorization = token, token+".thumb"
		cs = append(cs, c)
	}
	c := harness.Challenge("example.com", 1)
	c.KeyAuthorization = "another." + c.Token
	cs = append(cs, c)
	c = harness.Challenge("example.com", 1)
	c.KeyAuthorization += "\n<script>"
	cs = append(cs, c)
	c = harness.Challenge("example.com", 1)
	c.Type = inkan.DNS01
	return append(cs, c)
}

func TestH02HostileTokens(t *testing.T) {
	base := t.TempDir()
	root := filepath.Join(base, "www", "root")
	if err := os.MkdirAll(root, 0o755); err != nil {
		t.Fatal(err)
	}
	s, err := store.File(plug.Env{}, store.FileConfig{Dir: root, Public: true})
	if err != nil {
		t.Fatal(err)
	}
	standalone, err := solve.Standalone(plug.Env{}, solve.StandaloneConfig{Addr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	for _, solver := range []inkan.Solver{overStore(t, s), standalone, new(solve.Responder)} {
		for _, c := range hostile() {
			good := harness.Challenge("good.example.com", 2)
			_, err := solver.Present(t.Context(), []inkan.Challenge{good, c})
			if inkan.KindOf(err) != inkan.Bug || len(err.Error()) > 500 {
				t.Errorf("%T: Present of the token %.40q: %.500v", solver, c.Token, err)
			}
			if err := solver.CleanUp(t.Context(), []inkan.Challenge{good, c}); err != nil {
				t.Errorf("%T: CleanUp of the token %.40q: %v", solver, c.Token, err)
			}
		}
	}
	err = filepath.WalkDir(base, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() || strings.Contains(path, "well-known") {
			t.Errorf("something was written: %s", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestHTTP01NeedsAStore(t *testing.T) {
	if _, err := solve.HTTP01(plug.Env{}, solve.HTTP01Config{}); inkan.KindOf(err) != inkan.Operator {
		t.Errorf("without a store: %v", err)
	}
}

// TestConfigsDecode registers the solvers as the table of plug-ins does and
// opens one with a store written inline.
func TestConfigsDecode(t *testing.T) {
	var set plug.Set
	plug.Add(&set.Stores, "file", store.File)
	plug.Add(&set.Stores, "mem", store.MemPlugin)
	plug.AddSolver(&set.Solvers, "http-01", inkan.HTTP01, solve.HTTP01)
	plug.AddSolver(&set.Solvers, "standalone", inkan.HTTP01, solve.Standalone)
	for _, name := range set.Solvers.Names() {
		if set.Solvers.Help(name) == "" {
			t.Errorf("%s has no help", name)
		}
		for _, o := range set.Solvers.Options(name) {
			if o.Help == "" {
				t.Errorf("option %s of %s has no help", o.Name, name)
			}
		}
	}
	if got := fmt.Sprint(set.Stores.Options("file")); !strings.Contains(got, "dir") || !strings.Contains(got, "public") {
		t.Errorf("options of the file store: %s", got)
	}
}
