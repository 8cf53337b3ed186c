package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/inkan-acme/inkan"
)

// The families of host records.
const (
	HostTargets = "targets"
	HostSolvers = "solvers"
	HostCAs     = "cas"
)

// HostName names a record after its content, so that the same options given
// twice are one record and different ones never replace each other. No
// configuration file may define a name of this form: it begins with "_".
// Until 2026-11-29 the name was <kind>-<hash>; such names are found as any other.
func HostName(r inkan.HostRecord) string {
	return reserved + r.Kind + "." + Sum(append([]byte(r.Kind+"\n"), r.Options...))[:8]
}

const reserved = "_"

// HostKind returns the plug-in that a name made by [HostName] speaks of.
func HostKind(name string) (kind string, ok bool) {
	kind, hash, ok := strings.Cut(strings.TrimPrefix(name, reserved), ".")
	return kind, ok && strings.HasPrefix(name, reserved) && len(hash) == 8
}

// SaveHost keeps a record under family/name. It replaces a different one that is
// there: the latest command on this machine counts.
func SaveHost(ctx context.Context, host inkan.Store, family, name string, r inkan.HostRecord) error {
	if err := inkan.CheckName(name); err != nil {
		return err
	}
	_, err := Update(ctx, host, family+"/"+name, func(v *inkan.HostRecord, exists bool) error {
		if exists && v.Kind == r.Kind && string(v.Options) == string(r.Options) {
			return ErrUnchanged
		}
		*v = r
		return nil
	})
	return err
}

// LoadHost reads a record; fs.ErrNotExist if there is none.
func LoadHost(ctx context.Context, host inkan.Store, family, name string) (inkan.HostRecord, error) {
	if err := inkan.CheckName(name); err != nil {
		return inkan.HostRecord{}, err
	}
	r, err := Load[inkan.HostRecord](ctx, host, family+"/"+name)
	if err == nil && !r.Exists() {
		err = fmt.Errorf("%s %s: %w", strings.TrimSuffix(family, "s"), name, fs.ErrNotExist)
	}
	return r.Value, err
}

// ListHost returns the names of a family.
func ListHost(ctx context.Context, host inkan.Store, family string) ([]string, error) {
	var names []string
	for key, err := range host.List(ctx, family+"/", "") {
		if err != nil {
			return names, errors.Join(err)
		}
		names = append(names, strings.TrimPrefix(key, family+"/"))
	}
	return names, nil
}
