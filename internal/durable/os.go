package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Access says who else may look into a tree.
type Access int

const (
	// Private trees belong to one user alone. The root is made if it is
	// missing, and refused if others may write to it; a file that is not
	// ours, or that others may read, is refused when it is read.
	Private Access = iota
	// Public trees are shared with others, such as a web server. The root
	// must exist and may be a symbolic link.
	Public
)

// OS returns the tree below dir, a directory of the operating system. It keeps
// nothing open between calls.
func OS(dir string, access Access) (FS, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if access == Private {
		if err := MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	root := &tree{dir: dir, access: access}
	d, err := root.OpenDir(".")
	if err != nil {
		return nil, err
	}
	defer d.Close()
	if access == Public {
		return root, nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(d.(*osDir).fd(), &st); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: dir, Err: err}
	}
	info := infoOf(&st)
	if err := ownedByUs(dir, info); err != nil {
		return nil, err
	}
	if info.Mode.Perm()&0o022 != 0 {
		return nil, &UnsafeError{dir, fmt.Sprintf("others may write to it (mode %04o)", info.Mode.Perm()), "chmod 700 " + quote(dir)}
	}
	return root, nil
}

type tree struct {
	dir    string
	access Access
}

// path returns the ordinary path of name, for messages.
func (t *tree) path(name string) string { return filepath.Join(t.dir, name) }

// open opens name below the root; errors are those of the system. It holds the
// root for this call only: a directory that is swapped (a restored backup) is
// seen at once, and many trees need no descriptors.
func (t *tree) open(name string, flags int) (int, error) {
	if !fs.ValidPath(name) {
		return -1, unix.EINVAL
	}
	flags |= unix.O_CLOEXEC
	root, err := retry(func() (int, error) {
		return unix.Open(t.dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil || name == "." {
		return root, err
	}
	defer unix.Close(root)
	return openBeneath(root, name, flags)
}

func (t *tree) OpenDir(name string) (Dir, error) {
	fd, err := t.open(name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, t.fail("open", name, err)
	}
	return &osDir{os.NewFile(uintptr(fd), t.path(name))}, nil
}

func (t *tree) ReadFile(name string) ([]byte, error) {
	// O_NONBLOCK: opening a named pipe must not wait for its writer.
	fd, err := t.open(name, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil, t.fail("open", name, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, t.fail("stat", name, err)
	}
	info := infoOf(&st)
	switch {
	case info.Mode.IsDir():
		return nil, t.fail("read", name, unix.EISDIR)
	case !info.Mode.IsRegular():
		return nil, &UnsafeError{t.path(name), "it is not a regular file", "look where it comes from, then remove it"}
	}
	if t.access == Private {
		if err := ownedByUs(t.path(name), info); err != nil {
			return nil, err
		}
		if info.Mode.Perm()&0o077 != 0 {
			return nil, &UnsafeError{t.path(name), fmt.Sprintf("others may read it (mode %04o)", info.Mode.Perm()), "chmod -R go= " + quote(t.dir)}
		}
	}
	// One byte more than the size, so that the end shows without growing.
	data := make([]byte, 0, st.Size+1)
	for {
		n, err := retry(func() (int, error) { return unix.Read(fd, data[len(data):cap(data)]) })
		if err != nil {
			return nil, t.fail("read", name, err)
		}
		if n == 0 {
			return data, nil
		}
		data = data[:len(data)+n]
		if len(data) == cap(data) {
			data = append(data, 0)[:len(data)]
		}
	}
}

// Space implements Spacer.
func (t *tree) Space() (bytes, inodes int64, err error) {
	bytes, inodes, err = space(t.dir)
	if err != nil {
		return 0, 0, &fs.PathError{Op: "statfs", Path: t.dir, Err: err}
	}
	return bytes, inodes, nil
}

// fail says which step failed on which file. A symbolic link, for which every
// system has another error, is told from other things in the way.
func (t *tree) fail(op, name string, err error) error {
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.EMLINK) || errors.Is(err, unix.ENOTDIR) {
		if link := t.findLink(name); link != "" {
			return &UnsafeError{link, "it is a symbolic link, which is never followed here", "look where it points, then rm " + quote(link)}
		}
	}
	return &fs.PathError{Op: op, Path: t.path(name), Err: err}
}

// findLink returns the path of the first symbolic link on the way to name.
// It serves the message only: the refusal has happened.
func (t *tree) findLink(name string) string {
	for i := range len(name) + 1 {
		if i < len(name) && name[i] != '/' {
			continue
		}
		p := t.path(name[:i])
		if info, err := os.Lstat(p); err == nil && info.Mode().Type() == fs.ModeSymlink && name != "." {
			return p
		}
	}
	return ""
}

// osDir is an open directory; the file's name is its ordinary path.
type osDir struct{ f *os.File }

// fd does not make the descriptor blocking, as directories are always.
func (d *osDir) fd() int { return int(d.f.Fd()) }

func (d *osDir) fail(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: filepath.Join(d.f.Name(), name), Err: err}
}

// at runs one system call on the entry name.
func (d *osDir) at(op, name string, call func(fd int) error) error {
	if !isElement(name) {
		return d.fail(op, name, unix.EINVAL)
	}
	_, err := retry(func() (int, error) { return 0, call(d.fd()) })
	return d.fail(op, name, err)
}

func (d *osDir) Create(name string, perm fs.FileMode) (File, error) {
	var fd int
	err := d.at("create", name, func(dir int) (err error) {
		fd, err = unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, uint32(perm.Perm()))
		return err
	})
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), filepath.Join(d.f.Name(), name))
	if perm&0o077 != 0 { // the umask may have taken some of it
		if err := f.Chmod(perm); err != nil {
			f.Close()
			d.Remove(name)
			return nil, err
		}
	}
	return f, nil
}

