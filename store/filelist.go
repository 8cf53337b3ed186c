package store

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strings"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/durable"
)

// List implements inkan.Store. It reads a directory only when its keys are next,
// and skips one whose keys all sort before after. So the first key of a deep
// tree costs one directory for each level.
//
// Entries that are neither file nor directory are listed as keys, because Get
// then says what is wrong with them. Names that no key may have are not.
func (s *file) List(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if dir := strings.TrimSuffix(prefix, "/"); prefix != "" {
			if dir == prefix {
				yield("", inkan.Errorf(inkan.Bug, s.op, "list %q: a prefix ends in a slash", prefix))
				return
			}
			if err := s.begin(ctx, dir); err != nil {
				yield("", err)
				return
			}
		}
		s.walk(ctx, prefix, after, yield)
	}
}

// walk yields the keys that begin with prefix, which is "" or ends in a slash.
// It reports whether to go on.
func (s *file) walk(ctx context.Context, prefix, after string, yield func(string, error) bool) bool {
	if prefix < after && !strings.HasPrefix(after, prefix) {
		return true // all keys in here come before after
	}
	names, err := s.names(ctx, prefix)
	if err != nil {
		yield("", s.fail("list", prefix, err))
		return false
	}
	for _, name := range names {
		key := prefix + name
		switch {
		case strings.HasSuffix(name, "/"):
			if !s.walk(ctx, key, after, yield) {
				return false
			}
		case key > after:
			if !yield(key, nil) {
				return false
			}
		}
	}
	return true
}

// names returns the names in a directory, those of directories with a slash
// behind, in the order in which their keys sort. A directory that is missing
// has none.
func (s *file) names(ctx context.Context, prefix string) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	d, err := s.fs.OpenDir(path.Clean(prefix))
	if err != nil {
		return nil, gone(prefix, err)
	}
	defer d.Close()
	entries, err := d.ReadDir(-1)
	if err != nil {
		return nil, gone(prefix, err) // removed since it was opened
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		switch {
		case durable.IsTemp(e.Name):
			s.sweep(d, e.Name)
		case hidden(e.Name) || inkan.CheckKey(e.Name) != nil:
		case e.Type.IsDir():
			names = append(names, e.Name+"/")
		default:
			names = append(names, e.Name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// gone makes no error of a missing directory, unless it is the root.
func gone(prefix string, err error) error {
	if prefix != "" && errors.Is(absent(err), fs.ErrNotExist) {
		return nil
	}
	return err
}
