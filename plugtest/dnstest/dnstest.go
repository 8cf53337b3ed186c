// Package dnstest is the executable form of the contract of inkan.DNSProvider.
// Every DNSProvider passes it.
package dnstest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/inkan-acme/inkan"
)

// Harness tells the suite about a DNSProvider. The tests use names of their own
// and remove what they add, so that one zone may serve them all.
type Harness struct {
	// Open returns an instance of the provider, as another process would have
	// it. All instances that one test opens see the same zone.
	Open func(t *testing.T) inkan.DNSProvider
	// Zone is the apex of a zone at the host; it ends in a dot.
	Zone string
	// Values returns the TXT values, unquoted and in any order, that stand at a
	// name of the zone at the host.
	Values func(t *testing.T, name string) []string
	// Foreign adds a value at a name beside the provider, as a person at the
	// host's console does. What stands there already stays.
	Foreign func(t *testing.T, name, value string)
	// TTL returns the TTL at a name, in seconds. It may be nil.
	TTL func(t *testing.T, name string) int
	// Swap: the host has a compare-and-swap, or adds single values. Then
	// several processes may work at one name at once, and the suite does.
	Swap bool
	// AnyZone: the provider cannot know whether the host has a zone.
	AnyZone bool
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	tests := []struct {
		name string
		test func(h Harness, t *testing.T)
	}{
		{"AddAndRemove", Harness.addAndRemove},
		{"Twice", Harness.twice},
		{"SameName", Harness.sameName},
		{"ManyNames", Harness.manyNames},
		{"Siblings", Harness.siblings},
		{"Apex", Harness.apex},
		{"Nothing", Harness.nothing},
		{"Alphabet", Harness.alphabet},
		{"LongValue", Harness.longValue},
		{"BadValues", Harness.badValues},
		{"TTL", Harness.ttl},
		{"Concurrent", Harness.concurrent},
		{"Cancelled", Harness.cancelled},
		{"OutsideZone", Harness.outsideZone},
		{"UnknownZone", Harness.unknownZone},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.test(h, t) })
	}
}

// name returns the absolute name of the dns-01 record of a name in the zone.
func (h Harness) name(of string) string { return "_acme-challenge." + of + "." + h.Zone }

// value returns the n-th value of the suite: 43 characters of base64url, as
// dns-01 has them (RFC 8555 section 8.4).
func value(n int) string { return fmt.Sprintf("-_AZaz09%035d", n) }

func (h Harness) addAndRemove(t *testing.T) {
	p := h.Open(t)
	r := inkan.TXT{Name: h.name("one"), Value: value(1)}
	h.want(t, r.Name)
	h.add(t, p, r)
	h.want(t, r.Name, r.Value)
	h.remove(t, h.Open(t), r) // as after a crash
	h.want(t, r.Name)
}

func (h Harness) twice(t *testing.T) {
	p := h.Open(t)
	r := inkan.TXT{Name: h.name("twice"), Value: value(2)}
	h.remove(t, p, r) // absent is success
	h.add(t, p, r)
	h.add(t, p, r)
	h.want(t, r.Name, r.Value)
	h.add(t, h.Open(t), r, r)
	h.want(t, r.Name, r.Value)
	h.remove(t, p, r, r)
	h.want(t, r.Name)
	h.remove(t, p, r)
	h.want(t, r.Name)
	h.add(t, p, r)
	h.want(t, r.Name, r.Value)
	h.remove(t, p, r)
	h.want(t, r.Name)
}

// sameName: a name and its wildcard in one order, and another order beside it.
func (h Harness) sameName(t *testing.T) {
	p := h.Open(t)
	name := h.name("same")
	a, b, c := inkan.TXT{Name: name, Value: value(3)}, inkan.TXT{Name: name, Value: value(4)}, inkan.TXT{Name: name, Value: value(5)}
	h.add(t, p, a, b)
	h.want(t, name, a.Value, b.Value)
	h.add(t, p, c)
	h.want(t, name, a.Value, b.Value, c.Value)
	h.add(t, p, b, c) // both there
	h.want(t, name, a.Value, b.Value, c.Value)
	h.remove(t, p, b)
	h.want(t, name, a.Value, c.Value)
	h.remove(t, p, b, a) // one is gone already
	h.want(t, name, c.Value)
	h.remove(t, p, c)
	h.want(t, name)
}

