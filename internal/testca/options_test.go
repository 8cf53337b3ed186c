package testca

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

func issueOne(t *testing.T, c *CA, f *Floor, name string) *x509.Certificate {
	t.Helper()
	r, err := c.Respond()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	chain, _, err := f.Issue(t.Context(), []string{name}, r.Show)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(chain)
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

func get(t *testing.T, client *http.Client, url string) (int, string) {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestRenewalInfoAndRevocation(t *testing.T) {
	c := Start(t, Options{Profiles: map[string]Profile{"short": {Description: "six days", ValidityPeriod: 6 * 24 * time.Hour}}})
	f := floor(t, c)
	leaf := issueOne(t, c, f, "a.example.test")
	if life := leaf.NotAfter.Sub(leaf.NotBefore); life > 6*24*time.Hour || life < 6*24*time.Hour-time.Minute {
		t.Errorf("lifetime %v, want the profile's 144h", life)
	}

	b64 := base64.RawURLEncoding.EncodeToString
	url := strings.TrimSuffix(c.DirectoryURL, PathDirectory) + PathRenewalInfo + b64(leaf.AuthorityKeyId) + "." + b64(leaf.SerialNumber.Bytes())
	if status, body := get(t, c.HTTPClient(), url); status != 200 || !strings.Contains(body, "suggestedWindow") {
		t.Errorf("renewal info: %d %s", status, body)
	}
	if err := c.SetRenewalInfo(leaf, "not JSON"); err != nil {
		t.Fatal(err)
	}
	if status, body := get(t, c.HTTPClient(), url); status != 200 || body != "not JSON" {
		t.Errorf("renewal info after SetRenewalInfo: %d %s", status, body)
	}

	if _, revoked := c.Revoked(leaf.SerialNumber); revoked {
		t.Error("revoked before it was revoked")
	}
	payload, err := json.Marshal(map[string]any{"certificate": b64(leaf.Raw), "reason": 4})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.post(t.Context(), strings.TrimSuffix(c.DirectoryURL, PathDirectory)+PathRevoke, payload); err != nil {
		t.Fatal(err)
	}
	if reason, revoked := c.Revoked(leaf.SerialNumber); !revoked || reason != 4 {
		t.Errorf("revoked %v for reason %d, want true for 4", revoked, reason)
	}
}

func TestNonceReject(t *testing.T) {
	c := Start(t, Options{NonceReject: 99})
	_, err := NewFloor(t.Context(), c.HTTPClient(), c.DirectoryURL)
	for range 20 { // one in a hundred passes
		if err != nil {
			break
		}
		_, err = NewFloor(t.Context(), c.HTTPClient(), c.DirectoryURL)
	}
	if err == nil || !strings.Contains(err.Error(), "badNonce") {
		t.Errorf("no nonce was rejected: %v", err)
	}
	if v, ok := os.LookupEnv("PEBBLE_WFE_NONCEREJECT"); ok {
		t.Errorf("left PEBBLE_WFE_NONCEREJECT=%s in the environment", v)
	}
}

func TestEABAndBlocklist(t *testing.T) {
	mac := []byte("0123456789abcdef0123456789abcdef")
	c := Start(t, Options{
		EABRequired:     true,
		EABKeys:         map[string]string{"kid-1": base64.RawURLEncoding.EncodeToString(mac)},
		DomainBlocklist: []string{"blocked.example.test"},
	})
	if _, err := NewFloor(t.Context(), c.HTTPClient(), c.DirectoryURL); err == nil || !strings.Contains(err.Error(), "externalAccountRequired") {
		t.Fatalf("account without binding: %v", err)
	}
	_, _, err := boundFloor(t, c, "kid-1", mac).Issue(t.Context(), []string{"www.blocked.example.test"}, nil)
	if err == nil || !strings.Contains(err.Error(), "rejectedIdentifier") {
		t.Errorf("blocked name: %v", err)
	}
}

// boundFloor registers with an external account binding (RFC 8555 section
// 7.3.4).
func boundFloor(t *testing.T, c *CA, kid string, mac []byte) *Floor {
	t.Helper()
	f, err := newFloor(t.Context(), c.HTTPClient(), c.DirectoryURL)
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := (&jose.JSONWebKey{Key: f.key.Public()}).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	protected, err := json.Marshal(map[string]string{"alg": "HS256", "kid": kid, "url": f.dir.NewAccount})
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	h := hmac.New(sha256.New, mac)
	io.WriteString(h, b64(protected)+"."+b64(jwk))
	payload, err := json.Marshal(map[string]any{
		"termsOfServiceAgreed":   true,
		"externalAccountBinding": map[string]string{"protected": b64(protected), "payload": b64(jwk), "signature": b64(h.Sum(nil))},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.register(t.Context(), payload); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestMiddlewareAndRecord(t *testing.T) {
	c := Start(t, Options{Middleware: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/teapot":
				w.WriteHeader(http.StatusTeapot)
			case "/abort":
				panic(http.ErrAbortHandler)
			default:
				next.ServeHTTP(w, r)
			}
		})
	}})
	base := strings.TrimSuffix(c.DirectoryURL, PathDirectory)
	client := c.HTTPClient()
	get(t, client, base+"/teapot")
	if _, err := client.Get(base + "/abort"); err == nil {
		t.Error("aborted request was answered")
	}
	get(t, client, c.DirectoryURL)
	got := c.Requests()
	for i := range got {
		if got[i].Time.IsZero() {
			t.Errorf("request %d has no time", i)
		}
		got[i].Time = time.Time{}
	}
	want := []Request{{Method: "GET", Path: "/teapot", Status: 418}, {Method: "GET", Path: "/abort"}, {Method: "GET", Path: "/dir", Status: 200}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("record (-want +got):\n%s", diff)
	}
}

// TestLatency checks the model: three round trips for a first request over
// TLS 1.3 (TCP, TLS, HTTP), one for the next, and no queueing.
func TestLatency(t *testing.T) {
	const rtt = 40 * time.Millisecond
	c := Start(t, Options{Latency: rtt})
	client := c.HTTPClient()
	timed := func(f func()) time.Duration {
		start := time.Now()
		f()
		return time.Since(start)
	}
	request := func() { get(t, client, c.DirectoryURL) }
	if d := timed(request); d < 3*rtt {
		t.Errorf("first request took %v, less than three round trips", d)
	}
	if d := timed(request); d < rtt || d > 3*rtt {
		t.Errorf("second request took %v, want about one round trip", d)
	}
	const parallel = 20
	d := timed(func() {
		var all sync.WaitGroup
		for range parallel {
			all.Go(func() {
				if resp, err := client.Get(c.DirectoryURL); err == nil {
					resp.Body.Close()
				}
			})
		}
		all.Wait()
	})
	if d > parallel*rtt/2 {
		t.Errorf("%d requests at once took %v: they queue", parallel, d)
	}
	if c.Connections() != 1 {
		t.Errorf("%d connections, want 1", c.Connections())
	}
}

func TestLatencyIssue(t *testing.T) {
	c := Start(t, Options{Latency: 10 * time.Millisecond})
	issueOne(t, c, floor(t, c), "a.example.test")
}

func TestRetryAfter(t *testing.T) {
	c := Start(t, Options{RetryAfterOrder: 5, AlwaysValid: true})
	var seen []string
	f := floor(t, c)
	f.client.Transport = roundTripper(func(rt http.RoundTripper, req *http.Request) (*http.Response, error) {
		resp, err := rt.RoundTrip(req)
		if err == nil && strings.HasPrefix(req.URL.Path, PathFinalize) {
			seen = append(seen, resp.Header.Get("Retry-After"))
		}
		return resp, err
	}).over(f.client.Transport)
	if _, _, err := f.Issue(t.Context(), []string{"a.example.test"}, func(string, string) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 1 || seen[0] == "" {
		t.Errorf("Retry-After on finalize: %q", seen)
	}
}

type roundTripper func(http.RoundTripper, *http.Request) (*http.Response, error)

func (f roundTripper) over(rt http.RoundTripper) http.RoundTripper { return over{f, rt} }

type over struct {
	f  roundTripper
	rt http.RoundTripper
}

func (o over) RoundTrip(req *http.Request) (*http.Response, error) { return o.f(o.rt, req) }

func TestDNS(t *testing.T) {
	d, err := newDNS()
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	long := strings.Repeat("x", 300)
	d.AddTXT("_acme-challenge.Example.test.", "one")
	d.AddTXT("_acme-challenge.example.test", long)
	d.SetAddrs("six.example.test", net.ParseIP("::1"))
	d.SetAddrs("none.example.test")
	d.SetRcode("broken.example.test", dns.RcodeServerFailure)

	ask := func(network, name string, qtype uint16) (rcode int, out []string) {
		q := new(dns.Msg)
		q.SetQuestion(dns.Fqdn(name), qtype)
		r, _, err := (&dns.Client{Net: network}).Exchange(q, d.addr)
		if err != nil {
			t.Fatal(err)
		}
		for _, rr := range r.Answer {
			switch rr := rr.(type) {
			case *dns.A:
				out = append(out, rr.A.String())
			case *dns.AAAA:
				out = append(out, rr.AAAA.String())
			case *dns.TXT:
				out = append(out, strings.Join(rr.Txt, ""))
			}
		}
		return r.Rcode, out
	}
	for _, tc := range []struct {
		name  string
		qtype uint16
		rcode int
		want  []string
	}{
		{"any.example.test", dns.TypeA, dns.RcodeSuccess, []string{"127.0.0.1"}},
		{"any.example.test", dns.TypeAAAA, dns.RcodeSuccess, nil},
		{"any.example.test", dns.TypeCAA, dns.RcodeSuccess, nil},
		{"six.example.test", dns.TypeA, dns.RcodeSuccess, nil},
		{"six.example.test", dns.TypeAAAA, dns.RcodeSuccess, []string{"::1"}},
		{"none.example.test", dns.TypeA, dns.RcodeSuccess, nil},
		{"broken.example.test", dns.TypeA, dns.RcodeServerFailure, nil},
		{"_ACME-challenge.example.test", dns.TypeTXT, dns.RcodeSuccess, []string{"one", long}},
	} {
		for _, network := range []string{"udp", "tcp"} {
			rcode, got := ask(network, tc.name, tc.qtype)
			if diff := cmp.Diff(tc.want, got); rcode != tc.rcode || diff != "" {
				t.Errorf("%s %s %s: %s (-want +got):\n%s", network, tc.name, dns.TypeToString[tc.qtype], dns.RcodeToString[rcode], diff)
			}
		}
	}
	d.RemoveTXT("_acme-challenge.example.test", "one")
	if diff := cmp.Diff([]string{long}, d.TXT("_acme-challenge.example.test")); diff != "" {
		t.Errorf("after removing one value (-want +got):\n%s", diff)
	}
}

func TestCloseTwice(t *testing.T) {
	c, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	get(t, c.HTTPClient(), c.DirectoryURL)
	for range 2 {
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	if _, err := New(Options{KeyAlgorithm: "dsa"}); err == nil {
		t.Error("unknown key algorithm accepted")
	}
}
