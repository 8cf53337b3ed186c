package failpoint

import (
	"context"
	"strings"

	"github.com/inkan-acme/inkan"
)

// Store returns s with a point at every write. label tells it from other Stores
// in the names of points.
func (p *Points) Store(label string, s inkan.Store) inkan.Store {
	w := watched{s, p, label}
	if space, ok := s.(inkan.SpaceChecker); ok {
		return struct {
			watched
			inkan.SpaceChecker
		}{w, space}
	}
	return w
}

type watched struct {
	inkan.Store
	p     *Points
	label string
}

// Put implements inkan.Store.
func (w watched) Put(ctx context.Context, key string, data []byte, old inkan.Rev) (rev inkan.Rev, err error) {
	err = w.p.Pass("put "+w.label+"/"+kindOf(key), func() (err error) {
		rev, err = w.Store.Put(ctx, key, data, old)
		return err
	})
	return rev, err
}

// Delete implements inkan.Store.
func (w watched) Delete(ctx context.Context, key string) error {
	return w.p.Pass("delete "+w.label+"/"+kindOf(key), func() error { return w.Store.Delete(ctx, key) })
}

// kindOf is what a key is about, the same in every run: its family, and for a
// version whether it is the key or the certificate.
func kindOf(key string) string {
	family, rest, _ := strings.Cut(key, "/")
	if family == "v" {
		family += rest[strings.LastIndexByte(rest, '/'):]
	}
	return family
}
