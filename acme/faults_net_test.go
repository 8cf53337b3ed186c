package acme

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/testca"
)

// hasty is the client's own transport with every deadline a hundredth of what
// it is, and dial in place of the dialer if it is not nil.
func (w *world) hasty(dial func(ctx context.Context, network, addr string) (net.Conn, error)) {
	tr := NewTransport(w.ca.Roots, nil)
	tr.TLSHandshakeTimeout /= 100
	tr.ResponseHeaderTimeout /= 100
	if dial != nil {
		tr.DialContext = dial
	}
	w.config.Roots, w.env.HTTP = nil, &http.Client{Transport: tr}
	w.client = w.newClient()
	w.client.requestTime /= 100
	w.client.bodyTime /= 100
}

// B01: each phase of a request stalls: connecting, TLS, header, body. Each ends
// by its own deadline, and the work goes on from the journal when the network
// is back.
func TestB01EveryPhaseStalls(t *testing.T) {
	for _, deadline := range []struct {
		name      string
		got, want time.Duration
	}{
		{"TLS", NewTransport(nil, nil).TLSHandshakeTimeout, 10 * time.Second},
		{"header", NewTransport(nil, nil).ResponseHeaderTimeout, 30 * time.Second},
		{"connect", connectTimeout, 10 * time.Second},
		{"body", bodyTimeout, 60 * time.Second},
	} {
		if deadline.got != deadline.want {
			t.Errorf("%s: deadline %s, want %s", deadline.name, deadline.got, deadline.want)
		}
	}
	t.Run("connect", func(t *testing.T) {
		w := newWorld(t, testca.Options{}, nil)
		w.hasty(func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done() // a host that does not answer
			return nil, ctx.Err()
		})
		start := time.Now()
		r, _ := w.request("a.example.com")
		_, err := w.client.Issue(t.Context(), r)
		wantError(t, err, inkan.Temporary, "directory at 127.0.0.1:", "took too long")
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("it took %s", d)
		}
	})
	t.Run("TLS", func(t *testing.T) {
		w := newWorld(t, testca.Options{}, nil)
		wire, err := w.ca.Wire()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { wire.Close() })
		w.config.Directory = wire.DirectoryURL
		w.hasty(nil)
		wire.Plan(testca.WirePlan{Down: 1, Hold: true})
		start := time.Now()
		r, j := w.request("a.example.com")
		_, err = w.client.Issue(t.Context(), r)
		wantError(t, err, inkan.Temporary, "directory at 127.0.0.1:", "TLS handshake timeout")
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("it took %s", d)
		}
		wire.Plan(testca.WirePlan{})
		w.mustIssue(r, j)
	})
	for _, path := range []string{testca.PathDirectory, testca.PathNewNonce, testca.PathNewAccount, testca.PathNewOrder, testca.PathAuthz, testca.PathChallenge, testca.PathFinalize, testca.PathCertificate} {
		for name, fault := range map[string]testca.Fault{
			"header": testca.StallBefore(), "header after it was done": testca.StallAfter(), "half a body": testca.StallBody(20),
		} {
			if path == testca.PathNewNonce && name == "half a body" {
				continue // the answer to HEAD has none
			}
			t.Run(strings.Trim(path, "/")+" "+name, func(t *testing.T) {
				t.Parallel()
				w, p := newProxied(t, testca.Options{})
				rule := p.Add(testca.Rule{Path: path, Do: fault})
				w.hasty(nil)
				start := time.Now()
				r, j := w.request("a.example.com")
				_, err := w.client.Issue(t.Context(), r)
				wantError(t, err, inkan.Temporary, " at 127.0.0.1:")
				if d := time.Since(start); d > 10*time.Second {
					t.Errorf("it took %s", d)
				}
				rule.Remove()
				w.finish(r, j)
			})
		}
	}
}

