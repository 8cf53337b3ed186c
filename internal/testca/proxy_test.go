package testca

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// proxied is a plain handler behind rules, over a real connection.
func proxied(t *testing.T, handler http.HandlerFunc, rules ...Rule) (*httptest.Server, *Proxy) {
	t.Helper()
	p := NewProxy(1, rules...)
	server := httptest.NewUnstartedServer(p.Wrap(handler))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	return server, p
}

func TestProxyChoosesRequests(t *testing.T) {
	refuse := Answer(503, "", "")
	ask := func(server *httptest.Server, method, path, payload string) int {
		t.Helper()
		body := `{"protected":"e30","payload":"` + payload + `"}`
		req, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	ok := func(http.ResponseWriter, *http.Request) {}
	const replaces = "eyJyZXBsYWNlcyI6ImEuYiJ9" // {"replaces":"a.b"}
	server, p := proxied(t, ok, Rule{Method: "POST", Path: "/order", From: 2, To: 3, Do: refuse}, Rule{Payload: `"replaces"`, Do: Answer(409, "", "")})
	for _, step := range []struct {
		method, path, payload string
		want                  int
	}{
		{"POST", "/order", "", 200}, {"GET", "/order", "", 200}, {"POST", "/order/7", "", 503}, {"POST", "/other", "", 200},
		{"POST", "/order", "", 503}, {"POST", "/order", "", 200}, {"POST", "/other", replaces, 409},
	} {
		if got := ask(server, step.method, step.path, step.payload); got != step.want {
			t.Errorf("%s %s: %d, want %d", step.method, step.path, got, step.want)
		}
	}
	end := p.Outage(refuse)
	if got := ask(server, "GET", "/", ""); got != 503 {
		t.Errorf("during an outage: %d", got)
	}
	end()
	past := p.Add(Rule{End: time.Now().Add(-time.Minute), Do: refuse})
	future := p.Add(Rule{Begin: time.Now().Add(time.Hour), Do: refuse})
	half := p.Add(Rule{Path: "/half", Probability: 0.5, Do: refuse})
	for range 400 {
		ask(server, "GET", "/half", "")
	}
	if past.Hits() != 0 || future.Hits() != 0 || half.Hits() < 150 || half.Hits() > 250 {
		t.Errorf("hits: %d, %d, %d of 400", past.Hits(), future.Hits(), half.Hits())
	}
	select {
	case <-half.First():
	default:
		t.Error("the rule has hit, but says nothing")
	}
}

func TestFaults(t *testing.T) {
	var seen int
	handler := func(w http.ResponseWriter, r *http.Request) {
		seen++
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Replay-Nonce", "abc")
		w.Header().Set("Location", "https://ca.example/x")
		w.WriteHeader(201)
		_, _ = w.Write([]byte(`{"url":"https://ca.example/y","sent":"` + string(body) + `"}`))
	}
	const whole = `{"url":"https://ca.example/y","sent":"hello"}`
	for _, tt := range []struct {
		name   string
		do     Fault
		status int    // 0: no answer
		body   string // of an answer
		seen   int    // requests that the CA saw
		broken bool   // the body ends in an error
	}{
		{"problem", Problem(403, "caa", "no"), 403, `{"detail":"no","status":403,"type":"urn:ietf:params:acme:error:caa"}`, 0, false},
		{"rate limited", RateLimited("slow", "7"), 429, `{"detail":"slow","status":429,"type":"urn:ietf:params:acme:error:rateLimited"}`, 0, false},
		{"redirect", Redirect(302, "/z"), 302, "", 0, false},
		{"drop before", DropBefore(), 0, "", 0, false},
		{"drop after", DropAfter(), 0, "", 1, false},
		{"stall before", StallBefore(), 0, "", 0, false},
		{"stall after", StallAfter(), 0, "", 1, false},
		{"stall body", StallBody(5), 201, whole[:5], 1, true},
		{"truncate", Truncate(5), 201, whole[:5], 1, true},
		{"replay", Replay(false, nil), 201, whole, 2, false},
		{"replay, second answer", Replay(true, nil), 201, whole, 2, false},
		{"oversize", Oversize(100<<10, 0), 200, strings.Repeat("x", 128<<10), 0, false},
		{"plain http", PlainHTTP(), 201, strings.Replace(whole, "https", "http", 1), 1, false},
		{"JSON", EditJSON(func(doc map[string]any) { doc["sent"] = 1 }), 201, `{"sent":1,"url":"https://ca.example/y"}`, 1, false},
		{"delay", Delay(time.Millisecond), 201, whole, 1, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			seen = 0
			server, _ := proxied(t, handler, Rule{Do: tt.do})
			client := server.Client()
			client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			if strings.HasPrefix(tt.name, "stall") {
				ctx, cancel = context.WithTimeout(t.Context(), 150*time.Millisecond)
			}
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, "POST", server.URL, strings.NewReader("hello"))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client.Do(req)
			if tt.status == 0 {
				if err == nil {
					t.Fatalf("answered: %s", resp.Status)
				}
			} else {
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if resp.StatusCode != tt.status || string(body) != tt.body || (err != nil) != tt.broken {
					t.Errorf("%d %.200q, %v", resp.StatusCode, body, err)
				}
				switch tt.name {
				case "rate limited":
					if resp.Header.Get("Retry-After") != "7" {
						t.Error("no Retry-After")
					}
				case "plain http":
					if resp.Header.Get("Location") != "http://ca.example/x" {
						t.Error("the Location kept its https")
					}
				}
			}
			server.Close() // waits for the handlers: what stalls has ended with its client
			if seen != tt.seen {
				t.Errorf("the CA saw %d requests, want %d", seen, tt.seen)
			}
		})
	}
	server, _ := proxied(t, handler, Rule{Do: NoNonce()})
	resp, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.Header.Get("Replay-Nonce") != "" {
		t.Error("the nonce was passed on")
	}
}

