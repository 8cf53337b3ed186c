// Package store holds the places where Inkan can keep its bytes: each file is
// one implementation of inkan.Store.
package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/durable"
	"github.com/inkan-acme/inkan/plug"
)

// FileConfig holds the options of [File].
type FileConfig struct {
	_      struct{} `help:"keeps everything in files below one directory"`
	Dir    string   `json:"dir" help:"the directory to keep the files in" required:"true"`
	Public bool     `json:"public" help:"everybody may read the files, as in a webroot: the directory must exist, it may be a symbolic link, and no lock file is put into it"`
}

// File returns a Store that keeps each key in a file below cfg.Dir.
//
// Directories are made with mode 0700 and files with 0600, temporary ones too.
// The directory is made if it is missing; if it belongs to another user, or if
// others may write to it, the error is of kind Operator, as is that of a
// symbolic link or a file readable by others that is met in it later. Any
// number of Stores and processes of one machine may share the directory.
//
// With cfg.Public the modes are 0755 and 0644, the directory must exist and
// may be a symbolic link, and replacing a value is refused, because that needs
// a lock file: keys are created and deleted.
//
// A key element must not begin with ".tmp-" and must not be ".lock". The Store
// implements inkan.SpaceChecker. It keeps no file open between calls.
func File(env plug.Env, cfg FileConfig) (inkan.Store, error) {
	op := "file store " + cfg.Dir
	if cfg.Dir == "" {
		return nil, inkan.Errorf(inkan.Operator, "file store", "no directory given")
	}
	access := durable.Private
	if cfg.Public {
		access = durable.Public
	}
	tree, err := durable.OS(cfg.Dir, access)
	if err != nil {
		return nil, wrap(op, err)
	}
	return newFile(tree, op, access, env.Time), nil
}

const (
	lockDir    = ".lock" // holds the lock files, at the top
	tempPrefix = ".tmp-" // begins the names of temporary files
	shards     = 64      // keys share this many locks

	// maxLost bounds how often a Put may find that a Delete took away the
	// directory that it was about to use.
	maxLost = 100
	// staleAfter is the age at which the temporary file of a dead writer is
	// removed. A living one keeps it for milliseconds.
	staleAfter = time.Hour
	// peek is how many entries of a directory are looked at before writing.
	peek = 16
)

// file is the Store over a file tree.
//
// Creating a key needs no lock, because the file system publishes a name only
// if it is free. Replacing one compares and renames under the lock of the
// key's shard; so does Delete, lest a replacement brings the key back. Writing
// and flushing happen outside the lock.
//
// A power failure that loses a directory loses all entries in it. So this
// invariant holds: a directory that has an entry, temporary ones aside, is
// durable in its parent. Whoever adds the first entry flushes the parent first
// (see dir).
type file struct {
	fs      durable.FS
	op      string // begins messages: "file store /var/lib/inkan/store"
	private bool
	now     func() time.Time
	local   [shards]chan struct{} // one place each: the lock among goroutines
	doubts  doubts
}

func newFile(tree durable.FS, op string, access durable.Access, now func() time.Time) *file {
	s := &file{fs: tree, op: op, private: access == durable.Private, now: now}
	for i := range s.local {
		s.local[i] = make(chan struct{}, 1)
	}
	return s
}

func (s *file) fileAttr() durable.Attr {
	if s.private {
		return durable.Attr{Perm: 0o600}
	}
	return durable.Attr{Perm: 0o644}
}

func (s *file) dirPerm() fs.FileMode {
	if s.private {
		return 0o700
	}
	return 0o755
}

// Get implements inkan.Store: one file opened, read and closed.
func (s *file) Get(ctx context.Context, key string) ([]byte, inkan.Rev, error) {
	if err := s.begin(ctx, key); err != nil {
		return nil, "", err
	}
	if err := s.settle(path.Dir(key)); err != nil {
		return nil, "", s.fail("get", key, fmt.Errorf("its directory cannot be flushed: %w", err))
	}
	data, err := s.fs.ReadFile(key)
	if err != nil {
		return nil, "", s.fail("get", key, absent(err))
	}
	return data, revOf(data), nil
}

