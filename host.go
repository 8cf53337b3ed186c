package inkan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// HostRecord is what was given on the command line of this machine: a target, a
// solver or a CA with its options. It lies in the Host store because a shared
// Store never yields anything to execute (design law 7).
type HostRecord struct {
	Kind    string          `json:"kind"` // the plug-in: "files", "exec", "webroot" ...
	Options json.RawMessage `json:"options"`
}

// The families of host records.
const (
	HostTargets = "targets"
	HostSolvers = "solvers"
	HostCAs     = "cas"
)

// HostName names a record after its content, so that the same options given
// twice are one record and different ones never replace each other.
func HostName(r HostRecord) string {
	return r.Kind + "-" + sumOf(append([]byte(r.Kind+"\n"), r.Options...))[:8]
}

// SaveHost keeps a record under family/name. An equal one is success; another
// one replaces it, as the person at this machine said so last.
func SaveHost(ctx context.Context, host Store, family, name string, r HostRecord) error {
	if err := CheckName(name); err != nil {
		return err
	}
	_, err := update(ctx, host, family+"/"+name, func(v *HostRecord, exists bool) error {
		if exists && v.Kind == r.Kind && string(v.Options) == string(r.Options) {
			return errUnchanged
		}
		*v = r
		return nil
	})
	return err
}

// LoadHost reads a record; fs.ErrNotExist if there is none.
func LoadHost(ctx context.Context, host Store, family, name string) (HostRecord, error) {
	if err := CheckName(name); err != nil {
		return HostRecord{}, err
	}
	r, err := load[HostRecord](ctx, host, family+"/"+name)
	if err == nil && !r.exists() {
		err = fmt.Errorf("%s %s: %w", strings.TrimSuffix(family, "s"), name, fs.ErrNotExist)
	}
	return r.v, err
}

// ListHost returns the names of a family.
func ListHost(ctx context.Context, host Store, family string) ([]string, error) {
	var names []string
	for key, err := range host.List(ctx, family+"/", "") {
		if err != nil {
			return names, errors.Join(err)
		}
		names = append(names, strings.TrimPrefix(key, family+"/"))
	}
	return names, nil
}
