package acme

import (
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/testca"
)

// The example of RFC 9773 section 4.1.
func TestCertID(t *testing.T) {
	aki, _ := hex.DecodeString("69885b6b87467041e1b37b847bd0ae2cde01c8d4")
	id, err := CertID(&x509.Certificate{AuthorityKeyId: aki, SerialNumber: big.NewInt(0x87654321)})
	if want := "aYhba4dGcEHhs3uEe9CuLN4ByNQ.AIdlQyE"; id != want || err != nil {
		t.Errorf("%s (%v), want %s", id, err, want)
	}
	for _, leaf := range []*x509.Certificate{{SerialNumber: big.NewInt(1)}, {AuthorityKeyId: aki}, {AuthorityKeyId: aki, SerialNumber: big.NewInt(-5)}} {
		if _, err := CertID(leaf); err == nil {
			t.Errorf("an id for %+v", leaf.SerialNumber)
		}
	}
}

func TestRenewalInfo(t *testing.T) {
	w := newWorld(t, testca.Options{}, nil)
	leaf := w.issue("a.example.com")
	requests := len(w.ca.Requests())
	w.client = w.newClient()
	info, err := w.client.RenewalInfo(t.Context(), leaf)
	if err != nil {
		t.Fatal(err)
	}
	if !info.Start.Before(info.End) || info.End.After(leaf.NotAfter) {
		t.Errorf("window %s to %s", info.Start, info.End)
	}
	if d := time.Until(info.RetryAfter); d < 5*time.Hour || d > 7*time.Hour {
		t.Errorf("again in %s", d)
	}
	if n := len(w.ca.Requests()) - requests; n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

// A12: what makes no sense is an error; what only looks odd is the caller's.
func TestA12RenewalInfoGarbage(t *testing.T) {
	w := newWorld(t, testca.Options{}, nil)
	leaf := w.issue("a.example.com")
	for _, body := range []string{"", "garbage", "{}", `{"suggestedWindow":{}}`, `{"suggestedWindow":{"start":"2026-01-02T00:00:00Z","end":"2026-01-01T00:00:00Z"}}`,
		`{"suggestedWindow":{"start":"2026-01-02T00:00:00Z","end":"2026-01-02T00:00:00Z"}}`, `{"suggestedWindow":{"start":7}}`} {
		if body == "" {
			body = " "
		}
		if err := w.ca.SetRenewalInfo(leaf, body); err != nil {
			t.Fatal(err)
		}
		_, err := w.client.RenewalInfo(t.Context(), leaf)
		wantError(t, err, inkan.Temporary, "renewal information at 127.0.0.1:")
	}
	if err := w.ca.SetRenewalInfo(leaf, `{"suggestedWindow":{"start":"2016-01-01T00:00:00Z","end":"2036-01-02T00:00:00Z"},"explanationURL":"javascript:alert(1)"}`); err != nil {
		t.Fatal(err)
	}
	info, err := w.client.RenewalInfo(t.Context(), leaf)
	if err != nil || info.Start.Year() != 2016 || info.ExplanationURL != "" {
		t.Errorf("%+v, %v", info, err)
	}
}

// A13: every Retry-After is told as it is; garbage counts as absent.
func TestA13RenewalInfoRetryAfter(t *testing.T) {
	header := ""
	w := newWorld(t, testca.Options{}, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if !strings.HasPrefix(r.URL.Path, testca.PathRenewalInfo) {
			next.ServeHTTP(w, r)
			return
		}
		if header != "" {
			w.Header().Set("Retry-After", header)
		}
		fmt.Fprint(w, `{"suggestedWindow":{"start":"2026-01-01T00:00:00Z","end":"2026-01-02T00:00:00Z"}}`)
	})
	leaf := w.issue("a.example.com")
	for value, want := range map[string]time.Duration{"0": 0, "1": time.Second, "2592000": 30 * 24 * time.Hour} {
		header = value
		info, err := w.client.RenewalInfo(t.Context(), leaf)
		if err != nil {
			t.Fatal(err)
		}
		if d := time.Until(info.RetryAfter); d > want || d < want-10*time.Second {
			t.Errorf("Retry-After %s: again in %s", value, d)
		}
	}
	for _, value := range []string{"", "soon", "-5"} {
		header = value
		info, err := w.client.RenewalInfo(t.Context(), leaf)
		if err != nil || !info.RetryAfter.IsZero() {
			t.Errorf("Retry-After %q: %v, %v", value, info, err)
		}
	}
}

func TestRenewalInfoUnsupported(t *testing.T) {
	w := newWorld(t, testca.Options{}, rewrite(testca.PathDirectory, func(doc map[string]any) { delete(doc, "renewalInfo") }))
	leaf := w.issue("a.example.com")
	_, err := w.client.RenewalInfo(t.Context(), leaf)
	wantError(t, err, inkan.Rejected)
	if !errors.Is(err, errors.ErrUnsupported) {
		t.Error("not ErrUnsupported")
	}
}

// replacing renews a certificate by ARI and returns what the journal says.
func (w *world) replacing(leaf *x509.Certificate) inkan.OrderRecord {
	w.t.Helper()
	r, j := w.request("a.example.com")
	r.Replaces = leaf
	w.mustIssue(r, j)
	return j.record()
}

// replaceable returns a world with a certificate that Pebble lets be replaced.
// It answers 500 to replaces if the serial number of 64 bits begins with a zero
// byte.
func replaceable(t *testing.T, edit ...func(*Config)) (*world, *x509.Certificate) {
	t.Helper()
	for {
		w := newWorld(t, testca.Options{}, nil, edit...)
		if leaf := w.issue("a.example.com"); leaf.SerialNumber.BitLen() > 56 {
			return w, leaf
		}
	}
}

