// Package durable writes files that survive a power loss. A value is written
// to a temporary file beside its destination, flushed, moved into place by one
// rename or link, and then the directory is flushed; so every name holds an old
// value or a new one at every instant, and the new one for ever once the call
// has returned.
//
// All of it stands on [FS], the handful of operations that it needs, so that
// the same code runs over a simulated file system that loses power.
package durable

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// FS is a file tree below one root. A path is slash-separated, relative to the
// root and without "." and ".." (fs.ValidPath); "." is the root. No symbolic
// link below the root is ever followed.
//
// Concurrency: all methods of FS and Dir may be called concurrently, by any number
// of processes. Errors: they name the step and the file, and wrap the system's
// error, so that errors.Is(err, fs.ErrNotExist) works.
type FS interface {
	// OpenDir opens a directory. The handle stays with this directory even if
	// its name is removed; then every later Create and Mkdir in it fails with
	// fs.ErrNotExist.
	OpenDir(name string) (Dir, error)
	// ReadFile returns the content of a regular file.
	ReadFile(name string) ([]byte, error)
}

// Dir is an open directory. The names are those of its entries, one element.
type Dir interface {
	// Create makes a new, empty file with exactly these permissions; it fails
	// with fs.ErrExist if there is an entry of that name, of whatever kind.
	Create(name string, perm fs.FileMode) (File, error)
	// Mkdir makes a directory with exactly these permissions.
	Mkdir(name string, perm fs.FileMode) error
	// OpenDir opens a directory in this one.
	OpenDir(name string) (Dir, error)
	// Lstat describes an entry without following it.
	Lstat(name string) (Info, error)
	// ReadDir returns the first n entries, all if n <= 0, in no order.
	ReadDir(n int) ([]Entry, error)
	// Rename moves an entry over another in this directory, in one step.
	Rename(old, new string) error
	// Publish moves an entry to a name that is free, in one step; it fails
	// with fs.ErrExist, and changes nothing, if the name is taken.
	Publish(old, new string) error
	// Symlink makes a symbolic link.
	Symlink(target, name string) error
	// Remove removes an entry that is no directory.
	Remove(name string) error
	// Rmdir removes an empty directory.
	Rmdir(name string) error
	// Sync makes the entries of this directory durable: what was made, renamed
	// and removed in it before the call.
	Sync() error
	// TryLock takes the exclusive lock on the file name, which it makes if
	// there is none, or fails with ErrLocked. The lock ends when it is closed
	// or when the process ends.
	TryLock(name string) (io.Closer, error)
	Close() error
}

// File is a file that is being written.
type File interface {
	io.Writer
	Chmod(perm fs.FileMode) error
	Chown(uid, gid int) error
	// Sync makes the content durable. After an error nothing is known about
	// it; the file must be thrown away.
	Sync() error
	Close() error
}

// Spacer is an optional ability of an FS: the room that is left for this
// process on its file system. A negative number means that nobody knows.
type Spacer interface {
	Space() (bytes, inodes int64, err error)
}

// Info describes a directory entry.
type Info struct {
	Mode    fs.FileMode // type and permissions
	ModTime time.Time
	UID     int
}

// Entry is one entry of a directory.
type Entry struct {
	Name string
	Type fs.FileMode // the type bits
}

// ErrLocked reports that somebody else holds a lock.
var ErrLocked = errors.New("it is locked by somebody else")

// Attr is what a new file is to have besides its content.
type Attr struct {
	Perm  fs.FileMode
	Owner *Owner // nil: whoever runs this process
}

// Owner is the owner of a file; -1 leaves one of them as it is.
type Owner struct{ UID, GID int }

// WriteFile replaces the file name, or makes it. When it returns nil, the
// content survives a power loss. On an error the file holds its old content
// or, if only the last step failed, perhaps the new.
func WriteFile(d Dir, name string, data []byte, attr Attr) error {
	return place(d, data, attr, func(temp string) error { return d.Rename(temp, name) })
}

// CreateFile is WriteFile for a name that must be free: it never overwrites,
// and fails with fs.ErrExist if somebody was faster.
func CreateFile(d Dir, name string, data []byte, attr Attr) error {
	return place(d, data, attr, func(temp string) error { return d.Publish(temp, name) })
}

