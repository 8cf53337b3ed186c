package state

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
)

var update = flag.Bool("update", false, "write the tables of keys in docs/architecture.md anew")

// keyTables is the part of docs/architecture.md that is made from the table.
func keyTables() string {
	var b strings.Builder
	for _, where := range []Where{InStore, InHost} {
		fmt.Fprintf(&b, "| key of the %s | value | lives | read by servers |\n|---|---|---|---|\n", where)
		for _, f := range Families() {
			if f.Store != where {
				continue
			}
			read, holds := "", f.Holds
			if f.Read {
				read = "yes"
			}
			if f.Raw {
				holds += "; raw bytes"
			}
			fmt.Fprintf(&b, "| `%s%s` | %s | %s | %s |\n", f.Name, f.Pattern, holds, f.Lives, read)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// The page tells what the table says.
func TestKeysInDocs(t *testing.T) {
	const page, begin, end = "../../docs/architecture.md", "<!-- keys: made by go test ./internal/state -update -->\n\n", "<!-- end of keys -->"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	is, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("the page has no place for the tables of keys")
	}
	want := keyTables()
	if is == want {
		return
	}
	if !*update {
		t.Fatal("the tables of keys are not current (go test ./internal/state -run TestKeysInDocs -update)")
	}
	if err := os.WriteFile(page, []byte(before+begin+want+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Every key that is built belongs to a family of its store, speaks of the
// certificate that it was built for, and its record is read back.
func TestFamilies(t *testing.T) {
	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	const name = "www.example.com"
	v := VersionID{name, 1, "0123456789abcdef"}
	for _, c := range []struct {
		where            Where
		key, certificate string
		record           any // as it is stored; nil for raw values
	}{
		{InStore, storeKey, "", StoreRecord{ID: "x"}},
		{InStore, RequestKey(name), name, inkan.RequestRecord{}},
		{InStore, StateKey(name), name, sampleState()},
		{InStore, OrderKey(name, "a", inkan.ECDSAP256), name, inkan.OrderRecord{}},
		{InStore, v.Cert(inkan.ECDSAP256), name, CertValue{}},
		{InStore, v.Key(inkan.ECDSAP256), name, &inkan.StoredKey{Form: inkan.PlainKey}},
		{InStore, v.SealedKey(inkan.ECDSAP256, Sum(nil)), name, &inkan.StoredKey{Form: "age"}},
		{InStore, CurrentKey(name), name, inkan.Current{}},
		{InStore, NameIndexKey(inkan.Identifier{Type: inkan.DNS, Value: name}, name), "", name},
		{InStore, AccountKey("ca", "default"), "", inkan.AccountRecord{}},
		{InStore, inkan.LimitKey("ca", "default", "orders"), "", Bucket{}},
		{InStore, DueKey(CertQueue, at, name), name, struct{}{}},
		{InStore, "due/cert/7/20261101/12/0000-" + name + "-01234567", name, struct{}{}}, // of a shard to come
		{InStore, EventKey(inkan.Event{At: at, ID: "x", Kind: inkan.EventIssued, Name: name}), "", inkan.Event{}},
		{InStore, FamilyEvents + "20261101/120000.000-x", "", inkan.Event{}}, // until 2026-11-29
		{InStore, FamilyDamaged + CurrentKey(name) + "-01234567", "", nil},
		{InStore, ChallengeKeys + "token", "", nil},
		{InStore, "tls-alpn-01/" + name, "", nil},
		{InHost, HostTargets + "/x", "", inkan.HostRecord{}},
		{InHost, HostSolvers + "/x", "", inkan.HostRecord{}},
		{InHost, HostCAs + "/x", "", inkan.HostRecord{}},
		{InHost, GivenKey(Sum(nil)), "", &inkan.StoredKey{Form: inkan.PlainKey}},
		{InHost, DeployedKey("x", name), "", inkan.Deployed{}},
		{InHost, DueKey(HostQueue, at, name), name, struct{}{}},
		{InHost, FamilyDamaged + "x", "", nil},
	} {
		f, ok := FamilyOf(c.where, c.key)
		if !ok || f.Raw != (c.record == nil) {
			t.Errorf("%s of the %s: family %q, raw %v", c.key, c.where, f.Name, f.Raw)
			continue
		}
		if got := f.Certificate(c.key); got != c.certificate {
			t.Errorf("%s speaks of %q, want %q", c.key, got, c.certificate)
		}
		if c.record == nil {
			continue
		}
		data, _, err := encode(c.record, 1, "id")
		if err == nil {
			err = f.Check(c.key, data)
		}
		if err != nil {
			t.Errorf("%s: %v", c.key, err)
		}
		if f.Check(c.key, data[:len(data)-1]) == nil {
			t.Errorf("%s: a torn record was taken for sound", c.key)
		}
	}
	for _, key := range []string{"ari/x", "signers/1", "imports/x", "x"} {
		if f, ok := FamilyOf(InStore, key); ok {
			t.Errorf("%s belongs to %q", key, f.Name)
		}
	}
}
