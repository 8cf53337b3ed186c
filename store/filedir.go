package store

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"

	"github.com/inkan-acme/inkan/internal/durable"
)

// prune removes the directory name and its parents as long as they are empty.
// A Put that is about to use one of them finds it gone and makes it again.
func (s *file) prune(name string) {
	for ; name != "."; name = path.Dir(name) {
		d, err := s.fs.OpenDir(path.Dir(name))
		if err != nil {
			return
		}
		err = d.Rmdir(path.Base(name))
		if err != nil && s.removeTemps(name) {
			err = d.Rmdir(path.Base(name))
		}
		d.Close()
		if err != nil {
			return
		}
	}
}

// removeTemps empties a directory that holds temporary files alone, and reports
// whether it did: what a killed writer left may be a private key. A writer that
// lives finds its file gone, and its Put begins again.
func (s *file) removeTemps(name string) bool {
	d, err := s.fs.OpenDir(name)
	if err != nil {
		return false
	}
	defer d.Close()
	entries, err := d.ReadDir(peek)
	if err != nil && !errors.Is(err, io.EOF) || len(entries) == peek || slices.ContainsFunc(entries, func(e durable.Entry) bool { return !durable.IsTemp(e.Name) }) {
		return false
	}
	for _, e := range entries {
		d.Remove(e.Name)
	}
	return true
}

// dir opens the directory name for a new entry and makes it if it is missing.
// The directory is durable in its parent, as is that in its own: what is put
// into the handle stays reachable. If the directory is removed before, putting
// anything into the handle fails with fs.ErrNotExist.
func (s *file) dir(name string) (durable.Dir, error) {
	d, err := s.fs.OpenDir(name)
	switch {
	case err == nil && (name == "." || s.inUse(d)):
		return d, nil
	case err == nil:
		// Empty: somebody may have made it this moment, without having
		// flushed the parent yet. The parent itself has an entry.
		parent, err := s.fs.OpenDir(path.Dir(name))
		return flushed(d, parent, err)
	case !errors.Is(err, fs.ErrNotExist) || name == ".":
		return nil, err
	}
	parent, err := s.dir(path.Dir(name))
	if err != nil {
		return nil, err
	}
	if err := parent.Mkdir(path.Base(name), s.dirPerm()); err != nil && !errors.Is(err, fs.ErrExist) {
		parent.Close()
		return nil, err
	}
	d, err = parent.OpenDir(path.Base(name))
	if err != nil {
		parent.Close()
		return nil, err
	}
	return flushed(d, parent, nil)
}

// flushed returns d after its parent was flushed.
func flushed(d, parent durable.Dir, err error) (durable.Dir, error) {
	if err == nil {
		err = parent.Sync()
		parent.Close()
	}
	if err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// inUse reports whether d has an entry that is not temporary. It sweeps what
// dead writers left among the entries that it sees.
func (s *file) inUse(d durable.Dir) bool {
	entries, err := d.ReadDir(peek)
	if err != nil {
		return false
	}
	used := false
	for _, e := range entries {
		if durable.IsTemp(e.Name) {
			s.sweep(d, e.Name)
		} else {
			used = true
		}
	}
	return used
}

// sweep removes a temporary file whose writer is long dead. Should a clock
// that jumped make a living writer's file look old, its Put begins again.
func (s *file) sweep(d durable.Dir, temp string) {
	if info, err := d.Lstat(temp); err == nil && s.now().Sub(info.ModTime) > staleAfter {
		d.Remove(temp)
	}
}
