package durable

import "golang.org/x/sys/unix"

func space(dir string) (bytes, inodes int64, err error) {
	var st unix.Statfs_t
	if _, err := retry(func() (int, error) { return 0, unix.Statfs(dir, &st) }); err != nil {
		return 0, 0, err
	}
	return st.F_bavail * int64(st.F_bsize), st.F_favail, nil
}
