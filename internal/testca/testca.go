// Package testca runs the Pebble test CA inside the process: ACME over HTTPS on
// loopback, a DNS server that sends every name to 127.0.0.1, and a record of
// what was asked and issued. Tests use [Start]; programs (bench, demo) use [New].
//
// Pebble as released deadlocks when several orders run at once; see gate.go for
// how that is kept from happening.
package testca

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/inkan-acme/inkan/internal/testport"
	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
)

// Options says how the CA behaves. The zero value is a fast CA without
// surprises: no rejected nonces, no sleeps before validations, P-256 issuers
// and one profile of 90 days.
type Options struct {
	NonceReject  int  // percent of good nonces refused with badNonce
	AuthzReuse   int  // percent of valid authorizations reused; 0 still reuses about 1 %
	Sleep        bool // sleep a random time before each validation
	SleepSeconds int  // below this many seconds (0: Pebble's default of 5)
	AlwaysValid  bool // accept every challenge without looking
	Strict       bool // Pebble's -strict

	EABRequired bool              // newAccount needs an external account binding
	EABKeys     map[string]string // key id -> MAC key, base64url

	RetryAfterAuthz int // seconds of Retry-After on an authorization being validated; 0: no header
	RetryAfterOrder int // seconds of Retry-After on an order being processed; 0: no header

	ChainLength     int                // intermediates between leaf and root; 0 means 1
	AlternateRoots  int                // further chains offered by Link rel="alternate"
	KeyAlgorithm    string             // of the issuers: "ecdsa" (default) or "rsa"
	Profiles        map[string]Profile // by name; none: "default"
	DomainBlocklist []string           // names refused with rejectedIdentifier

	ListenAddr string // of the ACME endpoint; "": 127.0.0.1 and a free port
	HTTPPort   int    // where http-01 is validated; 0: a free port
	TLSPort    int    // where tls-alpn-01 is validated; 0: a free port
	DNSServer  string // host:port of the resolver that validation asks, over TCP; "": [CA.DNS]

	// Latency is the round-trip time between client and CA: a request costs
	// one, opening a connection one for TCP and one for TLS 1.3 besides.
	Latency time.Duration

	// Boulder makes new orders behave as at Let's Encrypt where Pebble does
	// not: see boulder.go.
	Boulder bool

	// CheckLimits records requests over these limits as [CA.Violations]; nil
	// checks none. A CA from [Start] fails its test on the first.
	CheckLimits *Limits

	// Middleware wraps the whole ACME endpoint, so that a test can refuse,
	// change or drop what passes. The record of requests sits outside it and
	// notes what the client was answered.
	Middleware func(http.Handler) http.Handler

	Log io.Writer // Pebble's log; nil discards it
}

// Profile is one certificate profile offered by the directory.
type Profile struct {
	Description    string
	ValidityPeriod time.Duration // rounded down to seconds; 0 means 90 days
}

// CA is a running test CA. Its fields do not change after [New]; its methods
// are safe for concurrent use.
type CA struct {
	DirectoryURL string
	Roots        *x509.CertPool // trust for the HTTPS endpoint, not for what is issued
	RootsPEM     []byte         // the same as PEM
	HTTPPort     int            // Pebble validates http-01 here, at 127.0.0.1
	TLSPort      int            // and tls-alpn-01 here
	DNS          *DNS           // what Pebble resolves with, but for Options.DNSServer
	DNSAddr      string         // host:port of what Pebble resolves with

	store  *db.MemoryStore
	issuer *ca.CAImpl
	server *http.Server
	gate   *gate
	record recorder

	boulder *boulder // nil: new orders as Pebble makes them
	checker *checker // nil: no limits are checked
	close   func() error
}

// envMu serialises the construction of Pebble, which reads its knobs from the
// environment of the process.
var envMu sync.Mutex

