package doctor_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/internal/testca"
	"github.com/inkan-acme/inkan/internal/testport"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/solve"
	"github.com/inkan-acme/inkan/store"
)

// soundSetUps are ways in which people have it, with nothing wrong.
func soundSetUps() map[string]func(t *testing.T, w *world) {
	return map[string]func(t *testing.T, w *world){
		"webroot": func(*testing.T, *world) {},
		"webroot, several names": func(_ *testing.T, w *world) {
			w.own = append(w.own, "@ A 127.0.0.1", "mail CNAME www")
			w.names(inkan.HTTP01, "shop.example", host, "mail.shop.example")
		},
		"webroot, CNAME into another zone": func(_ *testing.T, w *world) {
			w.own = append(w.own, "cdn CNAME front.example.")
			w.above = append(w.above, "front A 127.0.0.1")
			w.names(inkan.HTTP01, "cdn.shop.example")
		},
		"webroot, IPv6 only": func(_ *testing.T, w *world) {
			w.own[1] = "www AAAA ::1"
			w.listen = []string{"::1"}
		},
		"webroot, IPv4 and IPv6": func(_ *testing.T, w *world) {
			w.own = append(w.own, "www AAAA ::1")
			w.listen = append(w.listen, "::1")
		},
		"webroot, an address": func(_ *testing.T, w *world) { w.names(inkan.HTTP01, "127.0.0.1") },
		"webroot, redirected to https": func(t *testing.T, w *world) {
			w.handler = http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
				http.Redirect(rw, q, "https://"+q.Host+q.URL.Path, http.StatusMovedPermanently)
			})
			serveHTTPS(t, "127.0.0.1", w.doctor.TLSPort, http.FileServer(http.Dir(w.webroot)))
		},
		"webroot, redirected to another host": func(t *testing.T, w *world) {
			w.own = append(w.own, "acme A 127.0.0.2")
			w.handler = http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
				http.Redirect(rw, q, "http://acme.shop.example"+q.URL.Path, http.StatusFound)
			})
			serveHTTP(t, "127.0.0.2", w.doctor.HTTPPort, http.FileServer(http.Dir(w.webroot)))
		},
		"http-01 from a store by another node": func(_ *testing.T, w *world) {
			s := store.Mem()
			w.handler = &solve.Handler{Store: s}
			w.solver = func() (inkan.Solver, error) {
				return solve.HTTP01(plug.Env{}, solve.HTTP01Config{Store: plug.Ref[inkan.Store]{Value: s}})
			}
		},
		"standalone": func(_ *testing.T, w *world) {
			w.listen = nil
			w.solver = func() (inkan.Solver, error) {
				return solve.Standalone(plug.Env{}, solve.StandaloneConfig{Addr: testport.Addr(w.doctor.HTTPPort)})
			}
		},
		"stateless": func(t *testing.T, w *world) {
			print := w.client()
			info, err := print.ShowAccount(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			w.handler = &solve.Stateless{Thumbprint: info.Thumbprint}
			w.solver = func() (inkan.Solver, error) {
				return solve.StatelessSolver(plug.Env{}, solve.StatelessConfig{Thumbprint: info.Thumbprint})
			}
		},
		"tls-alpn": func(_ *testing.T, w *world) { w.tlsALPN() },
		"tls-alpn, an address": func(_ *testing.T, w *world) {
			w.names(inkan.TLSALPN01, "127.0.0.1")
			w.tlsALPN()
		},
		"dns-01": func(_ *testing.T, w *world) { w.dns01(&dnsHost{}) },
		"dns-01, base and wildcard": func(_ *testing.T, w *world) {
			w.names(inkan.DNS01, "shop.example", "*.shop.example")
			w.dns01(&dnsHost{})
		},
		"dns-01, no address": func(_ *testing.T, w *world) {
			w.names(inkan.DNS01, "internal.shop.example")
			w.dns01(&dnsHost{})
		},
		"dns-01, private addresses at a public CA": func(_ *testing.T, w *world) {
			w.known.Public = true
			w.dns01(&dnsHost{})
		},
		"dns-01, CNAME into another zone": func(_ *testing.T, w *world) {
			w.own = append(w.own, "_acme-challenge.www CNAME www.acme.example.")
			host := &dnsHost{w: w}
			w.dns01(&dnsHost{}, solve.DNS01Zone{Zone: "example", DNS: plug.Ref[inkan.DNSProvider]{Value: host}, Servers: []string{w.aboveAddr}})
		},
		"dns-persist-01": func(_ *testing.T, w *world) { w.persist(w.persistValue(0)) },
		"dns-persist-01 with an end": func(_ *testing.T, w *world) {
			w.persist(w.persistValue(time.Hour), w.persistValue(200*24*time.Hour))
		},
		"CAA for the CA": func(_ *testing.T, w *world) {
			w.own = append(w.own, `@ CAA 0 issue "other.example"`, `@ CAA 0 issue "pebble.letsencrypt.org"`, `@ CAA 0 iodef "mailto:a@b.example"`)
		},
		"CAA with account and method": func(t *testing.T, w *world) {
			rec, err := w.accounts.Load(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			w.own = append(w.own, fmt.Sprintf(`@ CAA 0 issue "pebble.letsencrypt.org\; accounturi=%s\; validationmethods=dns-01,http-01"`, rec.URL))
		},
		"CAA, wildcards forbidden": func(_ *testing.T, w *world) { w.own = append(w.own, `@ CAA 0 issuewild ";"`) },
		"CAA above, another below": func(_ *testing.T, w *world) {
			w.above = append(w.above, `@ CAA 0 issue ";"`)
			w.own = append(w.own, `www CAA 0 issue "pebble.letsencrypt.org"`)
		},
		"two CAs": func(_ *testing.T, w *world) { w.request.CAs = []string{"test", "test"} },
		"an RSA account": func(t *testing.T, w *world) {
			w.config.KeyType = inkan.RSA2048
			w.accounts = engine.Accounts(store.Mem(), "test", "default")
			w.register()
		},
		"no account yet, terms agreed": func(_ *testing.T, w *world) {
			w.accounts = engine.Accounts(store.Mem(), "test", "default")
		},
		"a signed zone": func(t *testing.T, w *world) {
			z := newSignedZone(t)
			z.use(t, w, z.key)
		},
		"two servers": func(_ *testing.T, w *world) {
			w.secondServer(func(q *dns.Msg, tcp bool) *dns.Msg { return w.mem.Authority(zoneOwn)(q, tcp) })
		},
		"the second way needs no look": func(_ *testing.T, w *world) {
			w.request.Validations = append(w.request.Validations, inkan.Validation{Type: inkan.DNS01, Solver: "missing"})
		},
		"no proof is asked for": func(_ *testing.T, w *world) { w.request.Validations = nil },
		"a profile":             func(_ *testing.T, w *world) { w.request.Profile = "default" },
	}
}

// TestSoundSetUps: what is sound gives no finding at all.
func TestSoundSetUps(t *testing.T) {
	all := soundSetUps()
	if len(all) < 20 {
		t.Errorf("only %d set-ups", len(all))
	}
	ca := testca.Start(t, testca.Options{})
	accounts := 0
	for name, change := range all {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, ca)
			w.register()
			accounts++
			if name == "an RSA account" {
				accounts++
			}
			change(t, w)
			if found := w.examine(); len(found) > 0 {
				t.Errorf("found %+v", found)
			}
		})
	}
	burnsNothing(t, ca, accounts)
}