// B02 at Let's Encrypt: the reply to newOrder is lost, and the same order is
// handed out again.
func TestB02LostNewOrderIsFoundAgain(t *testing.T) {
	w, p := newProxied(t, testca.Options{Boulder: true, CheckLimits: testca.LetsEncrypt()}, func(c *Config) { c.Name = "letsencrypt" })
	p.Add(testca.Rule{Path: testca.PathNewOrder, To: 1, Do: testca.DropAfter()})
	r, j := w.request("a.example.com", "b.example.com")
	_, err := w.client.Issue(t.Context(), r)
	wantError(t, err, inkan.Temporary, "new order at 127.0.0.1:")
	w.finish(r, j)
	if w.ca.Orders() != 1 {
		t.Errorf("%d orders, want 1", w.ca.Orders())
	}
}

// B02: the reply to a revocation is lost. Asked again, the CA says that it is
// revoked already, which is success.
func TestB02LostRevocationReply(t *testing.T) {
	w, p := newProxied(t, testca.Options{})
	leaf := w.issue("a.example.com")
	rule := p.Add(testca.Rule{Path: testca.PathRevoke, To: 1, Do: testca.DropAfter()})
	wantError(t, w.client.Revoke(t.Context(), leaf, inkan.KeyCompromise, nil), inkan.Temporary, "revocation at 127.0.0.1:")
	if _, revoked := w.ca.Revoked(leaf.SerialNumber); !revoked {
		t.Fatal("the CA did not do it")
	}
	rule.Remove()
	if err := w.client.Revoke(t.Context(), leaf, inkan.KeyCompromise, nil); err != nil {
		t.Error(err)
	}
}

// B03: a middlebox sends every request twice. The second one has a used nonce;
// whichever answer comes back, one certificate is issued.
func TestB03EveryRequestTwice(t *testing.T) {
	for _, second := range []bool{false, true} {
		t.Run(fmt.Sprintf("second answer %v", second), func(t *testing.T) {
			var refused atomic.Int64
			w, p := newProxied(t, testca.Options{Boulder: true, CheckLimits: testca.LetsEncrypt()}, func(c *Config) { c.Name = "letsencrypt" })
			p.Add(testca.Rule{Method: http.MethodPost, Do: testca.Replay(second, func(status int) {
				if status == 400 {
					refused.Add(1)
				}
			})})
			r, j := w.request("a.example.com", "b.example.com")
			if second {
				// Every answer is badNonce. What was asked happens all the same,
				// but nobody could know: it ends, in time and with a reason.
				w.client.nonceTime = 300 * time.Millisecond
				_, err := w.client.Issue(t.Context(), r)
				wantError(t, err, inkan.Temporary, "nonces in a row")
				return
			}
			w.mustIssue(r, j)
			if refused.Load() == 0 {
				t.Error("nothing was sent twice")
			}
			if w.ca.Orders() != 1 || len(w.ca.Certificates()) != 1 {
				t.Errorf("%d orders, %d certificates", w.ca.Orders(), len(w.ca.Certificates()))
			}
		})
	}
}

// B03: one request of each kind is sent twice and the answer to the second one
// comes back: badNonce, after the CA did what was asked. The retry finds what
// was done.
func TestB03AnswerOfTheReplay(t *testing.T) {
	for _, path := range []string{testca.PathNewAccount, testca.PathNewOrder, testca.PathAuthz, testca.PathChallenge, testca.PathOrder, testca.PathFinalize, testca.PathCertificate} {
		t.Run(strings.Trim(path, "/"), func(t *testing.T) {
			w, p := newProxied(t, testca.Options{Boulder: true})
			rule := p.Add(testca.Rule{Path: path, To: 1, Do: testca.Replay(true, nil)})
			r, j := w.request("a.example.com")
			if issued, err := w.client.Issue(t.Context(), r); err == nil {
				checkIssued(t, issued, j)
			} else {
				wantError(t, err, inkan.Temporary, " at 127.0.0.1:")
				w.finish(r, j)
			}
			if rule.Hits() != 1 || w.ca.Orders() != 1 || len(w.ca.Certificates()) != 1 {
				t.Errorf("%d hits, %d orders, %d certificates", rule.Hits(), w.ca.Orders(), len(w.ca.Certificates()))
			}
		})
	}
}

