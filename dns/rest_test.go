package dns_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/dns"
	"github.com/inkan-acme/inkan/plug"
)

// ask sends one request of a host to a handler and returns the error.
func ask(t *testing.T, ctx context.Context, now time.Time, handler http.HandlerFunc) error {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	env := plug.Env{HTTP: s.Client(), Now: func() time.Time { return now }}
	p, err := dns.DigitalOcean(env, dns.DigitalOceanConfig{Token: secret(), Endpoint: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	return p.AddTXT(ctx, fakeZone+".", []inkan.TXT{{Name: "_acme-challenge." + fakeZone + ".", Value: "v"}})
}

// What a host answers becomes an error that says what to do, and never one that
// tells the secret.
func TestRefusals(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name   string
		status int
		header string // "Name: value"
		body   string
		kind   inkan.Kind
		want   string // in the error
		hint   string // in the hints
		after  time.Duration
	}{
		{"unauthorized", 401, "", `{"id":"unauthorized","message":"Unable to authenticate you"}`, inkan.Operator, "401 Unauthorized: Unable to authenticate you", "check the credentials", 0},
		{"forbidden", 403, "", `{"message":"no"}`, inkan.Operator, "403 Forbidden: no", "domain:create", 0},
		{"no zone", 404, "", `{"message":"not found"}`, inkan.Operator, "there is no zone example.org", "domain:read", 0},
		{"limited", 429, "Retry-After: 17", `{}`, inkan.RateLimited, "429 Too Many Requests", "", 17 * time.Second},
		{"limited until", 429, "Retry-After: Sun, 22 Nov 2026 12:05:00 GMT", `{}`, inkan.RateLimited, "429", "", 5 * time.Minute},
		{"limited, reset", 429, "ratelimit-reset: 1795349400", `{}`, inkan.RateLimited, "429", "", time.Unix(1795349400, 0).Sub(now)},
		{"limited, no word", 429, "Retry-After: soon", `{}`, inkan.RateLimited, "429", "", 0},
		{"broken", 502, "Retry-After: 3", `<html>Bad gateway</html>`, inkan.Temporary, "it answered 502 Bad Gateway", "", 3 * time.Second},
		{"timeout", 408, "", ``, inkan.Temporary, "408", "", 0},
		{"unprocessable", 422, "", `{"message":"bad TTL"}`, inkan.Rejected, "422 Unprocessable Entity: bad TTL", "", 0},
		{"redirect", 302, "Location: https://evil.example/", ``, inkan.Operator, "302 Found", "check the option endpoint", 0},
		{"echo", 400, "", `{"message":"bad token ` + theToken + `\u0007\nline"}`, inkan.Rejected, `bad token [secret]\u0007\u000aline`, "", 0},
		{"a page of text", 400, "", `{"message":"` + strings.Repeat("x", 5000) + `"}`, inkan.Rejected, "xxx...", "", 0},
		{"no JSON", 200, "", `<html>`, inkan.Temporary, "not the JSON of its reference", "", 0},
		{"wrong JSON", 200, "", `{"domain_records":{"a":1}}`, inkan.Temporary, "not the JSON of its reference", "", 0},
		{"something behind", 200, "", `{} {}`, inkan.Temporary, "not the JSON of its reference", "", 0},
		{"too much", 200, "", `{"x":"` + strings.Repeat("x", 1<<20) + `"}`, inkan.Temporary, "more than 1048576 bytes", "", 0},
		{"too much refusal", 400, "", strings.Repeat("[", 1<<20+1), inkan.Temporary, "more than 1048576 bytes", "", 0},
		{"deep", 400, "", strings.Repeat("[", 9000) + strings.Repeat("]", 9000), inkan.Rejected, "400 Bad Request", "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := ask(t, t.Context(), now, func(w http.ResponseWriter, _ *http.Request) {
				if name, value, ok := strings.Cut(c.header, ": "); ok {
					w.Header().Set(name, value)
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body) // the client notices
			})
			if inkan.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %v: %v; want %v: %s", inkan.KindOf(err), err, c.kind, c.want)
			}
			if hints := strings.Join(inkan.HintsOf(err), "\n"); !strings.Contains(hints, c.hint) {
				t.Errorf("the hints are %q; want %q", hints, c.hint)
			}
			var after time.Duration
			if at := inkan.RetryAfterOf(err); !at.IsZero() {
				after = at.Sub(now)
			}
			if after != c.after {
				t.Errorf("come back after %v; want %v", after, c.after)
			}
			text := fmt.Sprintf("%v %+v %#v", err, err, err)
			if strings.Contains(text, theToken) || len(err.Error()) > 800 || strings.ContainsAny(err.Error(), "\n\a") {
				t.Errorf("the error is no good: %.900s", text)
			}
			for _, word := range []string{"DigitalOcean", "adding", "example.org"} {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("the error does not say %q: %v", word, err)
				}
			}
		})
	}
}

