package state

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/testkit"
)

func TestDueKey(t *testing.T) {
	at := time.Date(2026, 11, 1, 23, 5, 9, 999, time.FixedZone("", 3600))
	key := DueKey(CertQueue, at, "_.a-b.example")
	if !strings.HasPrefix(key, "due/cert/0/20261101/22/0509-_.a-b.example-") || len(key) != len("due/cert/0/20261101/22/0509-_.a-b.example-")+8 {
		t.Errorf("got %s", key)
	}
	if first, second := DueKey(CertQueue, at, "a"), DueKey(CertQueue, at, "a"); first == second {
		t.Error("the same key twice")
	}
	for _, year := range []int{1, 1970, 2038, 2100, 9999, 10_000, 200_000} {
		at := time.Date(year, 2, 28, 1, 2, 3, 0, time.UTC)
		key := DueKey(HostQueue, at, "a")
		got, name, err := ParseDue(key, HostQueue)
		if err != nil || name != "a" || year <= 9999 && !got.Equal(at) || year > 9999 && got.Year() != 9999 {
			t.Errorf("year %d: %s -> %v %s %v", year, key, got, name, err)
		}
		if err := inkan.CheckKey(key); err != nil {
			t.Error(err)
		}
	}
}

func TestParseDueRefuses(t *testing.T) {
	good := DueKey(CertQueue, chainNow, "a.example")
	for _, key := range []string{"", CertQueue, good[:len(good)-1], "x" + good, strings.Replace(good, "cert", "host", 1), strings.Replace(good, "/20261101/", "/20261301/", 1),
		strings.Replace(good, "a.example", "a/b", 1), strings.Replace(good, "a.example", "..", 1), strings.Replace(good, "a.example", "A", 1), strings.Replace(good, "a.example", "", 1)} {
		if at, name, err := ParseDue(key, CertQueue); err == nil {
			t.Errorf("%q was read as %v %q", key, at, name)
		}
	}
}

// TestDueOrder: byte order of the keys is the order of the instants, whatever
// the names, and every valid name comes back.
func TestDueOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	const alphabet = "abcz019_.-"
	name := func() string {
		for {
			b := make([]byte, 1+rng.IntN(12))
			for i := range b {
				b[i] = alphabet[rng.IntN(len(alphabet))]
			}
			if inkan.CheckName(string(b)) == nil {
				return string(b)
			}
		}
	}
	type entry struct {
		key string
		at  time.Time
	}
	var entries []entry
	for range 3000 {
		at := time.Unix(rng.Int64N(250_000_000_000), 0).UTC() // up to the year 9892
		if rng.IntN(2) == 0 {
			at = chainNow.Add(time.Duration(rng.IntN(100_000)) * time.Second)
		}
		n := name()
		key := DueKey(CertQueue, at, n)
		got, gotName, err := ParseDue(key, CertQueue)
		if err != nil || gotName != n || !got.Equal(at) {
			t.Fatalf("%s of %q at %v: %q %v %v", key, n, at, gotName, got, err)
		}
		entries = append(entries, entry{key, at})
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.key, b.key) })
	if !slices.IsSortedFunc(entries, func(a, b entry) int { return a.at.Compare(b.at) }) {
		t.Error("byte order is not the order of time")
	}
}

// TestDueUntil: only what is due is read, junk is passed over.
func TestDueUntil(t *testing.T) {
	ctx := t.Context()
	s := testkit.New()
	for i := range 10 {
		if err := PutDue(ctx, s, DueKey(CertQueue, chainNow.Add(time.Duration(i-4)*time.Hour), fmt.Sprintf("n%d", i))); err != nil {
			t.Fatal(err)
		}
	}
	s.Set(CertQueue+"20200101/00/0000-../junk", nil)
	s.Set(CertQueue+"0junk", nil)
	got, err := DueUntil(ctx, s, CertQueue, chainNow)
	if err != nil || len(got) != 5 {
		t.Fatalf("%d entries, %v; want the 5 until now", len(got), err)
	}
	for i, e := range got {
		if e.Name != fmt.Sprintf("n%d", i) || !e.at.Equal(chainNow.Add(time.Duration(i-4)*time.Hour)) {
			t.Errorf("entry %d: %+v", i, e)
		}
	}
	if s.Gets != 0 {
		t.Errorf("%d values were read; the keys tell everything", s.Gets)
	}
}