// Put implements inkan.Store.
func (s *file) Put(ctx context.Context, key string, data []byte, old inkan.Rev) (inkan.Rev, error) {
	put := s.create
	if old != "" {
		put = s.replace
		if !s.private {
			return "", inkan.Errorf(inkan.Operator, s.op, "put %s: a public file store creates and deletes keys, it does not replace values", key).
				WithHint("use it for challenges only; the store for everything else is not public")
		}
	}
	for range maxLost {
		if err := s.begin(ctx, key); err != nil {
			return "", err
		}
		switch err := put(ctx, key, data, old); {
		case err == nil:
			return revOf(data), nil
		case errors.Is(err, inkan.ErrConflict):
			return "", fmt.Errorf("%s: put %s: %w", s.op, key, inkan.ErrConflict)
		case !errors.Is(err, fs.ErrNotExist):
			s.doubts.add(path.Dir(key))
			return "", s.fail("put", key, err)
		}
		// A Delete removed the directory just now: once more.
	}
	return "", inkan.Errorf(inkan.Temporary, s.op, "put %s: its directory was removed %d times meanwhile", key, maxLost)
}

func (s *file) create(_ context.Context, key string, data []byte, _ inkan.Rev) error {
	dir, name := path.Split(key)
	d, err := s.dir(path.Clean(dir))
	if err != nil {
		return err
	}
	defer d.Close()
	switch err := durable.CreateFile(d, name, data, s.fileAttr()); {
	case errors.Is(err, fs.ErrExist):
		if info, e := d.Lstat(name); e == nil && info.Mode.IsDir() {
			return inkan.Errorf(inkan.Bug, "", "there are keys below this one, so it cannot be a key itself")
		}
		// Its creator may have died before flushing it, and whoever gets
		// ErrConflict relies on the value that is there.
		if err := d.Sync(); err != nil {
			return err
		}
		return inkan.ErrConflict
	default:
		return err
	}
}

func (s *file) replace(ctx context.Context, key string, data []byte, old inkan.Rev) error {
	// The first look is without the lock: most losers lost long ago, and need
	// not write anything.
	if err := s.compare(key, old); err != nil {
		return err
	}
	dir, name := path.Split(key)
	d, err := s.fs.OpenDir(path.Clean(dir))
	if err != nil {
		return err
	}
	defer d.Close()
	temp, err := durable.Stage(d, data, s.fileAttr())
	if err != nil {
		return err
	}
	unlock, err := s.lock(ctx, key)
	if err == nil {
		if err = s.compare(key, old); err == nil {
			err = d.Rename(temp, name)
		}
		unlock()
	}
	if err != nil {
		d.Remove(temp)
		return err
	}
	return d.Sync()
}

// compare reports inkan.ErrConflict if key does not hold the revision old.
func (s *file) compare(key string, old inkan.Rev) error {
	data, err := s.fs.ReadFile(key)
	if err = absent(err); errors.Is(err, fs.ErrNotExist) || err == nil && revOf(data) != old {
		return inkan.ErrConflict
	}
	return err
}

// Delete implements inkan.Store. The absence, too, survives a power loss.
func (s *file) Delete(ctx context.Context, key string) error {
	if err := s.begin(ctx, key); err != nil {
		return err
	}
	if err := s.remove(ctx, key); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.doubts.add(path.Dir(key))
		return s.fail("delete", key, err)
	}
	if s.private {
		s.prune(path.Dir(key))
	}
	return nil
}

