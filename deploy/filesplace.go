package deploy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/inkan-acme/inkan/internal/durable"
)

// place is where one certificate's files go: the link, and the directory with
// its versions, locked.
type place struct {
	*files
	tree     durable.FS
	name     string
	root     durable.Dir // <dir>
	versions durable.Dir // <dir>/.versions/<name>
	lock     io.Closer
}

func (p *place) Close() {
	if p.lock != nil {
		p.lock.Close()
	}
	for _, d := range []durable.Dir{p.versions, p.root} {
		if d != nil {
			d.Close()
		}
	}
}

// target is what the link says when version directory dir is in force.
func (p *place) target(dir string) string { return versionsDir + "/" + p.name + "/" + dir }

// checkLink refuses what is at <dir>/<name> unless it is our link.
func (p *place) checkLink() error {
	path := filepath.Join(p.Dir, p.name)
	info, err := p.root.Lstat(p.name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode.IsDir():
		return foreign(path, "a directory")
	case info.Mode.Type() != fs.ModeSymlink:
		return foreign(path, "a file")
	}
	if _, ok := p.inForce(); !ok {
		return foreign(path, "a symbolic link")
	}
	return nil
}

// inForce returns the version directory that the link names.
func (p *place) inForce() (dir string, ok bool) {
	target, err := os.Readlink(filepath.Join(p.Dir, p.name))
	if err != nil {
		return "", false
	}
	dir, ok = strings.CutPrefix(target, p.target(""))
	return dir, ok && fs.ValidPath(dir) && !strings.Contains(dir, "/")
}

// openVersions opens and locks <dir>/.versions/<name>.
func (p *place) openVersions(ctx context.Context, create bool) error {
	if create {
		if err := p.mkdir(p.root, versionsDir, versionsDir); err != nil {
			return err
		}
		all, err := p.tree.OpenDir(versionsDir)
		if err != nil {
			return err
		}
		err = p.mkdir(all, p.name, p.target(""))
		all.Close()
		if err != nil {
			return err
		}
	}
	var err error
	if p.versions, err = p.tree.OpenDir(versionsDir + "/" + p.name); err != nil {
		return err
	}
	p.lock, err = durable.Lock(ctx, p.versions, lockFile)
	return err
}

// mkdir makes a directory with the mode and owner of the options, or leaves
// the one that is there. path is that of name below the root.
func (p *place) mkdir(parent durable.Dir, name, path string) error {
	err := parent.Mkdir(name, p.DirMode.Perm())
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil
	case err != nil:
		return err
	}
	if err := p.chown(path); err != nil {
		parent.Rmdir(name)
		return err
	}
	return parent.Sync()
}