func (h Harness) manyNames(t *testing.T) {
	p := h.Open(t)
	var all []inkan.TXT
	for n := range 12 {
		name := h.name(fmt.Sprintf("n%d.many", n))
		all = append(all, inkan.TXT{Name: name, Value: value(100 + n)}, inkan.TXT{Name: name, Value: value(200 + n)})
	}
	h.add(t, p, all...)
	for n := range 12 {
		h.want(t, all[2*n].Name, all[2*n].Value, all[2*n+1].Value)
	}
	// Half of the names lose one value, the others both.
	var some []inkan.TXT
	for n := range 12 {
		some = append(some, all[2*n])
		if n%2 == 0 {
			some = append(some, all[2*n+1])
		}
	}
	h.remove(t, p, some...)
	for n := range 12 {
		if n%2 == 0 {
			h.want(t, all[2*n].Name)
		} else {
			h.want(t, all[2*n].Name, all[2*n+1].Value)
		}
	}
	h.remove(t, p, all...)
	for n := range 12 {
		h.want(t, all[2*n].Name)
	}
}

// siblings: what others wrote at the name stays, byte for byte.
func (h Harness) siblings(t *testing.T) {
	for i, foreign := range [][]string{
		{value(6)},
		{"v=spf1 include:_spf.example.net -all", "a; b=c, d"},
		{`quoted "and" back\slashed`},
		{"k=rsa; p=" + strings.Repeat("MIIBIjANBgkq", 30)}, // more than 255 bytes
	} {
		p := h.Open(t)
		name := h.name(fmt.Sprintf("s%d.siblings", i))
		for _, v := range foreign {
			h.Foreign(t, name, v)
		}
		h.want(t, name, foreign...)
		ours := inkan.TXT{Name: name, Value: value(7)}
		h.add(t, p, ours)
		h.want(t, name, append(slices.Clone(foreign), ours.Value)...)
		h.add(t, p, ours)
		h.want(t, name, append(slices.Clone(foreign), ours.Value)...)
		h.remove(t, p, ours)
		h.want(t, name, foreign...)
		h.remove(t, p, ours)
		h.want(t, name, foreign...)
	}
	// At a name above and below ours, and at one that ends in ours.
	p := h.Open(t)
	ours := inkan.TXT{Name: h.name("near"), Value: value(8)}
	near := []string{"near." + h.Zone, "below." + ours.Name, "x" + ours.Name}
	for _, name := range near {
		h.Foreign(t, name, ours.Value)
	}
	h.add(t, p, ours)
	h.want(t, ours.Name, ours.Value)
	h.remove(t, p, ours)
	h.want(t, ours.Name)
	for _, name := range near {
		h.want(t, name, ours.Value)
	}
}

// apex: the record of the zone's own name, and TXT at the apex itself, to which
// a CNAME may delegate.
func (h Harness) apex(t *testing.T) {
	p := h.Open(t)
	first := h.Values(t, h.Zone)
	h.Foreign(t, h.Zone, "v=spf1 -all")
	stay := append(slices.Clone(first), "v=spf1 -all")
	records := []inkan.TXT{
		{Name: "_acme-challenge." + h.Zone, Value: value(9)},
		{Name: "_acme-challenge." + h.Zone, Value: value(10)}, // the wildcard's
		{Name: h.Zone, Value: value(11)},
	}
	h.add(t, p, records...)
	h.want(t, records[0].Name, value(9), value(10))
	h.want(t, h.Zone, append(slices.Clone(stay), value(11))...)
	h.remove(t, p, records...)
	h.want(t, records[0].Name)
	h.want(t, h.Zone, stay...)
}

func (h Harness) nothing(t *testing.T) {
	p := h.Open(t)
	h.add(t, p)
	h.remove(t, p)
}

