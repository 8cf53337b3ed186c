package store_test

import (
	"bytes"
	"errors"
	"os"
	"syscall"
	"testing"

	"github.com/inkan-acme/inkan"
)

// small mounts a small file system for the test.
func small(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("SKIPPED: no small file system (%v); this case needs root", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err) // also: something keeps a file open
		}
	})
	return dir
}

// fillUp writes until the store says that it is full.
func fillUp(t *testing.T, s inkan.Store, size int) error {
	t.Helper()
	for i := range 10000 {
		key := "filler/" + string(rune('a'+i%26)) + "/" + string(bytes.Repeat([]byte{'x'}, 1+i/26))
		if _, err := s.Put(t.Context(), key, make([]byte, size), ""); err != nil {
			return err
		}
	}
	t.Fatal("the file system does not get full")
	return nil
}

func TestD01DiskFull(t *testing.T) {
	dir := small(t, "size=256k,nr_inodes=10000") + "/s"
	s := open(t, dir)
	rev := put(t, s, "current/a", "the old value")
	if err := s.(inkan.SpaceChecker).CheckSpace(t.Context(), 64<<10); err != nil {
		t.Errorf("with plenty of space: %v", err)
	}
	isFull := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, syscall.ENOSPC) || inkan.KindOf(err) != inkan.Operator || len(inkan.HintsOf(err)) == 0 {
			t.Errorf("%s: %v, hints %q; want an Operator error", what, err, inkan.HintsOf(err))
		}
	}
	isFull("filling it up", fillUp(t, s, 4096))
	before := tree(t, dir)
	_, err := s.Put(t.Context(), "current/a", bytes.Repeat([]byte("new"), 5000), rev)
	isFull("replacing a value", err)
	_, err = s.Put(t.Context(), "v/a/1/key", bytes.Repeat([]byte("new"), 5000), "")
	isFull("creating a value", err)
	if data, again, err := s.Get(t.Context(), "current/a"); string(data) != "the old value" || again != rev || err != nil {
		t.Errorf("the old value is now %q, %v", data, err)
	}
	if got := tree(t, dir); len(got) > len(before)+4 { // the directories and a lock
		t.Errorf("the failed writes left %q, before %q", got, before)
	}
	if err := s.(inkan.SpaceChecker).CheckSpace(t.Context(), 64<<10); inkan.KindOf(err) != inkan.Operator {
		t.Errorf("D03: CheckSpace on a full disk: %v", err)
	}
	// Some space again: the same Put goes through.
	for key := range s.List(t.Context(), "filler/", "") {
		if err := s.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Put(t.Context(), "current/a", bytes.Repeat([]byte("new"), 5000), rev); err != nil {
		t.Error(err)
	}
}

func TestD02InodesExhausted(t *testing.T) {
	s := open(t, small(t, "size=4m,nr_inodes=60")+"/s")
	rev := put(t, s, "current/a", "old")
	err := fillUp(t, s, 1)
	if !errors.Is(err, syscall.ENOSPC) || inkan.KindOf(err) != inkan.Operator {
		t.Errorf("filling it up: %v", err)
	}
	if _, err := s.Put(t.Context(), "current/a", []byte("new"), rev); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("replacing: %v", err)
	}
	if data, _, err := s.Get(t.Context(), "current/a"); string(data) != "old" {
		t.Errorf("the old value is now %q, %v", data, err)
	}
	if err := s.(inkan.SpaceChecker).CheckSpace(t.Context(), 1); inkan.KindOf(err) != inkan.Operator {
		t.Errorf("D03: CheckSpace without inodes: %v", err)
	}
}

func TestD06ReadOnly(t *testing.T) {
	mount := small(t, "size=1m")
	s := open(t, mount+"/s")
	rev := put(t, s, "current/a", "old")
	if err := syscall.Mount("none", mount, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	readOnly := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, syscall.EROFS) || inkan.KindOf(err) != inkan.Operator || len(inkan.HintsOf(err)) == 0 {
			t.Errorf("%s: %v; want an Operator error", what, err)
		}
	}
	_, err := s.Put(t.Context(), "current/a", []byte("new"), rev)
	readOnly("replace", err)
	_, err = s.Put(t.Context(), "new/key", nil, "")
	readOnly("create", err)
	readOnly("delete", s.Delete(t.Context(), "current/a"))
	readOnly("check", s.(inkan.SpaceChecker).CheckSpace(t.Context(), 1))
	if data, _, err := s.Get(t.Context(), "current/a"); string(data) != "old" || err != nil {
		t.Errorf("reading: %q, %v", data, err)
	}
}

// TestJ08NoDescriptorLeak: every operation closes what it opened, also when
// it fails.
func TestJ08NoDescriptorLeak(t *testing.T) {
	s := open(t, t.TempDir()+"/s")
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skipf("SKIPPED: %v", err)
		}
		return len(entries)
	}
	work := func() {
		rev := put(t, s, "a/b/c", "x")
		s.Put(t.Context(), "a/b/c", nil, "")
		s.Put(t.Context(), "a/b/c", nil, "wrong")
		s.Put(t.Context(), "a/b", nil, "")
		s.Put(t.Context(), "a/b/c/d", nil, "")
		s.Put(t.Context(), "a/b/c", []byte("y"), rev)
		s.Get(t.Context(), "a/b")
		s.Get(t.Context(), "none/x")
		keysOf(t, s, "")
		s.(inkan.SpaceChecker).CheckSpace(t.Context(), 1)
		s.Delete(t.Context(), "a/b")
		s.Delete(t.Context(), "a/b/c")
	}
	work()
	before := count()
	for range 20 {
		work()
	}
	if after := count(); after > before {
		t.Errorf("%d files are open, before %d", after, before)
	}
}
