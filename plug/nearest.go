package plug

import (
	"fmt"
	"slices"
	"strings"

	"github.com/inkan-acme/inkan"
)

// Nearest returns the known word that somebody who wrote word most likely
// meant, or "" when none is near: at most a third of the letters may differ, but
// always one.
func Nearest(word string, known []string) string {
	if len(word) > 200 {
		return ""
	}
	word = normal(word)
	best, bestDistance := "", max(1, len(word)/3)+1
	for _, k := range known {
		if d := distance(word, normal(k), bestDistance); d < min(bestDistance, len(word)) {
			best, bestDistance = k, d
		}
	}
	return best
}

// Unknown returns the message about a name that is not among the known ones. It
// adds the name that was likely meant, else the known ones:
//
//	there is no solver "wbe"; did you mean "web"?
func Unknown(what, word string, known []string) string {
	text := fmt.Sprintf("there is no %s %q", what, inkan.Printable(word, 60))
	known = slices.Sorted(slices.Values(known))
	near := Nearest(word, known)
	switch {
	case near != "":
		return text + fmt.Sprintf("; did you mean %q?", near)
	case len(known) == 0:
		return text + "; none is defined"
	case len(known) == 1:
		return text + "; the only one is " + known[0]
	case len(known) <= 12:
		return text + "; there are " + strings.Join(known, ", ")
	}
	return text
}

// normal makes the ways of writing one word alike: case, hyphen, underscore.
func normal(s string) string {
	return strings.NewReplacer("-", "_", " ", "_").Replace(strings.ToLower(s))
}

// distance is the number of letters to insert, remove, replace or swap with
// their neighbour to get from a to b; anything above limit is limit + 1.
func distance(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	for j := range rows[1] {
		rows[1][j] = j
	}
	for i := 1; i <= len(a); i++ {
		older, old, row := rows[0], rows[1], rows[2]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(old[j]+1, row[j-1]+1, old[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], older[j-2]+1)
			}
		}
		rows = [3][]int{old, row, older}
	}
	return min(rows[1][len(b)], limit+1)
}
