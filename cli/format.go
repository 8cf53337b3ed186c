package cli

import (
	"fmt"

	"github.com/inkan-acme/inkan"
)

// count writes "1 certificate", "3 certificates".
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// namesShort writes the first name and how many follow.
func namesShort(ids []inkan.Identifier) string {
	switch len(ids) {
	case 0:
		return "-"
	case 1:
		return ids[0].Value
	}
	return fmt.Sprintf("%s +%d more", ids[0].Value, len(ids)-1)
}

// values returns the identifiers as text.
func values(ids []inkan.Identifier) []string {
	list := make([]string, len(ids))
	for i, id := range ids {
		list[i] = id.Value
	}
	return list
}
