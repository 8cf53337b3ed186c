package dns_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/dns"
	"github.com/inkan-acme/inkan/plug"
)

// An access token is asked for once, again before it expires, and again after
// the host has refused it.
func TestTokensAreKept(t *testing.T) {
	var logins atomic.Int64
	var stale atomic.Bool
	skin := conoHaSkin(new(table))
	h := hostTest{auth: anyone, skin: func(*table) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v3/auth/tokens" {
				logins.Add(1)
			} else if stale.Load() {
				refuse(w, 401, j{"message": "expired"})
				return
			}
			skin.ServeHTTP(w, r)
		})
	}}
	s := h.serve(t, nil)
	now := time.Now()
	p, err := dns.ConoHa(plug.Env{HTTP: s.Client(), Now: func() time.Time { return now }},
		dns.ConoHaConfig{Tenant: "tenant", User: "user", Password: secret(), Endpoint: s.URL, Identity: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	add := func() error {
		return p.AddTXT(t.Context(), fakeZone+".", []inkan.TXT{{Name: "_acme-challenge." + fakeZone + ".", Value: "v"}})
	}
	for _, step := range []struct {
		before func()
		fails  bool
		logins int64
	}{
		{func() {}, false, 1},
		{func() {}, false, 1},
		{func() { now = now.Add(23*time.Hour + 59*time.Minute) }, false, 2},
		{func() { stale.Store(true) }, true, 2},
		{func() { stale.Store(false) }, false, 3},
	} {
		step.before()
		if err := add(); (err != nil) != step.fails {
			t.Fatal(err)
		}
		if got := logins.Load(); got != step.logins {
			t.Fatalf("%d logins; want %d", got, step.logins)
		}
	}
}

// acme-dns keeps two values at a subdomain and cannot remove, so the suite is
// not for it.
func TestACMEDNS(t *testing.T) {
	tab := new(table)
	h := hostTest{auth: anyone, skin: func(t *table) http.Handler {
		mux := http.NewServeMux()
		mux.HandleFunc("POST /update", func(w http.ResponseWriter, r *http.Request) {
			var in struct{ Subdomain, TXT string }
			if r.Header.Get("X-Api-User") != "user" || r.Header.Get("X-Api-Key") != theToken {
				refuse(w, 401, j{"error": "forbidden"})
				return
			}
			if !body(w, r, &in) {
				return
			}
			if len(in.TXT) != 43 {
				refuse(w, 400, j{"error": "bad_txt"})
				return
			}
			name := in.Subdomain + "." + fakeZone + "."
			if rows := t.at(name); len(rows) == 2 {
				t.remove(rows[0].id)
			}
			t.add(name, in.TXT, 1)
			reply(w, 200, j{"txt": in.TXT})
		})
		return mux
	}}
	s := h.serve(t, tab)
	p, err := dns.ACMEDNS(plug.Env{HTTP: s.Client()}, dns.ACMEDNSConfig{Endpoint: s.URL, Accounts: []dns.ACMEDNSAccount{
		{Subdomain: "8e5700ea-a4bf-41c7-8a77-e990661dcc6a", Username: plug.NewSecret("user"), Password: secret()},
		{Subdomain: "wrong", Username: plug.NewSecret("user"), Password: plug.NewSecret("other-password")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	name := "8e5700ea-a4bf-41c7-8a77-e990661dcc6a." + fakeZone + "."
	value := func(n int) string { return fmt.Sprintf("-_AZ%039d", n) }
	txt := func(name string, ns ...int) (list []inkan.TXT) {
		for _, n := range ns {
			list = append(list, inkan.TXT{Name: name, Value: value(n)})
		}
		return list
	}
	for _, ns := range [][]int{{1}, {2, 3}, {2, 3}, {4, 5}} {
		if err := p.AddTXT(t.Context(), fakeZone+".", txt(name, ns...)); err != nil {
			t.Fatal(err)
		}
		for _, n := range ns {
			if got := tab.values(name); !slices.Contains(got, value(n)) {
				t.Fatalf("after adding %v there are %q", ns, got)
			}
		}
		if err := p.RemoveTXT(t.Context(), fakeZone+".", txt(name, ns...)); err != nil {
			t.Fatal(err)
		}
	}
	for what, list := range map[string][]inkan.TXT{
		"three values":  txt(name, 1, 2, 3),
		"no account":    txt("other."+fakeZone+".", 1),
		"wrong account": txt("wrong."+fakeZone+".", 1),
		"not dns-01":    {{Name: name, Value: "ca.example; accounturi=https://ca.example/1"}},
		"outside":       txt(name+"example.", 1),
	} {
		err := p.AddTXT(t.Context(), fakeZone+".", list)
		if !errors.Is(err, inkan.Operator) {
			t.Errorf("%s: %v; want an error of kind operator", what, err)
		}
		if err != nil && strings.Contains(err.Error(), "other-password") {
			t.Errorf("%s: the error tells a secret: %v", what, err)
		}
	}
}

// The URL that OVH's signature covers is the one that is sent.
func TestURLsAreEscaped(t *testing.T) {
	var got []string
	h := hostTest{auth: anyone, skin: func(*table) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got = append(got, r.URL.EscapedPath())
			reply(w, 200, j{})
		})
	}}
	s := h.serve(t, nil)
	p, err := dns.PowerDNS(plug.Env{HTTP: s.Client()}, dns.PowerDNSConfig{Key: secret(), Endpoint: s.URL + "/a%2Fb/", Server: "../x y"})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.RemoveTXT(t.Context(), fakeZone+".", []inkan.TXT{{Name: fakeZone + ".", Value: "v"}}); err != nil {
		t.Fatal(err)
	}
	want := "/a%2Fb/api/v1/servers/" + url.PathEscape("../x y") + "/zones/" + fakeZone + "."
	if len(got) != 1 || got[0] != want {
		t.Errorf("asked for %q; want %q", got, want)
	}
}
