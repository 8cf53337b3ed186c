// Package crashfs is an in-memory twin of the file system behind
// [durable.FS]. It keeps what POSIX promises about a power loss and no more:
//
//   - A file whose content was not flushed holds, afterwards, the content of
//     the last flush, the new one, a prefix of it, or zeros in its place.
//   - An entry of a directory that was not flushed leads, afterwards, to
//     anything that it led to since the last flush, each entry for itself. A
//     rename is atomic: the name that it replaces is never missing. What lies
//     below a directory whose entry is lost is lost with it.
//
// Nothing orders two files, two directories or two entries. File systems that
// keep a journal promise more; code that survives here survives there.
//
// [Disk] records every change; [Snapshot.States] enumerates what a power loss
// after it may leave, and each state is a Disk again.
package crashfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/inkan-acme/inkan/internal/durable"
)

// ErrKilled is what a process that was killed gets from every call.
var ErrKilled = errors.New("the process was killed")

// Fault is the answer of [Disk.Before] to an operation; the zero value lets it
// pass.
type Fault struct {
	Err  error // what it reports
	Done bool  // it reports Err and is carried out all the same
	Lost bool  // it reports success and is not carried out, as if the caller had left it out
}

// Disk is a file tree that loses power. Processes work on it at once. Fill in
// the exported fields before and do not change them while processes work.
type Disk struct {
	// Before, if not nil, is asked before every change, for instance
	// "rename a/b to a/c", and may let it fail. It holds no lock: it may run
	// another process, which is how the steps of two are interleaved.
	Before func(op string) Fault
	// After, if not nil, is told every change that was carried out, in order,
	// under the lock of the Disk: it must not call it.
	After func(op string, s *Snapshot)
	// Now is the clock of modification times; nil means the zero time.
	Now func() time.Time

	mu   sync.Mutex
	root *node
}

// New returns an empty Disk.
func New() *Disk { return &Disk{root: newDir(0o700)} }

// Do carries out a change outside the file system as one of the recorded
// operations, so that all changes have one order.
func (d *Disk) Do(op string, change func() error) error {
	return d.change(nil, op, change)
}

// change passes one operation through the hooks.
func (d *Disk) change(p *Process, op string, do func() error) error {
	var f Fault
	if d.Before != nil && !p.killed() {
		f = d.Before(op)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if p != nil && p.dead {
		return ErrKilled
	}
	if f.Lost || f.Err != nil && !f.Done {
		return f.Err
	}
	if err := do(); err != nil {
		return err
	}
	if d.After != nil {
		d.After(op, d.snapshot())
	}
	return f.Err
}

func (d *Disk) now() time.Time {
	if d.Now == nil {
		return time.Time{}
	}
	return d.Now()
}

// node is a file, a directory or a symbolic link. Contents are never changed
// in place, so that copies of a node may share them.
type node struct {
	mode    fs.FileMode // type and permissions
	modTime time.Time

	data     []byte   // of a file; the target of a link
	pending  [][]byte // what a power loss may leave besides data, the flushed content first
	poisoned bool     // a flush failed: later ones report success and do nothing

	entries map[string]*node
	past    map[string][]*node // what entries led to since the last flush; nil: to nothing
	removed bool

	holder *Process // of the lock on a file; a dead one holds nothing
}

func newDir(perm fs.FileMode) *node {
	return &node{mode: fs.ModeDir | perm.Perm(), entries: map[string]*node{}, past: map[string][]*node{}}
}

// set lets an entry of the directory lead to n, or to nothing.
func (dir *node) set(name string, n *node) {
	dir.past[name] = append(dir.past[name], dir.entries[name])
	if n == nil {
		delete(dir.entries, name)
	} else {
		dir.entries[name] = n
	}
}

// Process is who works on a Disk.
type Process struct {
	d    *Disk
	dead bool
}

// Start returns a new process.
func (d *Disk) Start() *Process { return &Process{d: d} }

// Kill ends the process: its locks are free, and all that it still does fails.
// Nothing that it did is undone.
func (p *Process) Kill() {
	p.d.mu.Lock()
	defer p.d.mu.Unlock()
	p.dead = true
}

// Do is [Disk.Do] for something that the process does, a request to a server
// say: a dead process does nothing.
func (p *Process) Do(op string, change func() error) error {
	return p.d.change(p, op, change)
}

func (p *Process) killed() bool {
	if p == nil {
		return false
	}
	p.d.mu.Lock()
	defer p.d.mu.Unlock()
	return p.dead
}

// FS returns the tree below the directory name, "." for all, as the process
// sees it. The directory is made durable if it is missing.
func (p *Process) FS(name string) durable.FS {
	p.d.mu.Lock()
	defer p.d.mu.Unlock()
	dir := p.d.root
	for element := range strings.SplitSeq(path.Clean(name), "/") {
		if element == "." {
			continue
		}
		if dir.entries[element] == nil {
			dir.entries[element] = newDir(0o700)
		}
		dir = dir.entries[element]
	}
	return &tree{p: p, root: dir, name: name}
}

// tree implements durable.FS.
type tree struct {
	p    *Process
	root *node
	name string
}

func fail(op, name string, err error) error { return &fs.PathError{Op: op, Path: name, Err: err} }

// find follows name below dir. The Disk is locked.
func (dir *node) find(name string) (*node, error) {
	if !fs.ValidPath(name) {
		return nil, syscall.EINVAL
	}
	if name == "." {
		return dir, nil
	}
	n := dir
	for element := range strings.SplitSeq(name, "/") {
		if !n.mode.IsDir() {
			return nil, syscall.ENOTDIR
		}
		if n = n.entries[element]; n == nil {
			return nil, syscall.ENOENT
		}
		if n.mode.Type() == fs.ModeSymlink {
			return nil, syscall.ELOOP
		}
	}
	return n, nil
}

func (t *tree) OpenDir(name string) (durable.Dir, error) { return t.openDir(t.root, name, t.name) }

func (t *tree) openDir(from *node, name, below string) (durable.Dir, error) {
	full := path.Join(below, name)
	t.p.d.mu.Lock()
	defer t.p.d.mu.Unlock()
	if t.p.dead {
		return nil, ErrKilled
	}
	n, err := from.find(name)
	if err == nil && !n.mode.IsDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return nil, fail("open", full, err)
	}
	return &dir{t: t, n: n, name: full}, nil
}