func (s *file) remove(ctx context.Context, key string) error {
	dir, name := path.Split(key)
	d, err := s.fs.OpenDir(path.Clean(dir))
	if err != nil {
		return absent(err)
	}
	defer d.Close()
	info, err := d.Lstat(name)
	if err == nil && info.Mode.IsDir() {
		return nil // a directory is no key, so the key is absent
	}
	if err == nil {
		var unlock func()
		if unlock, err = s.lock(ctx, key); err != nil {
			return err
		}
		err = d.Remove(name)
		unlock()
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// Also when it is absent: who removed it may have died before flushing.
	return d.Sync()
}

// lock takes the lock of key's shard, first among the goroutines of this
// Store, then among all who share the directory.
func (s *file) lock(ctx context.Context, key string) (unlock func(), err error) {
	h := fnv.New32a()
	io.WriteString(h, key)
	n := int(h.Sum32() % shards)
	select {
	case s.local[n] <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	release := func() { <-s.local[n] }
	if !s.private {
		return release, nil
	}
	l, err := s.lockFile(ctx, n)
	if err != nil {
		release()
		return nil, err
	}
	return func() { l.Close(); release() }, nil
}

func (s *file) lockFile(ctx context.Context, n int) (io.Closer, error) {
	d, err := s.fs.OpenDir(lockDir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := s.makeLockDir(); err != nil {
			return nil, err
		}
		d, err = s.fs.OpenDir(lockDir)
	}
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return durable.Lock(ctx, d, strconv.Itoa(n))
}

func (s *file) makeLockDir() error {
	root, err := s.fs.OpenDir(".")
	if err != nil {
		return err
	}
	defer root.Close()
	// Not flushed: after a power loss nobody holds a lock.
	if err := root.Mkdir(lockDir, s.dirPerm()); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// CheckSpace implements inkan.SpaceChecker. It asks for the free space, and
// writes a file to learn of quotas, rights and all that asking does not tell.
func (s *file) CheckSpace(ctx context.Context, n int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	const (
		minInodes = 64      // an order makes about twenty files and directories
		maxProbe  = 1 << 20 // enough for one order
	)
	if sp, ok := s.fs.(durable.Spacer); ok {
		bytes, inodes, err := sp.Space()
		switch {
		case err != nil:
			return wrap(s.op, err)
		case bytes >= 0 && bytes < n:
			return inkan.Errorf(inkan.Operator, s.op, "%d bytes are free, %d are needed", bytes, n).WithHint("free some space on its file system (df)")
		case inodes >= 0 && inodes < minInodes:
			return inkan.Errorf(inkan.Operator, s.op, "%d inodes are free, %d are needed", inodes, minInodes).WithHint("remove some files from its file system (df -i)")
		}
	}
	if err := s.probe(min(n, maxProbe)); err != nil {
		e := inkan.Errorf(inkan.Operator, s.op, "writing %d bytes as a trial: %w", min(n, maxProbe), err)
		e.Hint, _ = durable.Explain(err)
		return e
	}
	return nil
}

// probe writes a temporary file and removes it again. It is not flushed: the
// file system promises the space when it takes the bytes.
func (s *file) probe(n int64) error {
	d, err := s.fs.OpenDir(".")
	if err != nil {
		return err
	}
	defer d.Close()
	temp := durable.TempName()
	f, err := d.Create(temp, s.fileAttr().Perm)
	if err != nil {
		return err
	}
	defer d.Remove(temp)
	_, err = f.Write(make([]byte, max(n, 0)))
	return errors.Join(err, f.Close())
}

// begin is what every operation on a key begins with.
func (s *file) begin(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := inkan.CheckKey(key); err != nil {
		return inkan.Errorf(inkan.Bug, s.op, "%w", err)
	}
	for element := range strings.SplitSeq(key, "/") {
		if hidden(element) {
			return inkan.Errorf(inkan.Bug, s.op, "key %q: the element %q is kept for lock and temporary files", key, element)
		}
	}
	return nil
}

func hidden(element string) bool {
	return element == lockDir || strings.HasPrefix(element, tempPrefix)
}

func (s *file) fail(verb, key string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %s %s: %w", s.op, verb, key, fs.ErrNotExist)
	}
	return wrap(s.op, fmt.Errorf("%s %s: %w", verb, key, err))
}

// wrap turns a file error into an *inkan.Error: Operator if a person has to
// act, else Temporary. What has its kind already, and a cancelled context,
// stay what they are.
func wrap(op string, err error) error {
	_, known := errors.AsType[*inkan.Error](err)
	if known || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: %w", op, err)
	}
	hint, person := durable.Explain(err)
	kind := inkan.Temporary
	if person {
		kind = inkan.Operator
	}
	e := inkan.Errorf(kind, op, "%w", err)
	e.Hint = hint
	return e
}

// absent turns what the system says of a key that is a directory, or that has
// a file for a directory, into fs.ErrNotExist: there is no such key.
func absent(err error) error {
	if durable.NoFile(err) {
		return fs.ErrNotExist
	}
	return err
}

// revOf returns the revision of a value: a hash of it.
func revOf(data []byte) inkan.Rev {
	sum := sha256.Sum256(data)
	return inkan.Rev(hex.EncodeToString(sum[:16]))
}
