package acme

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/testca"
	"github.com/inkan-acme/inkan/plug"
)

func TestCapabilities(t *testing.T) {
	w, p := newProxied(t, testca.Options{EABRequired: true, Profiles: map[string]testca.Profile{"short": {Description: "6 days"}, "long": {Description: "90 days"}}})
	p.Add(testca.Rule{Path: testca.PathDirectory, Do: testca.EditJSON(func(doc map[string]any) {
		meta := doc["meta"].(map[string]any)
		meta["website"] = "https://ca.example/\x1b[31m"
		meta["caaIdentities"] = []any{"ca.example", 7, "other.example"}
		meta["auto-renewal"] = map[string]any{"min-lifetime": 86400}
		doc["newAuthz"] = "https://127.0.0.1/new-authz"
	})})
	p.Add(testca.Rule{Do: testca.EditHeader(func(h http.Header) {
		h.Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
	})})
	got, err := w.client.Capabilities(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !got.RenewalInfo || !got.KeyChange || !got.Revocation || !got.NewAuthz || !got.AutoRenewal || !got.EABRequired {
		t.Errorf("not all that it offers: %+v", got)
	}
	if fmt.Sprint(got.Profiles) != "[{long 90 days} {short 6 days}]" || len(got.CAA) != 3 || got.CAA[0] != "ca.example" || got.CAA[1] != "" {
		t.Errorf("profiles %v, CAA %q", got.Profiles, got.CAA)
	}
	if got.RoundTrip <= 0 || !got.ClockKnow || got.Clock.Round(time.Minute) != -time.Hour {
		t.Errorf("round trip %v, clock %v", got.RoundTrip, got.Clock)
	}
	if strings.Contains(got.Website, "\x1b") || got.Terms == "" {
		t.Errorf("website %q, terms %q", got.Website, got.Terms)
	}
	// It spends nothing and leaves nothing.
	for _, path := range []string{testca.PathNewAccount, testca.PathNewOrder} {
		if n := w.ca.Count(path); n != 0 {
			t.Errorf("%d requests to %s", n, path)
		}
	}
	if w.accounts.writes != 0 {
		t.Error("something was kept")
	}
}

// What is built in can be used, and each word about it has a source.
func TestKnownCAsAreSourced(t *testing.T) {
	seen := map[string]string{}
	for _, ca := range KnownCAs() {
		if other, twice := seen[ca.Directory]; twice {
			t.Errorf("%s has the directory of %s", ca.Name, other)
		}
		seen[ca.Directory] = ca.Name
		if CAName(ca.Directory) != ca.Name || ca.Title == "" {
			t.Errorf("%s: title %q, name by directory %s", ca.Name, ca.Title, CAName(ca.Directory))
		}
		if _, err := New(plug.Env{}, Config{Name: ca.Name}, &memAccounts{}); err != nil {
			t.Error(err)
		}
		sources := []string{ca.Source}
		for _, f := range ca.Facts {
			if f.About == "" || f.Text == "" || len(f.About) > 12 {
				t.Errorf("%s: %+v", ca.Name, f)
			}
			sources = append(sources, f.Source)
		}
		for _, s := range sources {
			if u, err := url.Parse(s); err != nil || u.Scheme != "https" {
				t.Errorf("%s: the source %q", ca.Name, s)
			}
		}
	}
	for _, name := range []string{"letsencrypt", "letsencrypt-staging", "google", "google-staging", "zerossl", "sslcom", "sslcom-rsa", "actalis", "sectigo"} {
		if _, ok := KnownCA(name); !ok {
			t.Errorf("%s is not built in", name)
		}
	}
}

// A CA whose orders come with valid authorizations (AWS Certificate Manager)
// needs an external account binding and no solver.
func TestPreauthorizedOrders(t *testing.T) {
	mac := bytes.Repeat([]byte{0xfb}, 32)
	o := testca.Options{AuthzReuse: 100, EABRequired: true, EABKeys: map[string]string{"kid-1": base64.RawURLEncoding.EncodeToString(mac)}}
	w := newWorld(t, o, nil, func(c *Config) {
		c.EABKeyID, c.EABKey = "kid-1", plug.NewSecret(base64.RawURLEncoding.EncodeToString(mac))
	})
	w.issue("a.example.com", "b.example.com") // validates the names once
	shown := w.solver.presented
	r, j := w.request("a.example.com", "b.example.com")
	r.Request.Validations, r.Solvers = nil, nil
	w.mustIssue(r, j)
	if w.solver.presented != shown || len(j.record().Challenges) != 0 {
		t.Error("a proof was shown")
	}
	// A name that is not validated there cannot be shown, and says so.
	r, _ = w.request("c.example.com")
	r.Request.Validations, r.Solvers = nil, nil
	_, err := w.client.Issue(t.Context(), r)
	wantError(t, err, inkan.Operator, "configured is nothing")
}

func TestAdopt(t *testing.T) {
	old := newWorld(t, testca.Options{}, nil)
	old.issue("a.example.com")
	rec := *old.accounts.rec
	key, err := inkan.KeyOpener(nil).Open(t.Context(), rec.Key, inkan.KeyUse{})
	if err != nil {
		t.Fatal(err)
	}
	fresh := func() (*Client, *memAccounts) {
		store := &memAccounts{}
		c, err := New(plug.Env{}, old.config, store)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c, store
	}
	c, store := fresh()
	info, err := c.Adopt(t.Context(), key, inkan.AccountRecord{TermsAgreed: "https://terms"})
	if err != nil || info.URL != rec.URL || info.TermsAgreed != "https://terms" || fmt.Sprint(info.Contacts) != "[ops@example.com]" {
		t.Fatalf("%+v, %v", info, err)
	}
	c.mustShow(t)
	if _, err := c.Adopt(t.Context(), key, inkan.AccountRecord{URL: rec.URL}); err != nil { // again
		t.Error(err)
	}
	other, err := inkan.GenerateKey(inkan.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Adopt(t.Context(), other, inkan.AccountRecord{})
	wantError(t, err, inkan.Operator, "there is another account of this name")
	if !store.rec.Key.Equal(rec.Key) {
		t.Error("the account was replaced")
	}
	c, store = fresh()
	_, err = c.Adopt(t.Context(), other, inkan.AccountRecord{})
	wantError(t, err, inkan.Operator, "knows no account of this key", "--ca")
	_, err = c.Adopt(t.Context(), key, inkan.AccountRecord{URL: rec.URL + "7"})
	wantError(t, err, inkan.Operator, "the key belongs to the account "+rec.URL)
	ed, err := inkan.GenerateKey(inkan.Ed25519)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Adopt(t.Context(), ed, inkan.AccountRecord{})
	wantError(t, err, inkan.Operator, "ed25519")
	if store.writes != 0 {
		t.Error("something was kept")
	}
}

func TestParseAccountKey(t *testing.T) {
	// The key of RFC 7517 appendix A.2, which is public.
	const jwk = `{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","d":"870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"}`
	key, err := ParseAccountKey([]byte(jwk))
	if err != nil {
		t.Fatal(err)
	}
	if kt, _ := key.Type(); kt != inkan.ECDSAP256 {
		t.Errorf("type %s", kt)
	}
	data, err := key.PEM()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := ParseAccountKey(data); err != nil || !samePublic(key, again) {
		t.Errorf("as PEM: %v", err)
	}
	for _, bad := range []string{
		"", "{}", "[]", "null", `"x"`, `{"kty":"oct","k":"c2VjcmV0c2VjcmV0"}`,
		strings.Replace(jwk, `,"d":"870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"`, "", 1),
		strings.Replace(jwk, "870MB6gf", "000000", 1), strings.Replace(jwk, "MKBCTN", "NKBCTN", 1),
	} {
		if _, err := ParseAccountKey([]byte(bad)); err == nil {
			t.Errorf("%s: no error", bad)
		} else if len(bad) > 20 && strings.Contains(err.Error(), bad[20:]) {
			t.Errorf("the input is shown: %v", err)
		}
	}
}