func TestReplaces(t *testing.T) {
	w, leaf := replaceable(t, func(c *Config) { c.Name = "letsencrypt" })
	orders := w.limiter.held("/orders")
	rec := w.replacing(leaf)
	if id, _ := CertID(leaf); rec.Replaces != id {
		t.Errorf("replaces %q", rec.Replaces)
	}
	if w.limiter.held("/orders") != orders || w.limiter.held("/set/") != 1 {
		t.Errorf("an exempt order took tokens: %v", w.limiter.taken)
	}
}

// A14, A15: whatever is wrong with `replaces`, there is exactly one more try
// without it, and that one counts.
func TestA14ReplacesRefused(t *testing.T) {
	for name, refuse := range map[string]http.HandlerFunc{
		"A14 already replaced": func(w http.ResponseWriter, _ *http.Request) { problem(w, 409, alreadyReplaced, "already replaced") },
		"A15 malformed":        func(w http.ResponseWriter, _ *http.Request) { problem(w, 400, malformed, "parsing ARI CertID failed") },
		"A15 unauthorized":     func(w http.ResponseWriter, _ *http.Request) { problem(w, 403, unauthorized, "other account") },
		"A15 not found":        func(w http.ResponseWriter, _ *http.Request) { problem(w, 404, malformed, "no such certificate") },
		"A15 server error": func(w http.ResponseWriter, _ *http.Request) {
			problem(w, 500, serverInternal, "could not find an order")
		},
	} {
		t.Run(name, func(t *testing.T) {
			refused := 0
			w := newWorld(t, testca.Options{}, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				if r.URL.Path == testca.PathNewOrder && strings.Contains(payloadOf(r), "replaces") {
					refused++
					refuse(w, r)
					return
				}
				next.ServeHTTP(w, r)
			}, func(c *Config) { c.Name = "letsencrypt" })
			leaf := w.issue("a.example.com")
			rec := w.replacing(leaf)
			if refused != 1 || rec.Replaces != "" || w.ca.Orders() != 2 {
				t.Errorf("%d refusals, %d orders, replaces %q", refused, w.ca.Orders(), rec.Replaces)
			}
			// The same names again: only the limit on exactly these names counts.
			if w.limiter.held("/set/") != 2 || w.limiter.held("/orders") != 1 || w.limiter.held("/domain/") != 1 {
				t.Errorf("tokens: %v", w.limiter.taken)
			}
		})
	}
}

// A14, A15 with the answers of Pebble itself.
func TestA15ReplacesAtPebble(t *testing.T) {
	w, leaf := replaceable(t)
	if rec := w.replacing(leaf); rec.Replaces == "" {
		t.Error("the first replacement went without replaces")
	}
	if rec := w.replacing(leaf); rec.Replaces != "" { // 409 alreadyReplaced
		t.Error("replaced twice")
	}
	foreign := *leaf
	foreign.SerialNumber = big.NewInt(77) // 500
	if rec := w.replacing(&foreign); rec.Replaces != "" {
		t.Error("replaced a certificate that the CA does not know")
	}
}

// A rate limit is not the fault of `replaces`.
func TestA14RateLimitIsNotRetried(t *testing.T) {
	w := newWorld(t, testca.Options{}, nil)
	leaf := w.issue("a.example.com")
	limited := newWorld(t, testca.Options{}, on(testca.PathNewOrder, 1, func(w http.ResponseWriter, _ *http.Request) {
		problem(w, 429, rateLimited, "slow down")
	}))
	r, _ := limited.request("a.example.com")
	r.Replaces = leaf
	_, err := limited.client.Issue(t.Context(), r)
	wantError(t, err, inkan.RateLimited, "slow down")
	if n := limited.ca.Count(testca.PathNewOrder); n != 1 {
		t.Errorf("%d newOrder requests, want 1", n)
	}
}

func TestRevoke(t *testing.T) {
	w := newWorld(t, testca.Options{}, nil)
	for _, byKey := range []bool{false, true} {
		r, j := w.request("a.example.com")
		leaf := w.mustIssue(r, j)
		var key *inkan.PrivateKey
		c := w.client
		if byKey {
			var err error
			if key, err = inkan.KeyOpener(nil).Open(t.Context(), j.record().Key, inkan.KeyUse{}); err != nil {
				t.Fatal(err)
			}
			var clientErr error
			if c, clientErr = New(w.env, w.config, &memAccounts{}); clientErr != nil { // no account is needed
				t.Fatal(clientErr)
			}
			defer c.Close()
		}
		for range 2 { // the second time it is revoked already
			if err := c.Revoke(t.Context(), leaf, inkan.Superseded, key); err != nil {
				t.Fatal(err)
			}
		}
		if reason, revoked := w.ca.Revoked(leaf.SerialNumber); !revoked || reason != int(inkan.Superseded) {
			t.Errorf("by key %v: revoked %v, reason %d", byKey, revoked, reason)
		}
	}
	leaf := w.issue("b.example.com")
	wantError(t, w.client.Revoke(t.Context(), leaf, 6, nil), inkan.Operator, "reason 6")
	other, _ := inkan.GenerateKey(inkan.ECDSAP256)
	if err := w.client.Revoke(t.Context(), leaf, inkan.KeyCompromise, other); err == nil {
		t.Error("another key revoked the certificate")
	}
}