// A redirect would carry the token elsewhere.
func TestRedirectsAreNotFollowed(t *testing.T) {
	var followed atomic.Bool
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { followed.Store(true) }))
	defer other.Close()
	err := ask(t, t.Context(), time.Now(), func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	})
	if err == nil || followed.Load() {
		t.Errorf("followed: %v, error %v", followed.Load(), err)
	}
}

// A host that always names a next page does not keep us for ever.
func TestEndlessListing(t *testing.T) {
	var asked atomic.Int64
	err := ask(t, t.Context(), time.Now(), func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		reply(w, 200, j{"domain_records": []j{}, "links": j{"pages": j{"next": "x"}}})
	})
	if !errors.Is(err, inkan.Temporary) || asked.Load() > 1000 {
		t.Errorf("%d requests, %v", asked.Load(), err)
	}
}

func TestNoAnswer(t *testing.T) {
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		err := ask(t, ctx, time.Now(), func(_ http.ResponseWriter, r *http.Request) {
			cancel()
			<-r.Context().Done()
		})
		if !errors.Is(err, context.Canceled) || inkan.KindOf(err) != inkan.Pending {
			t.Errorf("%v of kind %v; want context.Canceled of kind pending", err, inkan.KindOf(err))
		}
	})
	t.Run("hangs up", func(t *testing.T) {
		err := ask(t, t.Context(), time.Now(), func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) })
		if inkan.KindOf(err) != inkan.Temporary || strings.Contains(err.Error(), "http://") {
			t.Errorf("%v of kind %v; want an error of kind temporary without the URL", err, inkan.KindOf(err))
		}
	})
}

// Pages are no snapshot: while somebody else deletes, a record may be on none of
// them. A removal that trusted the first listing would leave it behind.
func TestRecordBetweenPages(t *testing.T) {
	tab := &table{pageSize: 2}
	var once atomic.Bool
	skin := linodeSkin(tab)
	h := hostTest{skin: func(*table) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			skin.ServeHTTP(w, r)
			if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/records") && !once.Swap(true) {
				tab.remove(1001) // on the first page, which has been read
			}
		})
	}}
	s := h.serve(t, tab)
	p, err := dns.Linode(plug.Env{HTTP: s.Client()}, dns.LinodeConfig{Token: secret(), Endpoint: s.URL + "/v4"})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 4 {
		tab.add(fmt.Sprintf("n%d.%s.", n, fakeZone), "v", 300)
	}
	r := []inkan.TXT{{Name: "n2." + fakeZone + ".", Value: "v"}} // moves from the second page to the first
	if err := p.RemoveTXT(t.Context(), fakeZone+".", r); err != nil {
		t.Fatal(err)
	}
	if got := tab.values(r[0].Name); len(got) > 0 {
		t.Errorf("%q is still there", got)
	}
}