func place(d Dir, data []byte, attr Attr, move func(temp string) error) error {
	temp, err := Stage(d, data, attr)
	if err != nil {
		return err
	}
	if err := move(temp); err != nil {
		d.Remove(temp)
		return err
	}
	return d.Sync()
}

// Stage writes a temporary file with the data and flushes it. The caller
// renames or publishes it and flushes the directory, or removes it.
func Stage(d Dir, data []byte, attr Attr) (temp string, err error) {
	temp = TempName()
	perm := attr.Perm
	if attr.Owner != nil {
		perm &= 0o700 // nobody reads it before it belongs to its owner
	}
	f, err := d.Create(temp, perm)
	if err != nil {
		return "", err
	}
	err = fill(f, data, attr)
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		// After a failed write or flush the file is worthless: the kernel may
		// have dropped the pages, so a second flush would lie.
		d.Remove(temp)
		return "", err
	}
	return temp, nil
}

func fill(f File, data []byte, attr Attr) error {
	if o := attr.Owner; o != nil {
		if err := f.Chown(o.UID, o.GID); err != nil {
			return err
		}
		if err := f.Chmod(attr.Perm); err != nil {
			return err
		}
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Sync()
}

// SwitchSymlink points the symbolic link name in d at target, in one step: the
// name leads to the old target or to the new one at every instant. The name is
// free or a symbolic link; a directory or a file there is an error.
func SwitchSymlink(d Dir, name, target string) error {
	switch info, err := d.Lstat(name); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case info.Mode.Type() != fs.ModeSymlink:
		return &fs.PathError{Op: "switch", Path: name, Err: errors.New("it is not a symbolic link, so it is not replaced")}
	}
	temp := TempName()
	if err := d.Symlink(target, temp); err != nil {
		return err
	}
	if err := d.Rename(temp, name); err != nil {
		d.Remove(temp)
		return err
	}
	return d.Sync()
}

// MkdirAll makes dir, an ordinary path, and the parents that it lacks, each
// with perm. What it made survives a power loss. Existing directories, also
// behind symbolic links, stay as they are.
func MkdirAll(dir string, perm fs.FileMode) error {
	if info, err := os.Stat(dir); err == nil {
		if !info.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: dir, Err: unix.ENOTDIR}
		}
		return nil
	}
	parent := filepath.Dir(dir)
	if parent == dir {
		return &fs.PathError{Op: "mkdir", Path: dir, Err: fs.ErrNotExist}
	}
	if err := MkdirAll(parent, perm); err != nil {
		return err
	}
	if err := os.Mkdir(dir, perm); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncPath(parent)
}

// syncPath flushes the directory at an ordinary path.
func syncPath(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return syncDir(f)
}

// tempPrefix begins the names of temporary files. It is long enough that no
// other program's file in a shared directory has it by chance.
const tempPrefix = ".tmp-inkan-"

// TempName returns a name for a temporary entry that nobody else has.
func TempName() string { return tempPrefix + strings.ToLower(rand.Text()) }

// IsTemp reports whether TempName made the name.
func IsTemp(name string) bool {
	return len(name) == len(tempPrefix)+26 && strings.HasPrefix(name, tempPrefix)
}

// maxLockWait bounds the wait for a lock that is held for microseconds at a
// time: who has held it that long is stopped, or its disk hangs.
const maxLockWait = time.Minute

// Lock waits for the lock on the file name in d. Close releases it.
func Lock(ctx context.Context, d Dir, name string) (io.Closer, error) {
	pause, waited := 50*time.Microsecond, time.Duration(0)
	for {
		l, err := d.TryLock(name)
		if !errors.Is(err, ErrLocked) {
			return l, err
		}
		if waited > maxLockWait {
			return nil, fmt.Errorf("waited %v for a lock: %w", maxLockWait, err)
		}
		// Polling, because a blocked flock cannot be cancelled.
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		case <-timer.C:
		}
		waited += pause
		pause = min(2*pause, 20*time.Millisecond)
	}
}
