package durable

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func openTree(t *testing.T, dir string, access Access) FS {
	t.Helper()
	f, err := OS(dir, access)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func openDir(t *testing.T, f FS, name string) Dir {
	t.Helper()
	d, err := f.OpenDir(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func names(t *testing.T, d Dir) (out []string) {
	t.Helper()
	entries, err := d.ReadDir(-1)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		out = append(out, e.Name)
	}
	slices.Sort(out)
	return out
}

func TestWriteAndCreate(t *testing.T) {
	f := openTree(t, t.TempDir()+"/a/b", Private)
	d := openDir(t, f, ".")
	if err := CreateFile(d, "x", []byte("1"), Attr{Perm: 0o600}); err != nil {
		t.Fatal(err)
	}
	if err := CreateFile(d, "x", []byte("2"), Attr{Perm: 0o600}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("creating it again: %v", err)
	}
	if err := WriteFile(d, "x", []byte("3"), Attr{Perm: 0o600}); err != nil {
		t.Fatal(err)
	}
	if data, err := f.ReadFile("x"); string(data) != "3" || err != nil {
		t.Errorf("it holds %q, %v", data, err)
	}
	if err := d.Mkdir("dir", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(d, "dir", nil, Attr{Perm: 0o600}); err == nil {
		t.Error("a directory was replaced by a file")
	}
	if got := names(t, d); !slices.Equal(got, []string{"dir", "x"}) {
		t.Errorf("left are %q", got)
	}
}

// TestModes: the umask neither adds nor takes anything.
func TestModes(t *testing.T) {
	for _, mask := range []int{0, 0o022, 0o077} {
		func() {
			defer unix.Umask(unix.Umask(mask))
			dir := t.TempDir()
			d := openDir(t, openTree(t, dir, Public), ".")
			for _, perm := range []fs.FileMode{0o600, 0o640, 0o644, 0o755} {
				name := fmt.Sprintf("f%o", perm)
				if err := WriteFile(d, name, nil, Attr{Perm: perm}); err != nil {
					t.Fatal(err)
				}
				if err := d.Mkdir("d"+name, perm|0o100); err != nil {
					t.Fatal(err)
				}
				if err := WriteFile(d, "own"+name, nil, Attr{Perm: perm, Owner: &Owner{os.Geteuid(), -1}}); err != nil {
					t.Fatal(err)
				}
				for n, want := range map[string]fs.FileMode{name: perm, "own" + name: perm, "d" + name: perm | 0o100} {
					if info, err := d.Lstat(n); err != nil || info.Mode.Perm() != want {
						t.Errorf("umask %03o: %s has mode %v, %v; want %v", mask, n, info.Mode, err, want)
					}
				}
			}
		}()
	}
}

// TestOpenBeneath checks the system call and its replacement alike.
func TestOpenBeneath(t *testing.T) {
	base := t.TempDir()
	root := base + "/root"
	for _, d := range []string{root + "/a/b", base + "/outside"} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{root + "/a/b/file", base + "/outside/secret"} {
		if err := os.WriteFile(f, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"a/out": "../../outside", "a/abs": base + "/outside", "a/in": "b", "a/file": "b/file", "a/self": "self", "a/none": "none/x"} {
		if err := os.Symlink(target, root+"/"+name); err != nil {
			t.Fatal(err)
		}
	}
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	tests := map[string]bool{
		"a": true, "a/b": true, "a/b/file": true,
		"a/out": false, "a/out/secret": false, "a/abs/secret": false, "a/in": false, "a/in/file": false, "a/file": false,
		"a/self": false, "a/none": false, "missing": false, "a/missing/x": false, "a/b/file/x": false,
	}
	for how, open := range map[string]func(int, string, int) (int, error){"openBeneath": openBeneath, "walkBeneath": walkBeneath} {
		for name, want := range tests {
			got, err := open(fd, name, unix.O_RDONLY|unix.O_CLOEXEC)
			if err == nil {
				unix.Close(got)
			}
			if (err == nil) != want {
				t.Errorf("%s(%q) = %v; want it to succeed: %v", how, name, err, want)
			}
		}
	}
	tree := openTree(t, root, Private)
	for _, name := range []string{"", "/etc/passwd", "..", "../outside/secret", "a/../../outside/secret", "a//b", "a/", "a/./b"} {
		if _, err := tree.ReadFile(name); !errors.Is(err, unix.EINVAL) {
			t.Errorf("ReadFile(%q) = %v; want it refused", name, err)
		}
	}
	for name, link := range map[string]string{"a/out/secret": "a/out", "a/in": "a/in", "a/self": "a/self"} {
		_, err := tree.ReadFile(name)
		e, ok := errors.AsType[*UnsafeError](err)
		if !ok || e.Path != filepath.Join(root, link) {
			t.Errorf("ReadFile(%q) = %v; want it to name the link %s", name, err, link)
		}
	}
	d := openDir(t, tree, "a")
	for _, name := range []string{"", ".", "..", "b/file", "/x"} {
		if _, err := d.Create(name, 0o600); err == nil {
			t.Errorf("Create(%q) succeeded", name)
		}
		if err := d.Rename("b", name); err == nil {
			t.Errorf("Rename to %q succeeded", name)
		}
	}
	if _, err := d.Create("none", 0o600); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Create over a dangling link: %v", err)
	}
	if _, err := d.TryLock("none"); err == nil {
		t.Error("TryLock followed a link")
	}
}

// TestRenameNew checks the system call and its replacement alike.
func TestRenameNew(t *testing.T) {
	for how, rename := range map[string]func(int, string, string) error{"renameNew": renameNew, "linkNew": linkNew} {
		dir := t.TempDir()
		fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		write := func(name string) {
			if err := os.WriteFile(dir+"/"+name, []byte(name), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write("old")
		if err := rename(fd, "old", "new"); err != nil {
			t.Errorf("%s: %v", how, err)
		}
		if data, err := os.ReadFile(dir + "/new"); string(data) != "old" {
			t.Errorf("%s: new holds %q, %v", how, data, err)
		}
		if _, err := os.Lstat(dir + "/old"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: old is still there: %v", how, err)
		}
		write("second")
		os.Mkdir(dir+"/dir", 0o700)
		os.Symlink("nowhere", dir+"/link")
		for _, taken := range []string{"new", "dir", "link"} {
			if err := rename(fd, "second", taken); !errors.Is(err, fs.ErrExist) {
				t.Errorf("%s over %s: %v; want fs.ErrExist", how, taken, err)
			}
		}
		if data, _ := os.ReadFile(dir + "/new"); string(data) != "old" {
			t.Errorf("%s replaced a file by %q", how, data)
		}
		if data, _ := os.ReadFile(dir + "/second"); string(data) != "second" {
			t.Errorf("%s lost the file that it could not move", how)
		}
	}
}

// TestRemovedDirectory: a handle of a directory that was removed refuses new
// entries, even if another directory has its name now.
func TestRemovedDirectory(t *testing.T) {
	f := openTree(t, t.TempDir()+"/s", Private)
	root := openDir(t, f, ".")
	if err := root.Mkdir("d", 0o700); err != nil {
		t.Fatal(err)
	}
	d := openDir(t, f, "d")
	if err := root.Rmdir("d"); err != nil {
		t.Fatal(err)
	}
	if err := root.Mkdir("d", 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Create("x", 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Create = %v", err)
	}
	if err := d.Mkdir("x", 0o700); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Mkdir = %v", err)
	}
	if err := d.Sync(); err != nil {
		t.Errorf("Sync = %v", err)
	}
	if err := root.Rmdir("missing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Rmdir of nothing = %v", err)
	}
	if err := root.Remove("d"); err == nil {
		t.Error("Remove removed a directory")
	}
}

// TestD14SwitchSymlink: who opens the directory by its name always finds one.
func TestD14SwitchSymlink(t *testing.T) {
	dir := t.TempDir()
	d := openDir(t, openTree(t, dir, Public), ".")
	for _, v := range []string{"v1", "v2"} {
		if err := d.Mkdir(v, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, v, "file"), []byte(v), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := SwitchSymlink(d, "live", "v1"); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if data, err := os.ReadFile(dir + "/live/file"); err != nil {
				t.Errorf("a reader found %q, %v", data, err)
				return
			}
		}
	})
	for i := range 100 {
		if err := SwitchSymlink(d, "live", fmt.Sprintf("v%d", 1+i%2)); err != nil {
			t.Error(err)
		}
	}
	close(done)
	wg.Wait()
	if target, err := os.Readlink(dir + "/live"); target != "v2" || err != nil {
		t.Errorf("at last it points at %q, %v", target, err)
	}
	for _, taken := range []string{"v1", "plain"} {
		if taken == "plain" {
			os.WriteFile(dir+"/plain", []byte("keep"), 0o600)
		}
		if err := SwitchSymlink(d, taken, "v2"); err == nil {
			t.Errorf("%s was replaced by a link", taken)
		}
	}
	if got := names(t, d); !slices.Equal(got, []string{"live", "plain", "v1", "v2"}) {
		t.Errorf("left are %q", got)
	}
}

func TestLock(t *testing.T) {
	f := openTree(t, t.TempDir()+"/s", Private)
	d := openDir(t, f, ".")
	first, err := Lock(t.Context(), d, "lock")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.TryLock("lock"); !errors.Is(err, ErrLocked) {
		t.Errorf("TryLock of a lock that is held = %v", err)
	}
	other, err := d.TryLock("other")
	if err != nil {
		t.Errorf("another lock: %v", err)
	} else {
		other.Close()
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	got := make(chan error)
	go func() {
		_, err := Lock(ctx, d, "lock")
		got <- err
	}()
	cancel(nil)
	if err := <-got; !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled wait = %v", err)
	}
	go func() {
		l, err := Lock(t.Context(), d, "lock")
		if err == nil {
			l.Close()
		}
		got <- err
	}()
	first.Close()
	if err := <-got; err != nil {
		t.Errorf("after the lock was released: %v", err)
	}
}

func TestTempNames(t *testing.T) {
	name := TempName()
	if !IsTemp(name) || name == TempName() {
		t.Errorf("temporary name %q", name)
	}
	for _, no := range []string{"", ".tmp-", tempPrefix, name + "x", "x" + name, ".tmp-other-abcdefghijklmnopqrstuvwxyz"} {
		if IsTemp(no) {
			t.Errorf("IsTemp(%q)", no)
		}
	}
}

func TestExplain(t *testing.T) {
	for _, test := range []struct {
		err    error
		hint   string
		person bool
	}{
		{unix.ENOSPC, "full", true},
		{unix.EDQUOT, "quota", true},
		{unix.EROFS, "read-only", true},
		{unix.EACCES, "right to write", true},
		{unix.EIO, "dmesg", true},
		{unix.EMFILE, "ulimit", false},
		{unix.ENOENT, "", false},
		{&UnsafeError{"/x", "it is odd", "chmod 700 /x"}, "chmod 700 /x", true},
		{context.Canceled, "", false},
	} {
		err := fmt.Errorf("put: %w", &fs.PathError{Op: "write", Path: "/data/x", Err: test.err})
		hint, person := Explain(err)
		if person != test.person || !strings.Contains(hint, test.hint) || (hint == "") != (test.hint == "") {
			t.Errorf("Explain(%v) = %q, %v", test.err, hint, person)
		}
	}
	for path, want := range map[string]string{"/var/lib/x": "/var/lib/x", "/a b": "'/a b'", "/it's": `'/it'\''s'`, "$(id)": "'$(id)'", "": "''"} {
		if got := quote(path); got != want {
			t.Errorf("quote(%q) = %s; want %s", path, got, want)
		}
	}
}

func TestMkdirAll(t *testing.T) {
	base := t.TempDir()
	if err := os.Symlink(base, base+"/link"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := MkdirAll(base+"/link/a/b/c", 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(base + "/a/b/c"); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	if err := os.WriteFile(base+"/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{base + "/file", base + "/file/x"} {
		if err := MkdirAll(bad, 0o700); !errors.Is(err, unix.ENOTDIR) {
			t.Errorf("MkdirAll(%s) = %v", bad, err)
		}
	}
}
