package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/inkan-acme/inkan"
)

// needed is how many bytes must be free for an order.
const needed = 1 << 20

// Machine is what this machine has of its own.
type Machine struct {
	// Config is the path of the configuration file, "" for none; ConfigErr is
	// why it cannot be used.
	Config    string
	ConfigErr error
	// StateErr is why the Stores cannot be opened.
	StateErr error
	// Secrets are files that hold secrets.
	Secrets []string
	// Dirs are directories of state.
	Dirs []string
	// Stores are those to which orders are written, by what they are called.
	Stores map[string]inkan.Store
	// Outputs are the paths that deployments write, by target.
	Outputs map[string][]string
}

// Examine looks at the files of this machine. It asks nobody and leaves nothing
// behind.
func (m *Machine) Examine(ctx context.Context) []Finding {
	var found findings
	if m.ConfigErr != nil {
		found.add(failure("config-invalid", m.Config, "", m.ConfigErr))
	}
	if m.StateErr != nil {
		found.add(failure("state-unusable", "state", "", m.StateErr))
	}
	if info, err := os.Stat(m.Config); m.Config != "" && err == nil && info.Mode().Perm()&0o022 != 0 {
		found.add(findingOf("config-writable", m.Config, "its mode is "+mode(info), ""))
	}
	for _, path := range m.Secrets {
		if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o007 != 0 {
			found.add(findingOf("secret-open", path, "its mode is "+mode(info), ""))
		}
	}
	for _, dir := range m.Dirs {
		found.add(directory(dir)...)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Stores)) {
		if s, ok := m.Stores[name].(inkan.SpaceChecker); ok {
			if err := s.CheckSpace(ctx, needed); err != nil && !ended(ctx, err) {
				found.add(failure("space-low", name, "", err))
			}
		}
	}
	for target, paths := range m.Outputs {
		for _, path := range paths {
			if at, err := writable(filepath.Dir(path)); err != nil {
				found.add(findingOf("target-unwritable", path, fmt.Sprintf("target %s: %s: %v", target, at, err), ""))
			}
		}
	}
	return found.sorted()
}

func mode(info fs.FileInfo) string { return fmt.Sprintf("%04o", info.Mode().Perm()) }

// directory looks at one directory of state.
func directory(dir string) (list []Finding) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil // nothing is kept there yet
	}
	if info.Mode().Perm()&0o077 != 0 {
		list = append(list, findingOf("mode-open", dir, "its mode is "+mode(info), ""))
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		list = append(list, findingOf("owner-other", dir, fmt.Sprintf("it belongs to user %d, and this is user %d", st.Uid, os.Geteuid()), ""))
	}
	return list
}

// writable reports whether something can be made in dir, or in the nearest
// directory above it that exists; at is that one.
func writable(dir string) (at string, err error) {
	for {
		info, err := os.Stat(dir)
		up := filepath.Dir(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist) && up != dir:
			dir = up
			continue
		case errors.Is(err, syscall.ENOTDIR) && up != dir:
			dir = up
			continue
		case err != nil:
			return dir, errors.Unwrap(err)
		case !info.IsDir():
			return dir, errors.New("it is not a directory")
		}
		if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
			return dir, err
		}
		return dir, nil
	}
}