// Start is [New] for tests: it fails t on an error and closes the CA when t ends.
func Start(t testing.TB, o Options) *CA {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatalf("testca: %v", err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("testca: close: %v", err)
		}
		if v := c.Violations(); len(v) > 0 {
			t.Errorf("testca: %d requests over a limit of the CA, the first: %s", len(v), v[0])
		}
	})
	return c
}

// New starts a CA. The caller closes it.
func New(o Options) (_ *CA, err error) {
	var undo []func() error
	closeAll := func() error {
		var errs []error
		for i := len(undo) - 1; i >= 0; i-- {
			errs = append(errs, undo[i]())
		}
		return errors.Join(errs...)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, closeAll())
		}
	}()

	c := &CA{HTTPPort: o.HTTPPort, TLSPort: o.TLSPort, gate: newGate(), checker: newChecker(o.CheckLimits)}
	if o.Boulder {
		c.boulder = newBoulder()
	}
	for _, port := range []*int{&c.HTTPPort, &c.TLSPort} {
		if *port != 0 {
			continue
		}
		p, err := testport.Reserve()
		if err != nil {
			return nil, err
		}
		undo = append(undo, p.Release)
		*port = p.Number
	}

	if c.DNS, err = newDNS(); err != nil {
		return nil, err
	}
	undo = append(undo, c.DNS.close)
	c.DNSAddr = cmp.Or(o.DNSServer, c.DNS.addr)

	endpoint, roots, rootsPEM, err := endpointCertificate()
	if err != nil {
		return nil, err
	}
	c.Roots, c.RootsPEM = roots, rootsPEM

	handler, err := c.pebble(o)
	if err != nil {
		return nil, err
	}
	if o.Middleware != nil {
		handler = o.Middleware(handler)
	}

	addr := o.ListenAddr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	c.DirectoryURL = "https://" + listener.Addr().String() + wfe.DirectoryPath
	if o.Latency > 0 {
		listener = delayListener(listener, o.Latency)
	}
	c.server = &http.Server{
		Handler:           c.record.wrap(handler, c.checker),
		ConnState:         c.record.connState,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{endpoint}},
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          log.New(logWriter(o.Log), "http ", 0),
	}
	served := make(chan error, 1)
	go func() { served <- c.server.ServeTLS(listener, "", "") }()
	undo = append(undo, func() error {
		err := c.server.Close()
		if serveErr := <-served; !errors.Is(serveErr, http.ErrServerClosed) {
			err = errors.Join(err, serveErr)
		}
		return err
	})
	c.close = sync.OnceValue(closeAll)
	return c, nil
}

// Close stops the endpoint and the DNS server at once; requests in flight are
// cut off. Pebble offers no way to stop its validation worker, so one idle
// goroutine and the memory of the CA remain until the process ends.
func (c *CA) Close() error { return c.close() }