func TestEndpoints(t *testing.T) {
	for endpoint, ok := range map[string]bool{
		"https://api.example":           true,
		"https://api.example/v2/":       true,
		"http://127.0.0.1:8081":         true,
		"http://[::1]:8081":             true,
		"http://localhost":              true,
		"http://api.example":            false, // the token would travel in the clear
		"http://127.0.0.1.evil.example": false,
		"https://user@api.example":      false,
		"https://api.example/?key=1":    false,
		"https://api.example/#x":        false,
		"api.example":                   false,
		"file:///etc/passwd":            false,
		"https://":                      false,
		"":                              true, // the default
		"https://\x7f":                  false,
	} {
		_, err := dns.Hetzner(plug.Env{}, dns.HetznerConfig{Token: secret(), Endpoint: endpoint})
		if (err == nil) != ok || err != nil && !errors.Is(err, inkan.Operator) {
			t.Errorf("endpoint %q: %v; want success %v", endpoint, err, ok)
		}
	}
	if _, err := dns.PowerDNS(plug.Env{}, dns.PowerDNSConfig{Key: secret(), Endpoint: "http://pdns.example:8081", PlainHTTP: true}); err != nil {
		t.Errorf("plain_http: %v", err)
	}
}

// No host shows its secret when it is printed or logged.
func TestSecretsDoNotPrint(t *testing.T) {
	var out strings.Builder
	log := slog.New(slog.NewTextHandler(&out, nil))
	for _, h := range hosts() {
		p, err := h.open(plug.Env{}, "http://127.0.0.1:1")
		if err != nil {
			t.Fatal(err)
		}
		err = p.AddTXT(t.Context(), fakeZone+".", []inkan.TXT{{Name: fakeZone + ".", Value: "v"}})
		if err == nil {
			t.Fatalf("%s: nobody listens, and it is success", h.name)
		}
		fmt.Fprintf(&out, "%v %+v %v", p, p, err)
		log.Info("x", "host", p, "err", err)
	}
	if strings.Contains(out.String(), theToken) {
		t.Error("a secret is printed")
	}
}

// Options that contradict each other are refused before anything is asked.
func TestBadOptions(t *testing.T) {
	for name, open := range map[string]func() (inkan.DNSProvider, error){
		"azure, half an application": func() (inkan.DNSProvider, error) {
			return dns.Azure(plug.Env{}, dns.AzureConfig{Subscription: "s", ResourceGroup: "g", ClientSecret: secret()})
		},
		"ovh, nothing": func() (inkan.DNSProvider, error) { return dns.OVH(plug.Env{}, dns.OVHConfig{}) },
		"ovh, both": func() (inkan.DNSProvider, error) {
			return dns.OVH(plug.Env{}, dns.OVHConfig{ApplicationKey: "a", ApplicationSecret: secret(), ConsumerKey: secret(), ClientID: "c", ClientSecret: secret()})
		},
		"google, no JSON": func() (inkan.DNSProvider, error) {
			return dns.Google(plug.Env{}, dns.GoogleConfig{Credentials: secret()})
		},
		"google, another type": func() (inkan.DNSProvider, error) {
			return dns.Google(plug.Env{}, dns.GoogleConfig{Credentials: plug.NewSecret(`{"type":"authorized_user"}`)})
		},
		"google, no key": func() (inkan.DNSProvider, error) {
			return dns.Google(plug.Env{}, dns.GoogleConfig{Credentials: plug.NewSecret(`{"type":"service_account","private_key":"x"}`)})
		},
		"google, token over http": func() (inkan.DNSProvider, error) {
			return dns.Google(plug.Env{}, dns.GoogleConfig{Credentials: plug.NewSecret(googleKeyJSON("http://evil.example/token"))})
		},
	} {
		if _, err := open(); !errors.Is(err, inkan.Operator) || strings.Contains(err.Error(), theToken) {
			t.Errorf("%s: %v; want an error of kind operator", name, err)
		}
	}
}
