package inkan

import (
	"fmt"
	"strings"
)

// Reserved bytes of keys: see the comment on Store.

// CheckKey reports whether key may be a key of a Store.
func CheckKey(key string) error {
	if len(key) == 0 || len(key) > 1024 {
		return fmt.Errorf("key of %d bytes; 1 to 1024 are allowed", len(key))
	}
	for element := range strings.SplitSeq(key, "/") {
		if element == "" || element == "." || element == ".." || len(element) > 255 {
			return fmt.Errorf("key %q has a bad element %q", key, element)
		}
	}
	for i := range len(key) {
		switch c := key[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("._-/", c) >= 0:
		default:
			return fmt.Errorf("key %q has a byte that no key may have", key)
		}
	}
	return nil
}