func (t *tree) ReadFile(name string) ([]byte, error) {
	full := path.Join(t.name, name)
	t.p.d.mu.Lock()
	defer t.p.d.mu.Unlock()
	if t.p.dead {
		return nil, ErrKilled
	}
	n, err := t.root.find(name)
	switch {
	case err != nil:
		return nil, fail("open", full, err)
	case n.mode.IsDir():
		return nil, fail("read", full, syscall.EISDIR)
	}
	return bytes.Clone(n.data), nil
}

// dir implements durable.Dir.
type dir struct {
	t    *tree
	n    *node
	name string // for messages
}

// do runs one change of the entry name.
func (d *dir) do(op, name string, f func() error) error {
	full := path.Join(d.name, name)
	if !isElement(name) {
		return fail(op, full, syscall.EINVAL)
	}
	return d.t.p.d.change(d.t.p, op+" "+full, func() error {
		if err := f(); err != nil {
			return fail(op, full, err)
		}
		return nil
	})
}

// add makes a new entry.
func (d *dir) add(name string, n *node) error {
	switch {
	case d.n.removed:
		return syscall.ENOENT
	case d.n.entries[name] != nil:
		return syscall.EEXIST
	}
	n.modTime = d.t.p.d.now()
	d.n.set(name, n)
	return nil
}

func (d *dir) Create(name string, perm fs.FileMode) (durable.File, error) {
	n := &node{mode: perm.Perm()}
	if err := d.do("create", name, func() error { return d.add(name, n) }); err != nil {
		return nil, err
	}
	return &file{d: d, n: n, name: name}, nil
}

func (d *dir) Mkdir(name string, perm fs.FileMode) error {
	return d.do("mkdir", name, func() error { return d.add(name, newDir(perm)) })
}

func (d *dir) Symlink(target, name string) error {
	return d.do("symlink", name, func() error {
		return d.add(name, &node{mode: fs.ModeSymlink | 0o777, data: []byte(target)})
	})
}

func (d *dir) OpenDir(name string) (durable.Dir, error) { return d.t.openDir(d.n, name, d.name) }

func (d *dir) Lstat(name string) (durable.Info, error) {
	if !isElement(name) {
		return durable.Info{}, fail("stat", path.Join(d.name, name), syscall.EINVAL)
	}
	d.t.p.d.mu.Lock()
	defer d.t.p.d.mu.Unlock()
	if d.t.p.dead {
		return durable.Info{}, ErrKilled
	}
	n := d.n.entries[name]
	if n == nil {
		return durable.Info{}, fail("stat", path.Join(d.name, name), syscall.ENOENT)
	}
	return durable.Info{Mode: n.mode, ModTime: n.modTime, UID: os.Geteuid()}, nil
}

func (d *dir) ReadDir(n int) ([]durable.Entry, error) {
	d.t.p.d.mu.Lock()
	defer d.t.p.d.mu.Unlock()
	if d.t.p.dead {
		return nil, ErrKilled
	}
	names := slices.Sorted(maps.Keys(d.n.entries))
	if n > 0 {
		names = names[:min(n, len(names))]
	}
	entries := make([]durable.Entry, len(names))
	for i, name := range names {
		entries[i] = durable.Entry{Name: name, Type: d.n.entries[name].mode.Type()}
	}
	return entries, nil
}

