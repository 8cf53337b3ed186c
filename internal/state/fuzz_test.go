package state

import (
	"strings"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
)

// FuzzDueKey: no key in the index leads to a name that is none, nor to a due
// instant that sorts elsewhere.
func FuzzDueKey(f *testing.F) {
	f.Add(DueKey(CertQueue, time.Unix(1800000000, 0), "a.example"))
	f.Add("due/cert/0/20261122/12/0000-../x-01234567")
	f.Add("due/cert/0/99999999/99/9999--01234567")
	f.Fuzz(func(t *testing.T, key string) {
		at, name, err := ParseDue(key, CertQueue)
		if err != nil {
			return
		}
		if err := inkan.CheckName(name); err != nil {
			t.Errorf("%q leads to the name %q: %v", key, name, err)
		}
		again := DueKey(CertQueue, at, name)
		shard, _, _ := strings.Cut(strings.TrimPrefix(key, CertQueue), "/")
		again = CertQueue + shard + strings.TrimPrefix(again, CertQueue+"0") // any shard is parsed
		if len(again) != len(key) || again[:len(again)-8] != key[:len(key)-8] {
			t.Errorf("%q is due at %v, and then is %q", key, at, again)
		}
	})
}
