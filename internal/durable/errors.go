package durable

import (
	"errors"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"
)

// UnsafeError reports a file or directory that was refused because somebody
// else could have put it there, or could read it.
type UnsafeError struct {
	Path    string
	Problem string // what is wrong with it
	Fix     string // a command or what to do
}

func (e *UnsafeError) Error() string { return e.Path + ": " + e.Problem }

// Explain says what a person can do about a file error. ok reports whether a
// person has to: the same try does not succeed without one.
func Explain(err error) (hint string, ok bool) {
	if e, ok := errors.AsType[*UnsafeError](err); ok {
		return e.Fix, true
	}
	where := "the path"
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		where = e.Path
	}
	switch {
	case errors.Is(err, unix.ENOSPC):
		return "the file system is full: free some space (df) or inodes (df -i) for " + where, true
	case errors.Is(err, unix.EDQUOT):
		return "the disk quota is used up: raise it or free some space for " + where, true
	case errors.Is(err, unix.EROFS):
		return "the file system is mounted read-only: remount it for writing, or use another directory than that of " + where, true
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return "run this as the user who owns the directory, or give this user the right to write " + where, true
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ENAMETOOLONG), errors.Is(err, unix.EXDEV):
		return "use another directory than that of " + where, true
	case errors.Is(err, unix.EIO):
		return "the disk reported an error: look at the kernel's messages (dmesg)", true
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		return "raise the limit of open files (ulimit -n, LimitNOFILE)", false
	}
	return "", false
}

// quote makes a path safe to paste into a shell.
func quote(path string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+@:"
	if path != "" && strings.Trim(path, plain) == "" {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// NoFile reports whether err says that there is no regular file at a path:
// nothing at all, a directory, or a file where a parent should be.
func NoFile(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EISDIR) || errors.Is(err, unix.ENOTDIR)
}
