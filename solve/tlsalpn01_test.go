package solve_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/testport"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/plugtest/solvetest"
	"github.com/inkan-acme/inkan/solve"
	"github.com/inkan-acme/inkan/store"
)

var alpnHarness = solvetest.Harness{
	Type:       inkan.TLSALPN01,
	OneAtATime: true,
	InMemory:   true,
	Proof: func(c inkan.Challenge) string {
		sum := sha256.Sum256([]byte(c.KeyAuthorization))
		return string(sum[:])
	},
}

// validate connects as a CA does (RFC 8737 section 3, RFC 8738 section 6) and
// returns what the certificate proves.
func validate(t *testing.T, addr string, server string) (proof []string, err error) {
	t.Helper()
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", addr, &tls.Config{
		ServerName: server, NextProtos: []string{"acme-tls/1"}, InsecureSkipVerify: true, // the certificate is looked into below
	})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	state := conn.ConnectionState()
	leaf := state.PeerCertificates[0]
	if state.NegotiatedProtocol != "acme-tls/1" || len(state.PeerCertificates) != 1 {
		t.Errorf("%s: protocol %q and %d certificates", server, state.NegotiatedProtocol, len(state.PeerCertificates))
	}
	if err := leaf.CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature); err != nil || !bytes.Equal(leaf.RawIssuer, leaf.RawSubject) {
		t.Errorf("%s: the certificate is not self-signed: %v", server, err)
	}
	if names := len(leaf.DNSNames) + len(leaf.IPAddresses) + len(leaf.EmailAddresses) + len(leaf.URIs); names != 1 {
		t.Errorf("%s: the certificate has %d names; want one", server, names)
	}
	if len(leaf.DNSNames) == 1 && leaf.DNSNames[0] != strings.ToLower(server) {
		t.Errorf("%s: the certificate is for %q", server, leaf.DNSNames)
	}
	for _, e := range leaf.Extensions {
		if e.Id.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}) {
			var value []byte
			if rest, err := asn1.Unmarshal(e.Value, &value); err != nil || len(rest) > 0 || !e.Critical {
				t.Errorf("%s: the extension: %v, critical %v", server, err, e.Critical)
			}
			proof = append(proof, string(value))
		}
	}
	// RFC 8737 section 3: the server closes the connection.
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := conn.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		t.Errorf("%s: after the handshake the server says %d bytes, %v", server, n, err)
	}
	return proof, nil
}

func visible(t *testing.T, addr, server string) []string {
	t.Helper()
	proof, err := validate(t, addr, server)
	if err != nil && !isAlert(err, 112) && !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%s: %v", server, err)
	}
	return proof
}

// isAlert reports whether the server ended the handshake with that alert. The
// client's error holds a type that is not exported, but reads like this one.
func isAlert(err error, code uint8) bool {
	return err != nil && strings.HasSuffix(err.Error(), "remote error: "+tls.AlertError(code).Error())
}

func ownALPN(t *testing.T, addr string) inkan.Solver {
	t.Helper()
	s, err := solve.NewTLSALPN(plug.Env{}, solve.TLSALPNConfig{Addr: addr})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTLSALPN(t *testing.T) {
	addrs := map[inkan.Solver]string{}
	h := alpnHarness
	h.Place = func(t *testing.T) func() inkan.Solver {
		addr := testport.Addr(testport.For(t))
		return func() inkan.Solver {
			s := ownALPN(t, addr)
			addrs[s] = addr
			return s
		}
	}
	h.Visible = func(t *testing.T, s inkan.Solver, c inkan.Challenge) []string {
		return visible(t, addrs[s], c.Identifier.Value)
	}
	solvetest.Run(t, h)
}

// program is a web server with HTTPS of its own that answers validations too.
type program struct {
	addr string
	cert tls.Certificate
}

func webServer(t *testing.T, proofs *solve.TLSALPN) program {
	t.Helper()
	any := httptest.NewTLSServer(nil) // for its certificate
	defer any.Close()
	p := program{cert: any.TLS.Certificates[0]}
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "hello by %s", r.Proto)
		}),
		TLSConfig: &tls.Config{Certificates: any.TLS.Certificates, ClientAuth: tls.RequireAnyClientCert}, // a CA has none
		ErrorLog:  log.New(io.Discard, "", 0),
	}
	proofs.Serve(server)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.addr = l.Addr().String()
	go server.ServeTLS(l, "", "")
	t.Cleanup(func() { server.Close() })
	return p
}