// pebble builds the CA itself and returns its handler behind the gate.
func (c *CA) pebble(o Options) (http.Handler, error) {
	out := logWriter(o.Log)
	keyAlgorithm := o.KeyAlgorithm
	switch keyAlgorithm {
	case "":
		keyAlgorithm = "ecdsa"
	case "ecdsa", "rsa":
	default:
		return nil, fmt.Errorf("unknown key algorithm %q", keyAlgorithm)
	}
	profiles := map[string]ca.Profile{}
	for name, p := range o.Profiles {
		profiles[name] = ca.Profile{Description: p.Description, ValidityPeriod: uint64(p.ValidityPeriod / time.Second)}
	}
	if len(profiles) == 0 {
		profiles["default"] = ca.Profile{Description: "The default profile"}
	}

	c.store = db.NewMemoryStore()
	for id, key := range o.EABKeys {
		if err := c.store.AddExternalAccountKeyByID(id, key); err != nil {
			return nil, err
		}
	}
	for _, name := range o.DomainBlocklist {
		if err := c.store.AddBlockedDomain(name); err != nil {
			return nil, err
		}
	}
	c.issuer = ca.New(log.New(out, "ca ", 0), c.store, "", keyAlgorithm, o.AlternateRoots, max(1, o.ChainLength), profiles)

	env := map[string]string{
		"PEBBLE_WFE_NONCEREJECT": strconv.Itoa(o.NonceReject),
		"PEBBLE_AUTHZREUSE":      strconv.Itoa(o.AuthzReuse),
		"PEBBLE_VA_NOSLEEP":      flag(!o.Sleep),
		"PEBBLE_VA_SLEEPTIME":    strconv.Itoa(o.SleepSeconds),
		"PEBBLE_VA_ALWAYS_VALID": flag(o.AlwaysValid),
	}
	envMu.Lock()
	defer envMu.Unlock()
	restore, err := setenv(env)
	defer restore()
	if err != nil {
		return nil, err
	}
	validator := va.New(log.New(&vaLog{gate: c.gate, out: out, judged: c.judged}, "", 0), c.HTTPPort, c.TLSPort, o.Strict, c.DNSAddr, c.store)
	front := wfe.New(log.New(out, "wfe ", 0), c.store, validator, c.issuer,
		[]string{"pebble.letsencrypt.org"}, o.Strict, o.EABRequired, o.RetryAfterAuthz, o.RetryAfterOrder)
	return c.guard(front.Handler()), nil
}

// IssuerRootPEM returns the root of the i-th chain (0 is the default one,
// 1..AlternateRoots the others), or nil. Issued certificates verify up to it.
func (c *CA) IssuerRootPEM(i int) []byte {
	root := c.issuer.GetRootCert(i)
	if root == nil {
		return nil
	}
	return root.PEM()
}

// IssuerRoots returns a pool of the roots of all chains.
func (c *CA) IssuerRoots() *x509.CertPool {
	pool := x509.NewCertPool()
	for i := range c.issuer.GetNumberOfRootCerts() {
		pool.AddCert(c.issuer.GetRootCert(i).Cert)
	}
	return pool
}

// HTTPClient returns a new client that trusts the endpoint and speaks HTTP/2.
// Each has connections of its own.
func (c *CA) HTTPClient() *http.Client {
	return &http.Client{
		Timeout: time.Minute,
		Transport: &http.Transport{
			TLSClientConfig:   &tls.Config{RootCAs: c.Roots},
			ForceAttemptHTTP2: true,
		},
	}
}

// SetRenewalInfo makes body, well formed or not, the CA's answer to the ARI
// request (RFC 9773) about leaf.
func (c *CA) SetRenewalInfo(leaf *x509.Certificate, body string) error {
	defer c.gate.lock()()
	return c.store.SetARIResponse(leaf.SerialNumber, body)
}

// Revoked reports whether the certificate with that serial number is revoked
// and for which reason (RFC 5280 section 5.3.1; 0 if none was given).
func (c *CA) Revoked(serial *big.Int) (reason int, revoked bool) {
	r := c.store.GetRevokedCertificateBySerial(serial)
	if r == nil {
		return 0, false
	}
	if r.Reason != nil {
		reason = int(*r.Reason)
	}
	return reason, true
}

func logWriter(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return &lockedWriter{w: w}
}

// lockedWriter lets Pebble's loggers share one writer.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func flag(on bool) string {
	if on {
		return "1"
	}
	return "0"
}

// setenv sets variables and returns what puts the old values back.
func setenv(env map[string]string) (restore func(), err error) {
	var undo []func()
	restore = func() {
		for _, f := range undo {
			f()
		}
	}
	for name, value := range env {
		old, was := os.LookupEnv(name)
		undo = append(undo, func() {
			if was {
				_ = os.Setenv(name, old)
			} else {
				_ = os.Unsetenv(name)
			}
		})
		if err := os.Setenv(name, value); err != nil {
			return restore, err
		}
	}
	return restore, nil
}

// pemCertificate encodes one certificate.
func pemCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
