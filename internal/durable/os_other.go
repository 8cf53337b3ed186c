//go:build !linux

package durable

func openBeneath(root int, name string, flags int) (int, error) {
	return walkBeneath(root, name, flags)
}

// renameNew moves old to new unless new exists.
func renameNew(dir int, old, new string) error { return linkNew(dir, old, new) }