// TestTLSALPNWithinAServer answers inside the TLS server of a program.
func TestTLSALPNWithinAServer(t *testing.T) {
	addrs := map[inkan.Solver]string{}
	h := alpnHarness
	h.Place = func(t *testing.T) func() inkan.Solver {
		return func() inkan.Solver {
			s := new(solve.TLSALPN)
			addrs[s] = webServer(t, s).addr
			return s
		}
	}
	h.Visible = func(t *testing.T, s inkan.Solver, c inkan.Challenge) []string {
		return visible(t, addrs[s], c.Identifier.Value)
	}
	solvetest.Run(t, h)
}

// TestF38TLSALPNAnyNode: one node presents, another that shares the Store
// answers.
func TestF38TLSALPNAnyNode(t *testing.T) {
	other := map[inkan.Solver]string{}
	h := alpnHarness
	h.InMemory = false
	h.Place = func(t *testing.T) func() inkan.Solver {
		shared, err := store.File(plug.Env{}, store.FileConfig{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		addr := webServer(t, &solve.TLSALPN{Store: shared}).addr
		return func() inkan.Solver {
			s := &solve.TLSALPN{Store: shared}
			other[s] = addr
			return s
		}
	}
	h.Visible = func(t *testing.T, s inkan.Solver, c inkan.Challenge) []string {
		return visible(t, other[s], c.Identifier.Value)
	}
	solvetest.Run(t, h)
}

// TestTLSALPNNodesTakeTurns: two nodes want the same names in opposite order,
// again and again; none waits for ever and each shows its proof when it may.
func TestTLSALPNNodesTakeTurns(t *testing.T) {
	shared := store.Mem()
	nodes := []*solve.TLSALPN{{Store: shared}, {Store: shared}}
	addr := webServer(t, &solve.TLSALPN{Store: shared}).addr
	done := make(chan error, len(nodes))
	for n, node := range nodes {
		go func() {
			done <- func() error {
				for round := range 3 {
					cs := []inkan.Challenge{alpnHarness.Challenge("a.example.com", 100*n+round), alpnHarness.Challenge("b.example.com", 100*n+50+round)}
					if n == 1 {
						slices.Reverse(cs)
					}
					if _, err := node.Present(t.Context(), cs); err != nil {
						return err
					}
					if err := node.Wait(t.Context(), cs); err != nil {
						return err
					}
					for _, c := range cs {
						if got := visible(t, addr, c.Identifier.Value); !slices.Equal(got, []string{alpnHarness.Proof(c)}) {
							return fmt.Errorf("node %d: another proof than its own is shown at %s: %q", n, c.Identifier, got)
						}
					}
					if err := node.CleanUp(t.Context(), cs); err != nil {
						return err
					}
				}
				return nil
			}()
		}()
	}
	for range nodes {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestTLSALPNAddresses: RFC 8738 section 6.
func TestTLSALPNAddresses(t *testing.T) {
	shared := store.Mem()
	s := &solve.TLSALPN{Store: shared}
	addr := webServer(t, s).addr
	another := webServer(t, &solve.TLSALPN{Store: shared}).addr
	for value, server := range map[string]string{
		"192.0.2.17":  "17.2.0.192.in-addr.arpa",
		"2001:db8::a": "a.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
	} {
		c := alpnHarness.Challenge(value, 1)
		present(t, s, c)
		for _, addr := range []string{addr, another} {
			if got := visible(t, addr, server); !slices.Equal(got, []string{alpnHarness.Proof(c)}) {
				t.Errorf("%s: %q", value, got)
			}
			if got := visible(t, addr, "x"+server); got != nil {
				t.Errorf("x%s: %q", server, got)
			}
		}
	}
}

// TestTLSALPNStrangers: who is no validation gets an alert from the solver's
// own listener, and what it wants from a program's server.
func TestTLSALPNStrangers(t *testing.T) {
	addr := testport.Addr(testport.For(t))
	s := ownALPN(t, addr)
	c := alpnHarness.Challenge("www.example.com", 1)
	present(t, s, c)
	embedded := new(solve.TLSALPN)
	web := webServer(t, embedded)
	present(t, embedded, c)
	for _, test := range []struct {
		name   string
		config *tls.Config
		alert  uint8
	}{
		{"an unknown name", &tls.Config{ServerName: "other.example.com", NextProtos: []string{"acme-tls/1"}}, 112},
		{"a name below", &tls.Config{ServerName: "a.www.example.com", NextProtos: []string{"acme-tls/1"}}, 112},
		{"no name", &tls.Config{NextProtos: []string{"acme-tls/1"}}, 112},
		{"no protocol", &tls.Config{ServerName: "www.example.com"}, 112},
		{"a browser", &tls.Config{ServerName: "www.example.com", NextProtos: []string{"h2", "http/1.1"}}, 120},
		{"two protocols", &tls.Config{ServerName: "www.example.com", NextProtos: []string{"acme-tls/1", "h2"}}, 112},
		{"an old TLS", &tls.Config{ServerName: "www.example.com", NextProtos: []string{"acme-tls/1"}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, 70},
	} {
		test.config.InsecureSkipVerify = true // what matters is the alert
		conn, err := tls.Dial("tcp", addr, test.config)
		if err == nil {
			conn.Close()
		}
		if !isAlert(err, test.alert) {
			t.Errorf("%s: %v; want alert %d", test.name, err, test.alert)
		}
	}
	// TLS 1.2 is enough, and case does not matter.
	for _, config := range []*tls.Config{
		{ServerName: "www.example.com", MaxVersion: tls.VersionTLS12},
		{ServerName: "WWW.Example.com"},
	} {
		config.InsecureSkipVerify, config.NextProtos = true, []string{"acme-tls/1"}
		for _, addr := range []string{addr, web.addr} {
			conn, err := tls.Dial("tcp", addr, config)
			if err != nil {
				t.Errorf("%s: %v", config.ServerName, err)
				continue
			}
			io.WriteString(conn, "GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n")
			if got, err := io.ReadAll(conn); len(got) > 0 {
				t.Errorf("after the handshake the server says %q, %v", got, err)
			}
			conn.Close()
		}
	}
	// Visitors of the program are served by HTTP/2, with their client certificate.
	client := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{
		InsecureSkipVerify: true, // another server's certificate
		Certificates:       []tls.Certificate{web.cert},
	}}}
	resp, err := client.Get("https://" + web.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); string(body) != "hello by HTTP/2.0" {
		t.Errorf("a visitor gets %q, %v", body, err)
	}
}

func TestTLSALPNConfigKeepsTheBase(t *testing.T) {
	own := &tls.Config{ServerName: "own"}
	asked := 0
	proofs := new(solve.TLSALPN)
	config := proofs.Config(&tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { asked++; return own, nil }})
	if got, err := config.GetConfigForClient(&tls.ClientHelloInfo{SupportedProtos: []string{"h2"}}); got != own || err != nil || asked != 1 {
		t.Errorf("a visitor gets %v, %v; the base was asked %d times", got, err, asked)
	}
	if got, _ := config.GetConfigForClient(&tls.ClientHelloInfo{SupportedProtos: []string{"acme-tls/1"}}); got == nil || got == own || asked != 1 {
		t.Errorf("a validation gets %v; the base was asked %d times", got, asked)
	}
	if got, err := proofs.Config(nil).GetConfigForClient(&tls.ClientHelloInfo{}); got != nil || err != nil {
		t.Errorf("without a base: %v, %v", got, err)
	}
}

func TestTLSALPNSeen(t *testing.T) {
	addr := testport.Addr(testport.For(t))
	s := ownALPN(t, addr)
	witness := s.(inkan.Witness)
	c := alpnHarness.Challenge("www.example.com", 1)
	if witness.Seen(c) != nil {
		t.Error("a challenge that is not presented has a channel")
	}
	present(t, s, c)
	seen := witness.Seen(c)
	visible(t, addr, "other.example.com")
	select {
	case <-seen:
		t.Error("seen before it was asked for")
	default:
	}
	visible(t, addr, "www.example.com")
	<-seen
	shared := &solve.TLSALPN{Store: store.Mem()}
	present(t, shared, c)
	if shared.Seen(c) != nil {
		t.Error("it claims to know which node the CA meets")
	}
}

// TestTLSALPNTwoProofsInOneOrder cannot be waited for.
func TestTLSALPNTwoProofsInOneOrder(t *testing.T) {
	s := new(solve.TLSALPN)
	a, b := alpnHarness.Challenge("example.com", 1), alpnHarness.Challenge("example.com", 2)
	if _, err := s.Present(t.Context(), []inkan.Challenge{a, b}); inkan.KindOf(err) != inkan.Bug {
		t.Errorf("Present = %v", err)
	}
	if err := s.Wait(t.Context(), []inkan.Challenge{a}); inkan.KindOf(err) != inkan.Bug {
		t.Errorf("Wait for what is not presented = %v", err)
	}
}

func TestTLSALPNSlotWithNonsense(t *testing.T) {
	shared := store.Mem()
	s := &solve.TLSALPN{Store: shared}
	addr := webServer(t, s).addr
	if _, err := shared.Put(t.Context(), "tls-alpn-01/www.example.com", []byte("<script>"), ""); err != nil {
		t.Fatal(err)
	}
	if _, err := validate(t, addr, "www.example.com"); !isAlert(err, 80) {
		t.Errorf("nonsense in the slot: %v", err)
	}
	for _, server := range []string{"..", "a..b", "A_B.example", "1.2.3.in-addr.arpa", "x.ip6.arpa", "01.2.0.192.in-addr.arpa"} {
		hello := &tls.ClientHelloInfo{ServerName: server, SupportedProtos: []string{"acme-tls/1"}}
		config, err := s.Config(nil).GetConfigForClient(hello)
		if err != nil {
			t.Fatal(err)
		}
		if cert, err := config.GetCertificate(hello); cert != nil || err != nil {
			t.Errorf("%q: %v, %v", server, cert, err)
		}
	}
}

// TestTLSALPNPutReportsAnError: the write happened all the same, or did not.
func TestTLSALPNPutReportsAnError(t *testing.T) {
	for _, happens := range []bool{true, false} {
		s := &solve.TLSALPN{Store: forgetful{store.Mem(), happens}}
		c := alpnHarness.Challenge("example.com", 1)
		_, err := s.Present(t.Context(), []inkan.Challenge{c})
		if happens != (err == nil) || !happens && !errors.Is(err, errLost) {
			t.Errorf("Present = %v; the write happened: %v", err, happens)
		}
		if err := s.CleanUp(t.Context(), []inkan.Challenge{c}); err != nil {
			t.Errorf("CleanUp = %v; the write happens: %v", err, happens)
		}
	}
}

// TestJ04StalledHandshakes: clients that never end their handshake keep nobody
// from a validation, and are gone with the clean-up.
func TestJ04StalledHandshakes(t *testing.T) {
	addr := testport.Addr(testport.For(t))
	s := ownALPN(t, addr)
	c := alpnHarness.Challenge("www.example.com", 1)
	present(t, s, c)
	conns := stall(t, addr, "\x16\x03\x01\x02\x00")
	start := time.Now()
	if got := visible(t, addr, "www.example.com"); !slices.Equal(got, []string{alpnHarness.Proof(c)}) {
		t.Errorf("behind %d stalled connections the proof is %q", stalled, got)
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("the proof took %v", d)
	}
	start = time.Now()
	cleanUp(t, s, c)
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("the clean-up took %v", d)
	}
	for i, conn := range conns {
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.Copy(io.Discard, conn); isTimeout(err) {
			t.Fatalf("connection %d is still open", i)
		}
	}
}

func TestTLSALPNBadAddr(t *testing.T) {
	if _, err := solve.NewTLSALPN(plug.Env{}, solve.TLSALPNConfig{Addr: "443"}); inkan.KindOf(err) != inkan.Operator || !strings.Contains(strings.Join(inkan.HintsOf(err), ""), ":443") {
		t.Errorf("%v %q", err, inkan.HintsOf(err))
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := ownALPN(t, l.Addr().String())
	_, err = s.Present(t.Context(), []inkan.Challenge{alpnHarness.Challenge("a.example", 1)})
	if hint := strings.Join(inkan.HintsOf(err), ""); inkan.KindOf(err) != inkan.Operator || !strings.Contains(hint, "acme-tls/1") {
		t.Errorf("a port that is taken: %v, hint %q", err, hint)
	}
}