// B04: an API certificate that ended, that is for another name, that is signed
// by itself. No request is sent, and no setting makes it pass.
func TestB04BadAPICertificates(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}
	sign := func(template *x509.Certificate, parent *x509.Certificate) *x509.Certificate {
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	rootCert := sign(root, root)
	leaf := func(ip string, end time.Time) *x509.Certificate {
		return &x509.Certificate{SerialNumber: big.NewInt(2), IPAddresses: []net.IP{net.ParseIP(ip)}, NotBefore: now.Add(-2 * time.Hour), NotAfter: end,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	}
	own := leaf("127.0.0.1", now.Add(time.Hour))
	for name, cert := range map[string]*x509.Certificate{
		"good":        sign(leaf("127.0.0.1", now.Add(time.Hour)), rootCert),
		"expired":     sign(leaf("127.0.0.1", now.Add(-time.Hour)), rootCert),
		"other name":  sign(leaf("192.0.2.1", now.Add(time.Hour)), rootCert),
		"self-signed": sign(own, own),
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int64
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				asked.Add(1)
				w.WriteHeader(http.StatusServiceUnavailable)
			}))
			server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}}
			server.Config.ErrorLog = nil
			server.StartTLS()
			defer server.Close()
			pool := x509.NewCertPool()
			pool.AddCert(rootCert)
			w := newWorld(t, testca.Options{}, nil, func(c *Config) { c.Directory, c.Roots = server.URL+"/dir", pool })
			r, _ := w.request("a.example.com")
			_, err := w.client.Issue(t.Context(), r)
			if name == "good" {
				wantError(t, err, inkan.Temporary, "503")
				return
			}
			wantError(t, err, inkan.Operator, "directory at 127.0.0.1:", "not trusted")
			if asked.Load() != 0 {
				t.Error("it was asked all the same")
			}
		})
	}
}

// B09: the connection is reset at byte k of what comes down or goes up, for k
// all over one issuance from the first handshake to the certificate. The
// outcome is the same as without: one certificate for the journalled key, at
// most one order more than asked for.
func TestB09ResetAtEveryByte(t *testing.T) {
	w := newWorld(t, testca.Options{}, nil)
	wire, err := w.ca.Wire()
	if err != nil {
		t.Fatal(err)
	}
	defer wire.Close()
	w.config.Directory = wire.DirectoryURL
	try := func(plan testca.WirePlan) {
		t.Helper()
		w.accounts.rec = nil
		w.client.Close()
		w.client = w.newClient()
		orders, certificates := w.ca.Orders(), len(w.ca.Certificates())
		wire.Plan(plan)
		r, j := w.request("a.example.com")
		if _, err := w.client.Issue(t.Context(), r); err != nil {
			wantError(t, err, inkan.Temporary, " at 127.0.0.1:")
			if j.record().OrderURL == "" {
				orders++ // its reply may be what was lost
			}
			w.mustIssue(r, j) // the same process goes on over a new connection
		}
		if n := w.ca.Orders() - orders; n > 1 {
			t.Errorf("%+v: %d orders", plan, n)
		}
		if n := len(w.ca.Certificates()) - certificates; n != 1 {
			t.Errorf("%+v: %d certificates", plan, n)
		}
	}
	try(testca.WirePlan{})
	down, up := wire.Passed()
	step := func(total int) int {
		if longForm() {
			return 7
		}
		return total / 24
	}
	cuts := 0
	for k := 1; k < down; k += step(down) {
		try(testca.WirePlan{Down: k})
		cuts++
	}
	for k := 1; k < up; k += step(up) {
		try(testca.WirePlan{Up: k})
		cuts++
	}
	t.Logf("proof: %d resets in %d bytes down and %d up", cuts, down, up)
}
