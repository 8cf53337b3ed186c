package store_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/plugtest/storetest"
	"github.com/inkan-acme/inkan/store"
)

func open(t *testing.T, dir string) inkan.Store {
	t.Helper()
	s, err := store.File(plug.Env{}, store.FileConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t *testing.T, s inkan.Store, key, value string) inkan.Rev {
	t.Helper()
	rev, err := s.Put(t.Context(), key, []byte(value), "")
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

func keysOf(t *testing.T, s inkan.Store, prefix string) (keys []string) {
	t.Helper()
	for key, err := range s.List(t.Context(), prefix, "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	return keys
}

// tree lists what is in a directory: "drwx------ a/b".
func tree(t *testing.T, dir string) (lines []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		info, err := e.Info()
		rel, _ := filepath.Rel(dir, p)
		lines = append(lines, info.Mode().String()+" "+rel)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestFile(t *testing.T) {
	storetest.Run(t, func(t *testing.T) inkan.Store { return open(t, filepath.Join(t.TempDir(), "new", "store")) })
}

func TestFileRefusesKeyBelowKey(t *testing.T) {
	keyBelowKey(t, open(t, t.TempDir()+"/s"))
}

func TestFileReopened(t *testing.T) {
	dir := t.TempDir() + "/s"
	rev := put(t, open(t, dir), "a/b", "value")
	s := open(t, dir)
	data, again, err := s.Get(t.Context(), "a/b")
	if string(data) != "value" || again != rev || err != nil {
		t.Fatalf("Get = %q, %q, %v; want value, %q", data, again, err, rev)
	}
	if _, err := s.Put(t.Context(), "a/b", []byte("next"), rev); err != nil {
		t.Errorf("a revision of before: %v", err)
	}
}

func TestFileLayoutAndModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "store")
	s := open(t, dir)
	rev := put(t, s, "current/www.example.com", "1")
	put(t, s, "v/www.example.com/0000000001-a/ecdsa-p256/key", "k")
	if _, err := s.Put(t.Context(), "current/www.example.com", []byte("2"), rev); err != nil {
		t.Fatal(err)
	}
	put(t, s, "due/0/20260102/03/gone", "x")
	if err := s.Delete(t.Context(), "due/0/20260102/03/gone"); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if info, err := os.Stat(d); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v; want mode 0700", d, info.Mode(), err)
		}
	}
	want := []string{
		"drwx------ .lock",
		"drwx------ current",
		"-rw------- current/www.example.com",
		"drwx------ v",
		"drwx------ v/www.example.com",
		"drwx------ v/www.example.com/0000000001-a",
		"drwx------ v/www.example.com/0000000001-a/ecdsa-p256",
		"-rw------- v/www.example.com/0000000001-a/ecdsa-p256/key",
	}
	got := tree(t, dir)
	locks := 0
	got = deleteFunc(got, func(l string) bool {
		lock := strings.HasPrefix(l, "-rw------- .lock/")
		if lock {
			locks++
		}
		return lock
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if locks == 0 {
		t.Error("a replacement made no lock file")
	}
}

func deleteFunc(s []string, f func(string) bool) (out []string) {
	for _, e := range s {
		if !f(e) {
			out = append(out, e)
		}
	}
	return out
}

func TestFileHiddenKeys(t *testing.T) {
	s := open(t, t.TempDir()+"/s")
	for _, key := range []string{".lock", ".lock/0", ".tmp-x", "a/.tmp-x/b", "a/.lock"} {
		if _, err := s.Put(t.Context(), key, nil, ""); inkan.KindOf(err) != inkan.Bug {
			t.Errorf("Put(%q) = %v; want it refused", key, err)
		}
		if _, _, err := s.Get(t.Context(), key); inkan.KindOf(err) != inkan.Bug {
			t.Errorf("Get(%q) = %v; want it refused", key, err)
		}
	}
	put(t, s, ".locked/.tmp", "ordinary")
}

func TestFileSweepsTemporaries(t *testing.T) {
	dir := t.TempDir() + "/s"
	s := open(t, dir)
	put(t, s, "a/key", "x")
	plant := func(name string, age time.Duration) string {
		p := filepath.Join(dir, "a", name)
		if err := os.WriteFile(p, []byte("left over"), 0o600); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(-age)
		if err := os.Chtimes(p, at, at); err != nil {
			t.Fatal(err)
		}
		return p
	}
	exists := func(p string) bool { _, err := os.Lstat(p); return err == nil }
	const temp = ".tmp-inkan-abcdefghijklmnopqrstuvwxyz"
	fresh := plant(temp[:len(temp)-1]+"2", time.Minute)
	foreign := plant(".tmp-other", 48*time.Hour)

	for _, sweep := range []func(){
		func() { put(t, s, "a/other", "x") },
		func() { keysOf(t, s, "") },
	} {
		old := plant(temp, 2*time.Hour)
		sweep()
		if exists(old) {
			t.Error("a temporary file of two hours is still there")
		}
	}
	if !exists(fresh) || !exists(foreign) {
		t.Error("a file was removed that is not ours or may be in use")
	}
	if diff := cmp.Diff([]string{"a/key", "a/other"}, keysOf(t, s, "")); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

func TestD09UnsafeDirectories(t *testing.T) {
	base := t.TempDir()
	dir := base + "/it's here"
	refused := func(what, fix string) {
		t.Helper()
		_, err := store.File(plug.Env{}, store.FileConfig{Dir: dir})
		if inkan.KindOf(err) != inkan.Operator || !strings.Contains(strings.Join(inkan.HintsOf(err), "\n"), fix) {
			t.Errorf("%s: %v, hints %q; want an Operator error with %q", what, err, inkan.HintsOf(err), fix)
		}
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refused("a file", "")
	os.Remove(dir)
	for _, mode := range []fs.FileMode{0o720, 0o702, 0o777} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		refused(mode.String(), `chmod 700 '`+base+`/it'\''s here'`)
		os.Remove(dir)
	}
	if os.Geteuid() == 0 {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(dir, 12345, -1); err != nil {
			t.Fatal(err)
		}
		refused("another user's", "run this as user 12345")
		os.Remove(dir)
	} else {
		t.Log("not root: the check of another user's directory is skipped")
	}
	dir = ""
	refused("no directory", "")
}

func TestD09PlantedFiles(t *testing.T) {
	base := t.TempDir()
	outside := base + "/outside"
	if err := os.MkdirAll(outside+"/sub", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(outside+"/secret", []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := base + "/s"
	s := open(t, dir)
	rev := put(t, s, "v/key", "mine")
	links := map[string]string{
		"v/file":     outside + "/secret",
		"v/dangling": outside + "/new",
		"dir":        outside,
		"inside":     "v",
	}
	for name, target := range links {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	before := tree(t, outside)
	refused := func(what string, err error) {
		t.Helper()
		if inkan.KindOf(err) != inkan.Operator || len(inkan.HintsOf(err)) == 0 || strings.Contains(err.Error(), "secret content") {
			t.Errorf("%s: %v; want an Operator error with a hint", what, err)
		}
	}
	for _, key := range []string{"v/file", "v/dangling", "dir/secret", "dir/sub/x", "inside/key"} {
		data, _, err := s.Get(t.Context(), key)
		if data != nil {
			t.Errorf("Get(%q) followed a link: %q", key, data)
		}
		refused("get "+key, err)
		_, err = s.Put(t.Context(), key, []byte("x"), rev)
		refused("replace "+key, err)
	}
	for _, key := range []string{"dir/new", "dir/sub/new", "dir/deep/new", "inside/new"} {
		_, err := s.Put(t.Context(), key, []byte("x"), "")
		refused("create "+key, err)
		refused("delete "+key, s.Delete(t.Context(), key))
	}
	for _, key := range []string{"v/file", "v/dangling"} {
		if _, err := s.Put(t.Context(), key, []byte("x"), ""); !errors.Is(err, inkan.ErrConflict) {
			t.Errorf("create over the link %s: %v", key, err)
		}
	}
	for _, err := range s.List(t.Context(), "dir/", "") {
		refused("list", err)
	}
	if diff := cmp.Diff([]string{"dir", "inside", "v/dangling", "v/file", "v/key"}, keysOf(t, s, "")); diff != "" {
		t.Errorf("links are listed, as Get tells what is wrong (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, tree(t, outside)); diff != "" {
		t.Errorf("the directory outside changed:\n%s", diff)
	}

	// Files that others may read, and that others own.
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o602} {
		if err := os.Chmod(dir+"/v/key", mode); err != nil {
			t.Fatal(err)
		}
		_, _, err := s.Get(t.Context(), "v/key")
		refused(mode.String(), err)
	}
	if err := os.Chmod(dir+"/v/key", 0o600); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(dir+"/v/key", 12345, -1); err != nil {
			t.Fatal(err)
		}
		_, _, err := s.Get(t.Context(), "v/key")
		refused("another user's", err)
	}
}

func TestFilePublic(t *testing.T) {
	base := t.TempDir()
	webroot := base + "/real"
	if _, err := store.File(plug.Env{}, store.FileConfig{Dir: webroot, Public: true}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a webroot that is missing: %v", err)
	}
	if err := os.Mkdir(webroot, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(webroot, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(webroot+"/index.html", []byte("hello"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real", base+"/link"); err != nil {
		t.Fatal(err)
	}
	s, err := store.File(plug.Env{}, store.FileConfig{Dir: base + "/link", Public: true})
	if err != nil {
		t.Fatal(err)
	}
	const key = ".well-known/acme-challenge/token"
	rev := put(t, s, key, "token.thumb")
	if _, err := s.Put(t.Context(), key, nil, ""); !errors.Is(err, inkan.ErrConflict) {
		t.Errorf("creating it again: %v", err)
	}
	if _, err := s.Put(t.Context(), key, nil, rev); inkan.KindOf(err) != inkan.Operator {
		t.Errorf("replacing it: %v; want it refused", err)
	}
	if data, _, err := s.Get(t.Context(), "index.html"); err != nil || string(data) != "hello" {
		t.Errorf("a file of the web server: %q, %v", data, err)
	}
	storetest.CreateRace(t, []inkan.Store{s}, 10, 8)
	os.RemoveAll(webroot + "/race")
	want := []string{
		"drwxr-xr-x .well-known",
		"drwxr-xr-x .well-known/acme-challenge",
		"-rw-r--r-- .well-known/acme-challenge/token",
		"-rw-r--r-- index.html",
	}
	if diff := cmp.Diff(want, tree(t, webroot)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	for range 2 {
		if err := s.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{want[0], want[1], want[3]}, tree(t, webroot)); diff != "" {
		t.Errorf("after the clean-up (-want +got):\n%s", diff)
	}
}

func TestFileCheckSpace(t *testing.T) {
	dir := t.TempDir() + "/s"
	s := open(t, dir).(inkan.SpaceChecker)
	if err := s.CheckSpace(t.Context(), 64<<10); err != nil {
		t.Error(err)
	}
	if got := tree(t, dir); len(got) != 0 {
		t.Errorf("the check left %q", got)
	}
	if err := s.CheckSpace(t.Context(), 1<<62); inkan.KindOf(err) != inkan.Operator {
		t.Errorf("four exbibytes: %v; want an Operator error", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.CheckSpace(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestFileTwoStoresOneDirectory(t *testing.T) {
	dir := t.TempDir() + "/s"
	stores := []inkan.Store{open(t, dir), open(t, dir)}
	storetest.CreateRace(t, stores, 50, 8)
	storetest.SwapRace(t, stores, 50, 8)
}

// TestFileProcesses lets processes count in one key. Every process adds its
// share by compare-and-swap; no addition may be lost.
func TestFileProcesses(t *testing.T) {
	const processes, each = 4, 50
	dir := t.TempDir() + "/s"
	put(t, open(t, dir), "count/value", "0")
	var cmds []*exec.Cmd
	for range processes {
		cmd := exec.Command(os.Args[0], "-test.run=^TestHelperCount$", "-test.v")
		cmd.Env = append(os.Environ(), "STORE_TEST_DIR="+dir, fmt.Sprintf("STORE_TEST_COUNT=%d", each))
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		cmds = append(cmds, cmd)
	}
	for _, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			t.Errorf("a counting process: %v", err)
		}
	}
	s := open(t, dir)
	data, _, err := s.Get(t.Context(), "count/value")
	if want := fmt.Sprint(processes * each); err != nil || string(data) != want {
		t.Errorf("the count is %q, %v; want %s", data, err, want)
	}
	if got := len(keysOf(t, s, "claims/")); got != each {
		t.Errorf("%d keys were created; want %d", got, each)
	}
	wins := 0
	for _, key := range keysOf(t, s, "wins/") {
		data, _, err := s.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		wins += len(data)
	}
	if wins != each {
		t.Errorf("%d processes believe to have created %d keys", wins, each)
	}
}

// TestHelperCount is one process of TestFileProcesses.
func TestHelperCount(t *testing.T) {
	dir := os.Getenv("STORE_TEST_DIR")
	if dir == "" {
		t.Skip("runs only inside TestFileProcesses")
	}
	var each int
	fmt.Sscan(os.Getenv("STORE_TEST_COUNT"), &each)
	s := open(t, dir)
	wins := ""
	for i := range each {
		for {
			data, rev, err := s.Get(t.Context(), "count/value")
			if err != nil {
				t.Fatal(err)
			}
			var n int
			fmt.Sscan(string(data), &n)
			_, err = s.Put(t.Context(), "count/value", fmt.Append(nil, n+1), rev)
			if err == nil {
				break
			}
			if !errors.Is(err, inkan.ErrConflict) {
				t.Fatal(err)
			}
		}
		// Everybody claims the same keys, and uses directories that the
		// others remove.
		switch _, err := s.Put(t.Context(), fmt.Sprintf("claims/%d/x", i), nil, ""); {
		case err == nil:
			wins += "x"
		case !errors.Is(err, inkan.ErrConflict):
			t.Fatal(err)
		}
		shared := fmt.Sprintf("shared/%d/deep/%d", i/10, os.Getpid())
		put(t, s, shared, "x")
		if err := s.Delete(t.Context(), shared); err != nil {
			t.Fatal(err)
		}
	}
	put(t, s, fmt.Sprintf("wins/%d", os.Getpid()), wins)
}

// TestD09LeftBehind: what a killed writer left, which may be a private key, goes
// with the last value beside it.
func TestD09LeftBehind(t *testing.T) {
	dir := t.TempDir() + "/s"
	s, err := store.File(plug.Env{}, store.FileConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), "v/a/1/key", []byte("secret"), ""); err != nil {
		t.Fatal(err)
	}
	temp := filepath.Join(dir, "v/a/1/.tmp-inkan-abcdefghijklmnopqrstuvwxyz")
	if err := os.WriteFile(temp, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), "v/a/1/key"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "v")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something is left: %v", err)
	}
}