// Each kind of wrong certificate is wrong in its own way and no other.
func TestWrongCertificates(t *testing.T) {
	p := NewProxy(1)
	c := Start(t, Options{AlwaysValid: true, Middleware: p.Wrap})
	f := floor(t, c)
	for _, kind := range WrongKinds() {
		rule := p.Add(Rule{Path: PathCertificate, Do: WrongCertificate(kind)})
		chain, key, err := f.Issue(t.Context(), []string{"a.example.com", "b.example.com"}, func(_, _ string) error { return nil })
		rule.Remove()
		if err != nil {
			t.Fatal(err)
		}
		var certs []*x509.Certificate
		others := 0
		for block, rest := pem.Decode(chain); block != nil; block, rest = pem.Decode(rest) {
			if block.Type != "CERTIFICATE" {
				others++
				continue
			}
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			certs = append(certs, cert)
		}
		if len(certs) == 0 {
			if kind != EmptyChain && kind != HalfChain {
				t.Errorf("%s: no certificate in %q", kind, chain)
			}
			continue
		}
		leaf, now := certs[0], time.Now()
		got := map[WrongKind]bool{
			OtherKey: !key.PublicKey.Equal(leaf.PublicKey), MissingName: len(leaf.DNSNames) < 2, ExtraName: len(leaf.DNSNames) > 2,
			Expired: now.After(leaf.NotAfter), NotYetValid: now.Before(leaf.NotBefore), WithKey: others == 1,
			DuplicateLeaf: len(certs) > 1 && bytes.Equal(certs[1].Raw, leaf.Raw), TextBefore: !bytes.HasPrefix(chain, []byte("-----BEGIN")),
			HalfChain: !bytes.HasSuffix(chain, []byte("-----END CERTIFICATE-----\n")) && others == 0,
		}
		got[WrongIssuer] = len(certs) > 1 && !got[DuplicateLeaf] && leaf.CheckSignatureFrom(certs[1]) != nil
		for is, wrong := range got {
			if wrong != (is == kind) {
				t.Errorf("%s: %s is %v", kind, is, wrong)
			}
		}
	}
}

func TestWire(t *testing.T) {
	c := Start(t, Options{})
	w, err := c.Wire()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	ask := func() (string, error) {
		client := c.HTTPClient()
		defer client.CloseIdleConnections()
		client.Timeout = 200 * time.Millisecond
		resp, err := client.Get(w.DirectoryURL)
		if err != nil {
			return "", err
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		return string(body), err
	}
	body, err := ask()
	if err != nil || !strings.Contains(body, strings.TrimSuffix(w.DirectoryURL, PathDirectory)+PathNewOrder) {
		t.Fatalf("%s, %v: the CA's URLs must lead through the wire", body, err)
	}
	down, up := w.Passed()
	if down < 500 || up < 200 {
		t.Fatalf("passed %d bytes down, %d up", down, up)
	}
	w.Plan(WirePlan{Down: 100})
	if _, err := ask(); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("cut after 100 bytes: %v", err)
	}
	if down, _ := w.Passed(); down != 100 {
		t.Errorf("%d bytes passed", down)
	}
	if _, err := ask(); err != nil {
		t.Errorf("cut twice: %v", err)
	}
	w.Plan(WirePlan{Up: 1, Hold: true})
	if _, err := ask(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("held: %v", err)
	}
}

func TestParseRule(t *testing.T) {
	for text, want := range map[string]Rule{
		"new-order nth=2 drop-after":                         {Path: PathNewOrder, From: 2, To: 2},
		"POST /x from=3 to=9 p=0.25 status=503":              {Method: "POST", Path: "/x", From: 3, To: 9, Probability: 0.25},
		"new-order payload=\"replaces\" already-replaced":    {Path: PathNewOrder, Payload: `"replaces"`},
		"certificate cert=other_key":                         {Path: PathCertificate},
		"retry-after=5 problem=429:rateLimited":              {},
		"finalize delay=5ms stall-body=3 header=Date:x":      {Path: PathFinalize},
		"terms=https://ca.example/tos":                       {},
		"authz redirect=http://a truncate=3 oversize=100000": {Path: PathAuthz},
	} {
		r, err := ParseRule(text)
		if err != nil || r.Do == nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if r.Method != want.Method || r.Path != want.Path || r.Payload != want.Payload || r.From != want.From || r.To != want.To || r.Probability != want.Probability {
			t.Errorf("%s: %+v", text, r)
		}
	}
	for _, text := range []string{"", "new-order", "status=x", "cert=funny", "fly", "problem=429", "nth=x drop-after", "delay=soon"} {
		if _, err := ParseRule(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
	if Endpoint(PathChallenge+"7") != "challenge" || Endpoint("/x") != "/x" {
		t.Error("words for paths")
	}
	r, err := ParseRule("retry-after=5 problem=429:rateLimited")
	if err != nil {
		t.Fatal(err)
	}
	rec := httptest.NewRecorder()
	r.Do(nil).ServeHTTP(rec, httptest.NewRequest("GET", "/", nil))
	if rec.Code != 429 || rec.Header().Get("Retry-After") != "5" || !strings.Contains(rec.Body.String(), "rateLimited") {
		t.Errorf("answer: %d %v %s", rec.Code, rec.Header(), rec.Body)
	}
}
