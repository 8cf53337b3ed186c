package state

import (
	"strings"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
)

func TestD12KeyBounds(t *testing.T) {
	name := strings.Repeat("n", 200) // the longest
	host := inkan.Identifier{Type: inkan.DNS, Value: "*." + strings.Repeat(strings.Repeat("a", 62)+".", 3) + strings.Repeat("a", 62)}
	at := time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	version := &inkan.Version{ID: NewID()}
	event := version.ID + "-" + Sum([]byte(name))[:8] + "-4294967295-100000" // target, n, attempts
	for _, key := range []string{
		RequestKey(name), StateKey(name), CurrentKey(name), OrderKey(name, NewID(), inkan.ECDSAP256), VersionID{name, 9999999999, NewID()}.Cert(inkan.ECDSAP384), VersionID{name, 1, NewID()}.SealedKey(inkan.RSA4096, Sum(nil)),
		NameIndexKey(host, name), NameIndexKey(inkan.Identifier{Type: inkan.IP, Value: "2001:db8:1:2:3:4:5:6"}, name), NameIndexKey(inkan.Identifier{Type: inkan.IP, Value: "::1"}, name), AccountKey(name, name), EventKey(inkan.Event{At: at, ID: event, Kind: inkan.EventDeployFailed, Name: name}),
		DueKey(CertQueue, at, name), DueKey(HostQueue, at, name), DeployedKey(name, name), GivenKey(strings.Repeat("f", 64)), inkan.LimitKey(name, name, "orders"), inkan.LimitKey(name, inkan.LimitHash("x")),
	} {
		if err := inkan.CheckKey(key); err != nil {
			t.Error(err)
		}
	}
}

// FuzzNameIndexKey: whatever is an identifier has a key, and no two have the same.
func FuzzNameIndexKey(f *testing.F) {
	for _, s := range []string{"a.example", "*.a.example", "_.a.example", "192.0.2.1", "2001:db8::1", "xn--bcher-kva.example", strings.Repeat("a", 63) + ".example"} {
		f.Add(s, "*."+s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		one, errA := inkan.ParseIdentifier(a)
		other, errB := inkan.ParseIdentifier(b)
		if errA == nil {
			if err := inkan.CheckKey(NameIndexKey(one, "name")); err != nil {
				t.Errorf("%q: %v", a, err)
			}
		}
		if errA == nil && errB == nil && one != other && NameIndexKey(one, "name") == NameIndexKey(other, "name") {
			t.Errorf("%v and %v have one key", one, other)
		}
	})
}
