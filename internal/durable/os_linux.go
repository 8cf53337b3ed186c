package durable

import "golang.org/x/sys/unix"

// openBeneath opens name below the directory root without following a link.
// One system call does it since Linux 5.6; seccomp filters that do not know it
// answer EPERM.
func openBeneath(root int, name string, flags int) (int, error) {
	how := unix.OpenHow{
		Flags:   uint64(flags | unix.O_NOFOLLOW),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	}
	fd, err := retry(func() (int, error) { return unix.Openat2(root, name, &how) })
	switch err {
	case unix.ENOSYS, unix.EPERM, unix.EAGAIN:
		return walkBeneath(root, name, flags)
	}
	return fd, err
}

// renameNew moves old to new unless new exists.
func renameNew(dir int, old, new string) error {
	err := unix.Renameat2(dir, old, dir, new, unix.RENAME_NOREPLACE)
	switch err {
	case unix.ENOSYS, unix.EINVAL, unix.EPERM: // old kernels, file systems, sandboxes
		return linkNew(dir, old, new)
	}
	return err
}

func space(dir string) (bytes, inodes int64, err error) {
	var st unix.Statfs_t
	if _, err := retry(func() (int, error) { return 0, unix.Statfs(dir, &st) }); err != nil {
		return 0, 0, err
	}
	inodes = int64(st.Ffree)
	if st.Files == 0 { // btrfs and friends have no fixed number
		inodes = -1
	}
	return int64(st.Bavail) * int64(st.Bsize), inodes, nil
}