// alphabet: values differ in the case of one letter and begin with the
// characters that tools take for options or operators.
func (h Harness) alphabet(t *testing.T) {
	p := h.Open(t)
	name := h.name("alphabet")
	values := []string{
		"-" + strings.Repeat("a", 42), "_" + strings.Repeat("a", 42),
		strings.Repeat("a", 43), strings.Repeat("a", 42) + "A", "0" + strings.Repeat("9", 42),
		"ca.example; accounturi=https://ca.example/acct/1; persistUntil=1767225600", // dns-persist-01
	}
	var all []inkan.TXT
	for _, v := range values {
		all = append(all, inkan.TXT{Name: name, Value: v})
	}
	h.add(t, p, all...)
	h.want(t, name, values...)
	h.remove(t, p, all[2])
	h.want(t, name, slices.Delete(slices.Clone(values), 2, 3)...)
	h.remove(t, p, all...)
	h.want(t, name)
}

// longValue does not fit into one character-string (RFC 1035 section 3.3).
func (h Harness) longValue(t *testing.T) {
	p := h.Open(t)
	r := inkan.TXT{Name: h.name("long"), Value: "ca.example; accounturi=https://ca.example/" + strings.Repeat("a-Z_0", 60)}
	h.add(t, p, r)
	h.want(t, r.Name, r.Value)
	h.add(t, p, r)
	h.want(t, r.Name, r.Value)
	h.remove(t, p, r)
	h.want(t, r.Name)
}

// badValues: no challenge has them, so they are refused rather than quoted.
func (h Harness) badValues(t *testing.T) {
	p := h.Open(t)
	name := h.name("bad")
	for _, v := range []string{"", "a\nb", `a"b`, `a\b`, "a\x00b", "ä", strings.Repeat("x", 70_000)} { // B06
		err := p.AddTXT(t.Context(), h.Zone, []inkan.TXT{{Name: name, Value: value(12)}, {Name: name, Value: v}})
		if err == nil {
			t.Errorf("AddTXT of the value %.20q = nil; want an error", v)
		} else if len(err.Error()) > 2000 {
			t.Errorf("the error about the value %.20q has %d bytes", v, len(err.Error()))
		}
		h.want(t, name)
	}
}

func (h Harness) ttl(t *testing.T) {
	p := h.Open(t)
	given := inkan.TXT{Name: h.name("ttl"), Value: value(13), TTL: 600}
	none := inkan.TXT{Name: h.name("nottl"), Value: value(14)}
	h.add(t, p, given, none)
	h.want(t, given.Name, given.Value)
	h.want(t, none.Name, none.Value)
	if h.TTL != nil {
		if got := h.TTL(t, given.Name); got != given.TTL {
			t.Errorf("the TTL is %d; want %d", got, given.TTL)
		}
		if got := h.TTL(t, none.Name); got <= 0 {
			t.Errorf("the TTL of a record without one is %d; want the host's default", got)
		}
	}
	given.TTL = 0 // clean-up does not know it any more
	h.remove(t, p, given, none)
	h.want(t, given.Name)
	h.want(t, none.Name)
}

// concurrent: parallel orders share a name; each removes its own value only. At
// the second name nothing else stands, so that the RRset comes and goes.
func (h Harness) concurrent(t *testing.T) {
	name, bare := h.name("busy"), h.name("bare")
	p := h.Open(t)
	h.Foreign(t, name, "foreign")
	var wg sync.WaitGroup
	for order := range 8 {
		mine := p
		if h.Swap {
			mine = h.Open(t)
		}
		wg.Go(func() {
			for round := range 3 {
				n := 1000 + 10*order + round
				records := []inkan.TXT{
					{Name: name, Value: value(n)}, {Name: bare, Value: value(n)}, {Name: h.name(fmt.Sprintf("o%d.busy", order)), Value: value(n)},
				}
				if err := mine.AddTXT(t.Context(), h.Zone, records); err != nil {
					t.Errorf("AddTXT of order %d: %v", order, err)
				}
				for _, r := range records {
					if got := h.Values(t, r.Name); !slices.Contains(got, r.Value) {
						t.Errorf("order %d: its value at %s is gone; there are %q", order, r.Name, got)
					}
				}
				if err := mine.RemoveTXT(t.Context(), h.Zone, records); err != nil {
					t.Errorf("RemoveTXT of order %d: %v", order, err)
				}
			}
		})
	}
	wg.Wait()
	h.want(t, name, "foreign")
	h.want(t, bare)
}

