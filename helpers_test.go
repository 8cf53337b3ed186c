package inkan

import (
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

var chainNow = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

var errTime = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func hidden(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) || r == utf8.RuneError
}

func testKey(t testing.TB, kt KeyType) *PrivateKey {
	t.Helper()
	k, err := GenerateKey(kt)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func dnsIDs(names ...string) []Identifier {
	ids := make([]Identifier, len(names))
	for i, n := range names {
		var err error
		if ids[i], err = ParseIdentifier(n); err != nil {
			panic(err)
		}
	}
	return ids
}