// chown gives a new directory to its owner. os.Root keeps the call below the
// root even if somebody swaps a directory for a link meanwhile.
func (p *place) chown(path string) error {
	if p.owner == nil {
		return nil
	}
	root, err := os.OpenRoot(p.Dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return root.Lchown(strings.TrimSuffix(path, "/"), p.owner.UID, p.owner.GID)
}

// maxCopies bounds how many directories one version may have on disk: it gets
// another one when options changed or somebody edited the files.
const maxCopies = 1000

// place puts the files in force. On an error, what was in force still is,
// unless only the last flush failed.
func (p *place) place(ctx context.Context, version string, want []file) error {
	if dir, ok := p.inForce(); ok && belongs(dir, version) && p.holds(dir, want) {
		return p.root.Sync() // the run that switched may have died before this
	}
	for copy := range maxCopies {
		dir := version
		if copy > 0 {
			dir = fmt.Sprintf("%s-%d", version, copy+1)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		switch _, err := p.versions.Lstat(dir); {
		case errors.Is(err, fs.ErrNotExist):
			if err := p.write(dir, want); err != nil {
				return err
			}
		case err != nil:
			return err
		case !p.holds(dir, want):
			continue
		}
		if err := p.versions.Sync(); err != nil {
			return err
		}
		return durable.SwitchSymlink(p.root, p.name, p.target(dir))
	}
	return fmt.Errorf("version %s has %d changed copies in %s", version, maxCopies, filepath.Join(p.Dir, p.target("")))
}

// belongs reports whether a version directory holds the version, be it its
// first copy or a later one.
func belongs(dir, version string) bool {
	rest, ok := strings.CutPrefix(dir, version)
	return ok && (rest == "" || rest[0] == '-' && isNumber(rest[1:]))
}

// write makes the version directory dir: under another name first, so that
// what has its name is whole and flushed.
func (p *place) write(dir string, want []file) error {
	temp := durable.TempName()
	if err := p.versions.Mkdir(temp, p.DirMode.Perm()); err != nil {
		return err
	}
	err := p.fill(temp, want)
	if err == nil {
		err = p.versions.Rename(temp, dir)
	}
	if err != nil {
		p.discard(temp)
	}
	return err
}

func (p *place) fill(temp string, want []file) error {
	if err := p.chown(p.target(temp)); err != nil {
		return err
	}
	d, err := p.tree.OpenDir(p.target(temp))
	if err != nil {
		return err
	}
	defer d.Close()
	for _, f := range want {
		staged, err := durable.Stage(d, f.data, durable.Attr{Perm: f.mode, Owner: p.owner})
		if err != nil {
			return err
		}
		if err := d.Rename(staged, f.name); err != nil {
			return err
		}
	}
	return d.Sync()
}

// holds reports whether a version directory has exactly these files.
func (p *place) holds(dir string, want []file) bool {
	d, err := p.tree.OpenDir(p.target(dir))
	if err != nil {
		return false
	}
	defer d.Close()
	entries, err := d.ReadDir(-1)
	if err != nil || len(entries) != len(want) {
		return false
	}
	for _, f := range want {
		path := p.target(dir) + "/" + f.name
		have, err := p.tree.ReadFile(path)
		if err != nil || !bytes.Equal(have, f.data) {
			return false
		}
		info, err := os.Lstat(filepath.Join(p.Dir, path))
		if err != nil || info.Mode() != f.mode || !p.owns(info) {
			return false
		}
	}
	return true
}

// owns reports whether a file belongs to whom the options say.
func (p *place) owns(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return p.owner == nil || ok &&
		(p.owner.UID < 0 || int(st.Uid) == p.owner.UID) &&
		(p.owner.GID < 0 || int(st.Gid) == p.owner.GID)
}

// prune removes temporary directories and all version directories but the
// newest Keep, the one in force and those of the versions to protect.
func (p *place) prune(protect []string) {
	entries, err := p.versions.ReadDir(-1)
	if err != nil {
		p.logger().Debug("old versions were not looked for", "error", err)
		return
	}
	var dirs []string
	for _, e := range entries {
		switch {
		case e.Type.Type() != fs.ModeDir:
		case durable.IsTemp(e.Name):
			p.discard(e.Name) // we hold the lock: nobody is writing it
		default:
			dirs = append(dirs, e.Name)
		}
	}
	slices.Sort(dirs)
	dirs = dirs[:max(0, len(dirs)-p.Keep)]
	current, _ := p.inForce()
	for _, dir := range dirs {
		if dir == current || slices.ContainsFunc(protect, func(v string) bool { return belongs(dir, v) }) {
			continue
		}
		info, err := p.versions.Lstat(dir)
		if err != nil || p.env.Time().Sub(info.ModTime) < pruneAge {
			continue
		}
		// Renamed first, so that what has a version's name is always whole.
		temp := durable.TempName()
		if err := p.versions.Rename(dir, temp); err != nil {
			p.logger().Debug("an old version was not removed", "version", dir, "error", err)
			continue
		}
		p.discard(temp)
	}
}

// discard removes a directory of files, as far as it can.
func (p *place) discard(dir string) {
	d, err := p.tree.OpenDir(p.target(dir))
	if err != nil {
		return
	}
	defer d.Close()
	entries, err := d.ReadDir(-1)
	for _, e := range entries {
		if rm := d.Remove(e.Name); rm != nil {
			err = rm
		}
	}
	if rm := p.versions.Rmdir(dir); rm != nil {
		err = rm
	}
	if err != nil {
		p.logger().Debug("a directory was not removed", "directory", dir, "error", err)
	}
}
