//go:build darwin || freebsd

package durable

import "golang.org/x/sys/unix"

func space(dir string) (bytes, inodes int64, err error) {
	var st unix.Statfs_t
	if _, err := retry(func() (int, error) { return 0, unix.Statfs(dir, &st) }); err != nil {
		return 0, 0, err
	}
	inodes = int64(st.Ffree)
	if st.Files == 0 {
		inodes = -1
	}
	return int64(st.Bavail) * int64(st.Bsize), inodes, nil
}
