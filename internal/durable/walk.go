package durable

import (
	"strings"

	"golang.org/x/sys/unix"
)

// walkBeneath opens name below the directory root one element at a time, and
// no element may be a symbolic link. It is openBeneath where the system has no
// call for it.
func walkBeneath(root int, name string, flags int) (int, error) {
	dir := root
	for {
		element, rest, more := strings.Cut(name, "/")
		f := flags
		if more {
			f = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC
		}
		fd, err := retry(func() (int, error) { return unix.Openat(dir, element, f|unix.O_NOFOLLOW, 0) })
		if dir != root {
			unix.Close(dir)
		}
		if err != nil || !more {
			return fd, err
		}
		dir, name = fd, rest
	}
}