func (d *osDir) Mkdir(name string, perm fs.FileMode) error {
	if err := d.at("mkdir", name, func(dir int) error { return unix.Mkdirat(dir, name, uint32(perm.Perm())) }); err != nil {
		return err
	}
	if perm&0o077 == 0 {
		return nil
	}
	f, err := d.open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Chmod(perm)
}

func (d *osDir) OpenDir(name string) (Dir, error) {
	f, err := d.open(name)
	if err != nil {
		return nil, err
	}
	return &osDir{f}, nil
}

// open opens the directory name in d; "." is d itself once more.
func (d *osDir) open(name string) (*os.File, error) {
	var fd int
	err := d.at("open", name, func(dir int) (err error) {
		fd, err = unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), filepath.Join(d.f.Name(), name)), nil
}

func (d *osDir) Lstat(name string) (Info, error) {
	var st unix.Stat_t
	err := d.at("stat", name, func(dir int) error { return unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	if err != nil {
		return Info{}, err
	}
	return infoOf(&st), nil
}

func (d *osDir) ReadDir(n int) ([]Entry, error) {
	// A descriptor of its own: two readers of one handle must not share a
	// position.
	f, err := d.open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list, err := f.ReadDir(n)
	if err != nil && err != io.EOF {
		return nil, err
	}
	entries := make([]Entry, len(list))
	for i, e := range list {
		entries[i] = Entry{e.Name(), e.Type()}
	}
	return entries, nil
}

func (d *osDir) Rename(old, new string) error {
	if !isElement(new) {
		return d.fail("rename", new, unix.EINVAL)
	}
	err := d.at("rename", old, func(dir int) error { return unix.Renameat(dir, old, dir, new) })
	return renaming(err, new)
}

func (d *osDir) Publish(old, new string) error {
	if !isElement(new) {
		return d.fail("publish", new, unix.EINVAL)
	}
	err := d.at("publish", old, func(dir int) error { return renameNew(dir, old, new) })
	return renaming(err, new)
}

// renaming adds the new name to the error of a rename.
func renaming(err error, new string) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		e.Path += " to " + new
	}
	return err
}

// linkNew is a rename that never replaces, for systems without one: at no
// instant is the new name missing or another's. Between the two calls the
// file has two names; if the second fails, the old one is left over, which
// does no harm to a temporary name.
func linkNew(dir int, old, new string) error {
	if err := unix.Linkat(dir, old, dir, new, 0); err != nil {
		return err
	}
	unix.Unlinkat(dir, old, 0)
	return nil
}

func (d *osDir) Symlink(target, name string) error {
	return d.at("symlink", name, func(dir int) error { return unix.Symlinkat(target, dir, name) })
}

func (d *osDir) Remove(name string) error {
	return d.at("remove", name, func(dir int) error { return unix.Unlinkat(dir, name, 0) })
}

func (d *osDir) Rmdir(name string) error {
	return d.at("rmdir", name, func(dir int) error { return unix.Unlinkat(dir, name, unix.AT_REMOVEDIR) })
}

func (d *osDir) Sync() error { return syncDir(d.f) }

func (d *osDir) Close() error { return d.f.Close() }

func (d *osDir) TryLock(name string) (io.Closer, error) {
	var f *os.File
	err := d.at("lock", name, func(dir int) error {
		fd, err := unix.Openat(dir, name, unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return err
		}
		f = os.NewFile(uintptr(fd), name)
		// flock belongs to the open file, so it keeps out other goroutines
		// as well as other processes.
		if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
			f.Close()
			return err
		}
		return nil
	})
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, d.fail("lock", name, ErrLocked)
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

// syncDir flushes a directory. Some network and user-space file systems have
// no such operation, because they keep directories durable on their own.
func syncDir(f *os.File) error {
	err := f.Sync()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	return err
}

// retry repeats a system call that a signal interrupted.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != unix.EINTR {
			return n, err
		}
	}
}

func isElement(name string) bool {
	return fs.ValidPath(name) && path.Base(name) == name
}

func infoOf(st *unix.Stat_t) Info {
	mode := fs.FileMode(st.Mode).Perm()
	switch uint32(st.Mode) & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFDIR:
		mode |= fs.ModeDir
	case unix.S_IFLNK:
		mode |= fs.ModeSymlink
	default:
		mode |= fs.ModeIrregular
	}
	return Info{Mode: mode, ModTime: time.Unix(st.Mtim.Unix()), UID: int(st.Uid)}
}

func ownedByUs(path string, info Info) error {
	us := os.Geteuid()
	if info.UID == us {
		return nil
	}
	return &UnsafeError{path, fmt.Sprintf("it belongs to user %d, and this process runs as user %d", info.UID, us),
		fmt.Sprintf("run this as user %d, or chown -R %d %s", info.UID, us, quote(path))}
}