func (h Harness) cancelled(t *testing.T) {
	p := h.Open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := inkan.TXT{Name: h.name("cancelled"), Value: value(15)}
	if err := p.AddTXT(ctx, h.Zone, []inkan.TXT{r}); !errors.Is(err, context.Canceled) {
		t.Errorf("AddTXT = %v; want context.Canceled", err)
	}
	h.remove(t, p, r) // whatever it did
	h.want(t, r.Name)
	h.add(t, p, r)
	if err := p.RemoveTXT(ctx, h.Zone, []inkan.TXT{r}); !errors.Is(err, context.Canceled) {
		t.Errorf("RemoveTXT = %v; want context.Canceled", err)
	}
	h.remove(t, p, r)
	h.want(t, r.Name)
}

// outsideZone: nothing of such a call is done.
func (h Harness) outsideZone(t *testing.T) {
	p := h.Open(t)
	good := inkan.TXT{Name: h.name("outside"), Value: value(16)}
	for _, name := range []string{
		"_acme-challenge.elsewhere.example.", "x" + h.Zone, ".", strings.TrimSuffix(h.Zone, "."), "_acme-challenge..." + h.Zone,
	} {
		records := []inkan.TXT{good, {Name: name, Value: value(17)}}
		for what, err := range map[string]error{
			"AddTXT":    p.AddTXT(t.Context(), h.Zone, records),
			"RemoveTXT": p.RemoveTXT(t.Context(), h.Zone, records),
		} {
			if !errors.Is(err, inkan.Operator) {
				t.Errorf("%s of %q in the zone %s = %v; want an error of kind operator", what, name, h.Zone, err)
			}
		}
		h.want(t, good.Name)
	}
}

func (h Harness) unknownZone(t *testing.T) {
	if h.AnyZone {
		t.Skip("the provider cannot know")
	}
	p := h.Open(t)
	const zone = "no-such-zone.example."
	err := p.AddTXT(t.Context(), zone, []inkan.TXT{{Name: "_acme-challenge." + zone, Value: value(18)}})
	switch {
	case !errors.Is(err, inkan.Operator):
		t.Errorf("AddTXT in the zone %s = %v; want an error of kind operator", zone, err)
	case !strings.Contains(err.Error(), strings.TrimSuffix(zone, ".")):
		t.Errorf("the error does not name the zone: %v", err)
	}
}

func (h Harness) add(t *testing.T, p inkan.DNSProvider, records ...inkan.TXT) {
	t.Helper()
	if err := p.AddTXT(t.Context(), h.Zone, records); err != nil {
		t.Fatalf("AddTXT: %v", err)
	}
	if w, ok := p.(inkan.DNSWaiter); ok {
		if err := w.Wait(t.Context(), h.Zone, records); err != nil {
			t.Fatalf("Wait: %v", err)
		}
	}
}

func (h Harness) remove(t *testing.T, p inkan.DNSProvider, records ...inkan.TXT) {
	t.Helper()
	if err := p.RemoveTXT(t.Context(), h.Zone, records); err != nil {
		t.Fatalf("RemoveTXT: %v", err)
	}
}

// want compares what stands at a name, in any order.
func (h Harness) want(t *testing.T, name string, values ...string) {
	t.Helper()
	got := slices.Sorted(slices.Values(h.Values(t, name)))
	values = slices.Sorted(slices.Values(values))
	if len(got) == 0 && len(values) == 0 {
		return
	}
	if diff := cmp.Diff(values, got); diff != "" {
		t.Fatalf("at %s (-want +got):\n%s", name, diff)
	}
}
