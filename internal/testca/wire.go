package testca

import (
	"io"
	"net"
	"strings"
	"sync"
)

// Wire relays TCP connections to a CA and cuts or holds them at a chosen byte.
// A client uses it by asking [Wire.DirectoryURL]: the bytes pass unread, so the
// CA sees the wire's address as Host and names it in all its URLs. The methods
// are safe for concurrent use.
type Wire struct {
	DirectoryURL string

	target string
	l      net.Listener
	wg     sync.WaitGroup

	mu       sync.Mutex
	conns    map[net.Conn]bool
	plan     WirePlan
	down, up int // bytes passed since the plan was made
	cut      bool
	closed   bool
}

// WirePlan says what happens to the bytes, counted over all connections since
// the plan was made. The zero value passes everything.
type WirePlan struct {
	Down int  // bytes from the CA that pass; 0: all
	Up   int  // bytes to the CA that pass; 0: all
	Hold bool // hold the rest back for ever and every new connection with it; else cut all connections, once
}

// Wire starts a Wire to c. The caller closes it.
func (c *CA) Wire() (*Wire, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address, path, _ := strings.Cut(strings.TrimPrefix(c.DirectoryURL, "https://"), "/")
	w := &Wire{DirectoryURL: "https://" + l.Addr().String() + "/" + path, target: address, l: l, conns: map[net.Conn]bool{}}
	w.wg.Go(w.accept)
	return w, nil
}

// Plan replaces the plan and begins to count anew.
func (w *Wire) Plan(p WirePlan) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.plan, w.down, w.up, w.cut = p, 0, 0, false
}

// Passed returns the bytes that have passed from and to the CA since the plan
// was made.
func (w *Wire) Passed() (down, up int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.down, w.up
}

// Close cuts all connections and waits for their end.
func (w *Wire) Close() error {
	err := w.l.Close()
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.cutAll()
	w.wg.Wait()
	return err
}

func (w *Wire) accept() {
	for {
		client, err := w.l.Accept()
		if err != nil {
			return
		}
		ca, err := net.Dial("tcp", w.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		w.mu.Lock()
		w.conns[client], w.conns[ca] = true, true
		closed := w.closed
		w.mu.Unlock()
		if closed {
			w.cutAll()
			return
		}
		w.wg.Go(func() { w.carry(ca, client, false) })
		w.wg.Go(func() { w.carry(client, ca, true) })
	}
}

// carry copies until an end or the plan stops it. Closing both sides at the end
// of one is enough for HTTPS.
func (w *Wire) carry(dst, src net.Conn, down bool) {
	defer func() {
		_ = src.Close()
		_ = dst.Close()
		w.mu.Lock()
		delete(w.conns, src)
		delete(w.conns, dst)
		w.mu.Unlock()
	}()
	buf := make([]byte, 16<<10)
	for {
		n, err := src.Read(buf)
		pass, over, held := w.allow(n, down)
		if _, err := dst.Write(buf[:pass]); err != nil {
			return
		}
		switch {
		case over && held:
			_, _ = io.Copy(io.Discard, src) // swallow all until somebody gives up
			return
		case over:
			w.cutAll()
			return
		case err != nil:
			return
		}
	}
}

// allow returns how many of n bytes may pass, and whether the plan ends there.
func (w *Wire) allow(n int, down bool) (pass int, over, held bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	limit, passed := w.plan.Up, &w.up
	if down {
		limit, passed = w.plan.Down, &w.down
	}
	pass = n
	if limit > 0 && !w.cut && *passed+n >= limit {
		pass, over, held = max(0, limit-*passed), true, w.plan.Hold
		w.cut = !held
	}
	*passed += pass
	return pass, over, held
}

// cutAll resets every connection.
func (w *Wire) cutAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.conns {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // a reset, not an orderly end
		}
		_ = c.Close()
	}
}
