package solve_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/testport"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/plugtest/solvetest"
	"github.com/inkan-acme/inkan/solve"
)

// request asks addr, whatever the host in the URL would resolve to.
func request(t *testing.T, addr, method, host, path string) (status int, body string, header http.Header) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return 0, "", nil
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	// Written by hand: net/http would not send what an attacker sends.
	if _, err := fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", method, path, host); err != nil && len(path) < 1000 {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		if len(path) < 1000 {
			t.Errorf("%s %s at %s: %v", method, path, host, err)
		}
		return 0, "", nil
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return resp.StatusCode, string(data), resp.Header
}

const wellKnown = "/.well-known/acme-challenge/"

// fetch looks for the answer as a CA does.
func fetch(t *testing.T, addr, host, token string) []string {
	t.Helper()
	if status, body, _ := request(t, addr, "GET", host, wellKnown+token); status == 200 {
		return []string{body}
	}
	return nil
}

func standalone(t *testing.T, addr string) inkan.Solver {
	t.Helper()
	s, err := solve.Standalone(plug.Env{}, solve.StandaloneConfig{Addr: addr})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func present(t *testing.T, s inkan.Solver, cs ...inkan.Challenge) {
	t.Helper()
	if _, err := s.Present(t.Context(), cs); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.CleanUp(t.Context(), cs) })
}

func cleanUp(t *testing.T, s inkan.Solver, cs ...inkan.Challenge) {
	t.Helper()
	if err := s.CleanUp(t.Context(), cs); err != nil {
		t.Fatal(err)
	}
}

func TestStandalone(t *testing.T) {
	addrs := map[inkan.Solver]string{}
	h := harness
	h.InMemory = true
	h.Place = func(t *testing.T) func() inkan.Solver {
		addr := testport.Addr(testport.For(t))
		return func() inkan.Solver {
			s := standalone(t, addr)
			addrs[s] = addr
			return s
		}
	}
	h.Visible = func(t *testing.T, s inkan.Solver, c inkan.Challenge) []string {
		return fetch(t, addrs[s], c.Identifier.Value, c.Token)
	}
	solvetest.Run(t, h)
}

// TestResponder mounts the handler on a program's own server.
func TestResponder(t *testing.T) {
	servers := map[inkan.Solver]string{}
	h := harness
	h.InMemory = true
	h.Place = func(t *testing.T) func() inkan.Solver {
		return func() inkan.Solver {
			s := new(solve.Responder)
			mux := http.NewServeMux()
			mux.Handle(wellKnown, s)
			server := httptest.NewServer(mux)
			t.Cleanup(server.Close)
			servers[s] = server.Listener.Addr().String()
			return s
		}
	}
	h.Visible = func(t *testing.T, s inkan.Solver, c inkan.Challenge) []string {
		return fetch(t, servers[s], c.Identifier.Value, c.Token)
	}
	solvetest.Run(t, h)
}

func TestStandaloneBothFamilies(t *testing.T) {
	port := strconv.Itoa(testport.For(t))
	s := standalone(t, ":"+port)
	v4, v6 := harness.Challenge("127.0.0.1", 1), harness.Challenge("::1", 2)
	name := harness.Challenge("www.example.com", 3)
	present(t, s, v4, v6, name)
	ask := func(addr, host string, c inkan.Challenge) {
		t.Helper()
		if got := fetch(t, addr, host, c.Token); len(got) != 1 || got[0] != c.KeyAuthorization {
			t.Errorf("%s, asked for %s, answers %q", addr, host, got)
		}
	}
	ask("127.0.0.1:"+port, "127.0.0.1", v4)
	ask("127.0.0.1:"+port, "127.0.0.1:"+port, v4)
	for _, host := range []string{"www.example.com", "WWW.Example.COM", "www.example.com:80", "www.example.com."} {
		ask("127.0.0.1:"+port, host, name)
	}
	if l, err := net.Listen("tcp6", "[::1]:0"); err != nil {
		t.Logf("SKIPPED the part over IPv6: %v", err)
		return
	} else {
		l.Close()
	}
	ask("[::1]:"+port, "[::1]", v6)
	ask("[::1]:"+port, "[0:0::1]:80", v6)
	ask("[::1]:"+port, "www.example.com", name)
}

