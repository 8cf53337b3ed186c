package dnspersist

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const account = "https://ca.example/acct/1"

func TestValue(t *testing.T) {
	until := time.Unix(1_800_000_000, 0).UTC()
	for want, r := range map[string]Record{
		"ca.example; accounturi=" + account:                                                {Issuer: "ca.example", Account: account},
		"ca.example; accounturi=" + account + "; policy=wildcard":                          {Issuer: "ca.example", Account: account, Wildcard: true},
		"ca.example; accounturi=" + account + "; persistUntil=1800000000":                  {Issuer: "ca.example", Account: account, Until: until},
		"ca.example; accounturi=" + account + "; policy=wildcard; persistUntil=1800000000": {Issuer: "ca.example", Account: account, Wildcard: true, Until: until},
	} {
		if got := Current().Value(r); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		back, err := Current().Parse(want)
		if err != nil || !cmp.Equal(back, r) {
			t.Errorf("%q read as %+v: %v", want, back, err)
		}
	}
}

func TestParse(t *testing.T) {
	for value, want := range map[string]Record{
		" CA.example. ;accounturi = " + account + " ; Policy=WILDCARD;future=1;": {Issuer: "ca.example", Account: account, Wildcard: true},
		"ca.example;accounturi=" + account + ";policy=other":                     {Issuer: "ca.example", Account: account},
		"ca.example;accounturi=https://ca.example/a=b":                           {Issuer: "ca.example", Account: "https://ca.example/a=b"},
	} {
		if got, err := Current().Parse(value); err != nil || !cmp.Equal(got, want) {
			t.Errorf("%q: %+v, %v", value, got, err)
		}
	}
	for _, value := range []string{
		"", ";", "; accounturi=x", "ca.example", "ca.example; accounturi", "ca.example; accounturi=", "v=spf1 -all",
		"ca.example; accounturi=a; accounturi=b", "ca.example; accounturi=a; persistUntil=soon", "ca.example; accounturi=a; persistUntil=-1",
		"ca.example..; accounturi=a", "\u212Aa.example; accounturi=a", "ca.example; accounturi=\xff", "ca.example; accounturi=a\nb",
		"ca.example; accounturi=a; =b", "ca.example; accounturi=" + strings.Repeat("a", 64<<10),
	} {
		if got, err := Current().Parse(value); err == nil {
			t.Errorf("%.80q was read as %.200v", value, got)
		}
	}
}

func TestAllows(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	r := Record{Issuer: "ca.example", Account: account, Until: now}
	if err := r.Allows(account, false, now); err != nil {
		t.Error(err)
	}
	for word, err := range map[string]error{
		"another account": r.Allows(account+"2", false, now),
		"policy=wildcard": r.Allows(account, true, now),
		"ran out":         r.Allows(account, false, now.Add(time.Second)),
	} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%v, want %s", err, word)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("ca.example; accounturi=https://ca.example/acct/1; policy=wildcard; persistUntil=1800000000")
	f.Add("v=spf1 -all")
	f.Add("a;accounturi==;policy")
	f.Fuzz(func(t *testing.T, value string) {
		r, err := Current().Parse(value)
		if err != nil || len(value) > maxValue-3 { // three parameters get a space each
			return
		}
		// What was read once is read alike when it is written again.
		again, err := Current().Parse(Current().Value(r))
		if err != nil || !cmp.Equal(again, r) {
			t.Errorf("%q: %+v, then %+v: %v", value, r, again, err)
		}
	})
}