func (d *dir) Rename(old, new string) error {
	return d.move("rename", old, new, func(from, to *node) error {
		switch {
		case to == nil, to == from:
		case to.mode.IsDir() && !from.mode.IsDir():
			return syscall.EISDIR
		case !to.mode.IsDir() && from.mode.IsDir():
			return syscall.ENOTDIR
		case to.mode.IsDir() && len(to.entries) > 0:
			return syscall.ENOTEMPTY
		}
		return nil
	})
}

func (d *dir) Publish(old, new string) error {
	return d.move("publish", old, new, func(_, to *node) error {
		if to != nil {
			return syscall.EEXIST
		}
		return nil
	})
}

func (d *dir) move(op, old, new string, allowed func(from, to *node) error) error {
	full := path.Join(d.name, old)
	if !isElement(old) || !isElement(new) {
		return fail(op, full+" to "+new, syscall.EINVAL)
	}
	return d.t.p.d.change(d.t.p, op+" "+full+" to "+new, func() error {
		from, to := d.n.entries[old], d.n.entries[new]
		err := error(syscall.ENOENT)
		if from != nil {
			err = allowed(from, to)
		}
		if err != nil {
			return fail(op, full+" to "+new, err)
		}
		if from == to {
			return nil
		}
		if to != nil && to.mode.IsDir() {
			to.removed = true
		}
		d.n.set(new, from)
		d.n.set(old, nil)
		return nil
	})
}

func (d *dir) Remove(name string) error {
	return d.do("remove", name, func() error {
		switch n := d.n.entries[name]; {
		case n == nil:
			return syscall.ENOENT
		case n.mode.IsDir():
			return syscall.EISDIR
		}
		d.n.set(name, nil)
		return nil
	})
}

func (d *dir) Rmdir(name string) error {
	return d.do("rmdir", name, func() error {
		n := d.n.entries[name]
		switch {
		case n == nil:
			return syscall.ENOENT
		case !n.mode.IsDir():
			return syscall.ENOTDIR
		case len(n.entries) > 0:
			return syscall.ENOTEMPTY
		}
		n.removed = true
		d.n.set(name, nil)
		return nil
	})
}

func (d *dir) Sync() error {
	return d.t.p.d.change(d.t.p, "syncdir "+d.name, func() error {
		clear(d.n.past)
		return nil
	})
}

func (d *dir) Close() error { return nil }

// TryLock makes the lock file durable at once: it holds nothing, and whether
// it was lost would only multiply the states.
func (d *dir) TryLock(name string) (io.Closer, error) {
	p, full := d.t.p, path.Join(d.name, name)
	if !isElement(name) {
		return nil, fail("lock", full, syscall.EINVAL)
	}
	p.d.mu.Lock()
	defer p.d.mu.Unlock()
	n := d.n.entries[name]
	switch {
	case p.dead:
		return nil, ErrKilled
	case n == nil && d.n.removed:
		return nil, fail("lock", full, syscall.ENOENT)
	case n == nil:
		n = &node{mode: 0o600, modTime: p.d.now()}
		d.n.entries[name] = n
	case n.mode.IsDir():
		return nil, fail("lock", full, syscall.EISDIR)
	case n.mode.Type() == fs.ModeSymlink:
		return nil, fail("lock", full, syscall.ELOOP)
	case n.holder != nil && !n.holder.dead:
		return nil, fail("lock", full, durable.ErrLocked)
	}
	n.holder = p
	return &lock{p, n}, nil
}

type lock struct {
	p *Process
	n *node
}

func (l *lock) Close() error {
	l.p.d.mu.Lock()
	defer l.p.d.mu.Unlock()
	if l.n.holder == l.p {
		l.n.holder = nil
	}
	return nil
}

func isElement(name string) bool { return fs.ValidPath(name) && path.Base(name) == name && name != "." }

// file implements durable.File.
type file struct {
	d    *dir
	n    *node
	name string
}

func (f *file) do(op string, change func() error) error { return f.d.do(op, f.name, change) }

func (f *file) Write(b []byte) (int, error) {
	err := f.do("write", func() error {
		f.n.pending = append(f.n.pending, f.n.data)
		f.n.data = slices.Concat(f.n.data, b)
		return nil
	})
	if err != nil {
		return 0, err
	}
	return len(b), nil
}

// Chmod is durable at once: the permissions decide nothing here.
func (f *file) Chmod(perm fs.FileMode) error {
	return f.do("chmod", func() error {
		f.n.mode = perm.Perm()
		return nil
	})
}

func (f *file) Chown(int, int) error { return f.do("chown", func() error { return nil }) }

func (f *file) Sync() error {
	err := f.do("sync", func() error {
		if !f.n.poisoned {
			f.n.pending = nil
		}
		return nil
	})
	if err != nil {
		// The kernel marks the pages clean although they were not written.
		f.d.t.p.d.mu.Lock()
		f.n.poisoned = true
		f.d.t.p.d.mu.Unlock()
	}
	return err
}

func (f *file) Close() error { return nil }