func TestH03OnlyKnownTokens(t *testing.T) {
	port := strconv.Itoa(testport.For(t))
	addr := "127.0.0.1:" + port
	s := standalone(t, addr)
	c, other := harness.Challenge("www.example.com", 1), harness.Challenge("other.example.com", 2)
	present(t, s, c, other)
	good := wellKnown + c.Token

	status, body, header := request(t, addr, "GET", "www.example.com", good)
	if status != 200 || body != c.KeyAuthorization || header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("GET = %d %q %v", status, body, header)
	}
	if status, body, _ := request(t, addr, "HEAD", "www.example.com", good); status != 200 || body != "" {
		t.Errorf("HEAD = %d %q", status, body)
	}
	escaped := strings.ReplaceAll(c.Token, "A", "%41")
	for _, r := range []struct{ method, host, path string }{
		{"GET", "www.example.com", "/"},
		{"GET", "www.example.com", wellKnown},
		{"GET", "www.example.com", strings.TrimSuffix(wellKnown, "/")},
		{"GET", "www.example.com", wellKnown + "unknown-unknown-unknown"},
		{"GET", "www.example.com", wellKnown + other.Token},
		{"GET", "other.example.com", good},
		{"GET", "example.com", good},
		{"GET", "127.0.0.1", good},
		{"GET", "www.example.com.evil.example", good},
		{"GET", "www.example.com", good + "/"},
		{"GET", "www.example.com", good + "?"},
		{"GET", "www.example.com", good + "?x=1"},
		{"GET", "www.example.com", wellKnown + escaped},
		{"GET", "www.example.com", "/.well-known/acme-challenge%2f" + c.Token},
		{"GET", "www.example.com", wellKnown + "..%2f" + c.Token},
		{"GET", "www.example.com", wellKnown + "../acme-challenge/" + c.Token},
		{"GET", "www.example.com", wellKnown + "/" + c.Token},
		{"GET", "www.example.com", "//.well-known/acme-challenge/" + c.Token},
		{"GET", "www.example.com", wellKnown + `..\` + c.Token},
		{"GET", "www.example.com", `/.well-known\acme-challenge\` + c.Token},
		{"GET", "www.example.com", wellKnown + "../../../../etc/passwd"},
		{"GET", "www.example.com", wellKnown + "%00" + c.Token},
		{"GET", "www.example.com", wellKnown + "<script>alert(1)</script>"},
		{"POST", "www.example.com", good},
		{"PUT", "www.example.com", good},
		{"DELETE", "www.example.com", good},
		{"OPTIONS", "www.example.com", good},
		{"OPTIONS", "www.example.com", "*"},
		{"TRACE", "www.example.com", good},
		{"GET", "www.example.com", "http://other.example.com" + good},
	} {
		status, body, _ := request(t, addr, r.method, r.host, r.path)
		if status != 404 || body != "not found\n" {
			t.Errorf("%s %q at %q = %d %q; want the same small 404 for all", r.method, r.path, r.host, status, body)
		}
	}
	// Too much header: net/http itself refuses, without an echo.
	for _, r := range [][2]string{{"www.example.com", wellKnown + strings.Repeat("x", 1<<20)}, {strings.Repeat("x", 1<<20), good}} {
		if status, body, _ := request(t, addr, "GET", r[0], r[1]); status == 200 || len(body) > 200 || strings.Contains(body, "xxx") {
			t.Errorf("a megabyte: %d %.200q", status, body)
		}
	}
}

func TestStandaloneSeen(t *testing.T) {
	addr := testport.Addr(testport.For(t))
	s := standalone(t, addr)
	witness := s.(inkan.Witness)
	c := harness.Challenge("www.example.com", 1)
	if witness.Seen(c) != nil {
		t.Error("a challenge that is not presented has a channel")
	}
	present(t, s, c)
	seen := witness.Seen(c)
	closed := func() bool {
		select {
		case <-seen:
			return true
		default:
			return false
		}
	}
	request(t, addr, "GET", "other.example.com", wellKnown+c.Token)
	request(t, addr, "GET", "www.example.com", wellKnown+"unknown-unknown-unknown")
	request(t, addr, "HEAD", "www.example.com", wellKnown+c.Token)
	if closed() {
		t.Error("seen before the answer was given")
	}
	for range 2 {
		if got := fetch(t, addr, "www.example.com", c.Token); len(got) != 1 {
			t.Errorf("answer %q", got)
		}
	}
	<-seen
	present(t, s, c)
	if again := witness.Seen(c); again != seen {
		t.Error("presenting again forgot what was seen")
	}
}

// TestStandaloneListensOnlyWhileNeeded: 100 orders share the listener; it
// stays up until the last is cleaned up, and then the port is free.
func TestStandaloneListensOnlyWhileNeeded(t *testing.T) {
	addr := testport.Addr(testport.For(t))
	s := standalone(t, addr)
	free := func() bool {
		l, err := net.Listen("tcp4", addr)
		if err == nil {
			l.Close()
		}
		return err == nil
	}
	if !free() {
		t.Fatal("the port is taken before anything is presented")
	}
	cleanUp(t, s, harness.Challenge("www.example.com", 1))
	var wg sync.WaitGroup
	for n := range 100 {
		wg.Go(func() {
			c := harness.Challenge(fmt.Sprintf("n%d.example.com", n), n)
			if _, err := s.Present(t.Context(), []inkan.Challenge{c}); err != nil {
				t.Error(err)
				return
			}
			if got := fetch(t, addr, c.Identifier.Value, c.Token); len(got) != 1 || got[0] != c.KeyAuthorization {
				t.Errorf("order %d sees %q", n, got)
			}
			if err := s.CleanUp(t.Context(), []inkan.Challenge{c}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if !free() {
		t.Error("the port is taken after everything was cleaned up")
	}
	for n := range 20 { // up and down again at once
		c := harness.Challenge("www.example.com", n)
		present(t, s, c)
		cleanUp(t, s, c)
	}
	if !free() {
		t.Error("the port is taken at the end")
	}
}

func TestStandalonePortTaken(t *testing.T) {
	for _, taken := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::]:0"} {
		network := "tcp4"
		if strings.HasPrefix(taken, "[") {
			network = "tcp6"
		}
		l, err := net.Listen(network, taken)
		if err != nil {
			t.Logf("SKIPPED %s: %v", taken, err)
			continue
		}
		_, port, _ := net.SplitHostPort(l.Addr().String())
		addr := ":" + port
		if strings.HasPrefix(taken, "127.") {
			addr = "127.0.0.1:" + port
		}
		s := standalone(t, addr)
		c := harness.Challenge("www.example.com", 1)
		_, err = s.Present(t.Context(), []inkan.Challenge{c})
		hint := strings.Join(inkan.HintsOf(err), "\n")
		if inkan.KindOf(err) != inkan.Operator || !strings.Contains(err.Error(), port) || !strings.Contains(err.Error(), "address already in use") || !strings.Contains(hint, "webroot") {
			t.Errorf("%s taken: %v, hint %q", taken, err, hint)
		}
		cleanUp(t, s, c)
		l.Close()
		present(t, s, c) // the port is free now
		cleanUp(t, s, c)
	}
}

func TestStandaloneBadAddr(t *testing.T) {
	for _, addr := range []string{"80", ":http", ":65536", "::1:80", "[::1", ":-1"} {
		if _, err := solve.Standalone(plug.Env{}, solve.StandaloneConfig{Addr: addr}); inkan.KindOf(err) != inkan.Operator {
			t.Errorf("address %q: %v; want an Operator error", addr, err)
		}
	}
	s := standalone(t, "192.0.2.1:0")
	_, err := s.Present(t.Context(), []inkan.Challenge{harness.Challenge("a.example", 1)})
	if inkan.KindOf(err) != inkan.Operator || len(inkan.HintsOf(err)) == 0 {
		t.Errorf("an address that this machine lacks: %v", err)
	}
}

// stalled is more than the connections that a listener keeps, which are 1,000.
const stalled = 1200

// stall opens connections and says nothing on them, on every second one no more
// than opening. They are closed when the test ends.
func stall(t *testing.T, addr, opening string) []net.Conn {
	t.Helper()
	conns := make([]net.Conn, stalled)
	for i := range conns {
		conn, err := net.DialTimeout("tcp4", addr, 5*time.Second)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		t.Cleanup(func() { conn.Close() })
		if conns[i] = conn; i%2 == 0 {
			io.WriteString(conn, opening)
		}
	}
	return conns
}

// TestJ03StalledConnections: clients that connect and say nothing, more than
// are allowed at once, keep nobody else from the answer.
func TestJ03StalledConnections(t *testing.T) {
	addr := testport.Addr(testport.For(t))
	s := standalone(t, addr)
	c := harness.Challenge("www.example.com", 1)
	present(t, s, c)
	conns := stall(t, addr, "GET /.well-known")
	start := time.Now()
	if got := fetch(t, addr, "www.example.com", c.Token); len(got) != 1 || got[0] != c.KeyAuthorization {
		t.Errorf("behind %d stalled connections the answer is %q", stalled, got)
	}
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("the answer took %v", d)
	}
	// The oldest made room.
	conns[0].SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.Copy(io.Discard, conns[0]); errors.Is(err, net.ErrClosed) || isTimeout(err) {
		t.Errorf("the oldest connection is still open: %v", err)
	}
	// And clean-up does not wait for them.
	start = time.Now()
	cleanUp(t, s, c)
	if d := time.Since(start); d > 3*time.Second {
		t.Errorf("the clean-up took %v", d)
	}
	// All are closed, those in the middle of a header too.
	for i, conn := range conns {
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.Copy(io.Discard, conn); isTimeout(err) {
			t.Fatalf("connection %d is still open", i)
		}
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}
