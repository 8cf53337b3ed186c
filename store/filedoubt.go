package store

import (
	"errors"
	"io/fs"
	"sync"
	"sync/atomic"
)

// doubts are the directories in which something failed to be written by this
// Store. A value there may be visible and yet not durable, and whoever reads it
// to learn what became of a failed Put would build on it. So such a directory
// is flushed before anything in it is read.
//
// This is a flush through another descriptor, in the hope that the fault has
// passed. Where it has not, for instance because the file system stopped its
// journal, this one fails, too.
type doubts struct {
	count atomic.Int32 // of dirs, to be read without the lock
	mu    sync.Mutex
	dirs  map[string]bool
}

func (d *doubts) add(dir string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dirs == nil {
		d.dirs = map[string]bool{}
	}
	d.dirs[dir] = true
	d.count.Store(int32(len(d.dirs)))
}

func (d *doubts) has(dir string) bool {
	if d.count.Load() == 0 {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dirs[dir]
}

func (d *doubts) remove(dir string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.dirs, dir)
	d.count.Store(int32(len(d.dirs)))
}

// settle flushes the directory if it is in doubt. The doubt is dropped before,
// so that a write that fails meanwhile raises it again.
func (s *file) settle(dir string) error {
	if !s.doubts.has(dir) {
		return nil
	}
	s.doubts.remove(dir)
	d, err := s.fs.OpenDir(dir)
	if err == nil {
		err = d.Sync()
		d.Close()
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.doubts.add(dir)
		return err
	}
	return nil
}
