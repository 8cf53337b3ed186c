package testca

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/letsencrypt/pebble/v2/core"
)

// Paths of Pebble's endpoint, for [CA.Count] and for middleware. Clients find
// them in the directory.
const (
	PathDirectory   = "/dir"
	PathNewNonce    = "/nonce-plz"
	PathNewAccount  = "/sign-me-up"
	PathAccount     = "/my-account/"
	PathNewOrder    = "/order-plz"
	PathOrder       = "/my-order/"
	PathFinalize    = "/finalize-order/"
	PathAuthz       = "/authZ/"
	PathChallenge   = "/chalZ/"
	PathCertificate = "/certZ/"
	PathRevoke      = "/revoke-cert"
	PathKeyChange   = "/rollover-account-key"
	PathOrders      = "/list-orderz/"
	PathRenewalInfo = "/draft-ietf-acme-ari-03/renewalInfo/"
)

// Pebble 2.10.1 takes its locks in contradicting orders, and a sync.RWMutex
// blocks new readers behind a waiting writer, so these meet in deadlocks:
//
//  1. An authorization read holds the authorization and asks for the store
//     (wfe.Authz); creating and looking up orders hold the store and ask for
//     authorizations (FindValidAuthorization, GetOrderByID).
//  2. An order read locks the order twice for reading (wfe.Order, then
//     orderForDisplay). A writer between the two ends it: another look-up of
//     that order, CompleteOrder at the end of its finalization, or the
//     validator noting a failure (setOrderError).
//
// The gate keeps both sides apart. Requests that touch orders run alone;
// authorization reads run beside each other but not beside those. A finalize
// request keeps the gate until the issuing goroutine it started is done. The
// validator's own goroutine is caught at the log lines that it writes right
// before and right after setOrderError. Challenge requests hold no lock over
// which the others can meet them and pass freely: one that answers a second
// challenge of a settled authorization hangs for another reason (a read lock
// leaked by prepAuthorizationForDisplay) and must not take the gate with it.
type gate struct {
	mu        sync.Mutex
	changed   sync.Cond
	exclusive bool
	waiting   int // for exclusive
	shared    int
}

func newGate() *gate {
	g := &gate{}
	g.changed.L = &g.mu
	return g
}

// lock waits until the gate is empty and returns what opens it again.
func (g *gate) lock() (unlock func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting++
	for g.exclusive || g.shared > 0 {
		g.changed.Wait()
	}
	g.waiting--
	g.exclusive = true
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.exclusive = false
		g.changed.Broadcast()
	}
}

// share enters beside others that share. Those in a hurry do not queue behind
// waiting exclusive users.
func (g *gate) share(hurry bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.exclusive || g.waiting > 0 && !hurry {
		g.changed.Wait()
	}
	g.shared++
}

func (g *gate) unshare() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shared--
	g.changed.Broadcast()
}

// guard puts Pebble's handler behind the gate. Bodies are read before it and
// responses sent after it, so that no slow client keeps it closed.
func (c *CA) guard(pebble http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var run func(http.ResponseWriter, *http.Request)
		path := r.URL.Path
		switch {
		case path == PathNewOrder:
			run = func(w http.ResponseWriter, r *http.Request) {
				body, _ := readBody(w, r) // from memory
				defer c.gate.lock()()
				pebble.ServeHTTP(w, r)
				if held := w.(*heldResponse); held.status == http.StatusCreated {
					c.ordered(r, parseSigned(body), held)
				}
			}
		case path == PathKeyChange, path == PathRevoke,
			strings.HasPrefix(path, PathAccount), strings.HasPrefix(path, PathOrder), strings.HasPrefix(path, PathOrders):
			run = func(w http.ResponseWriter, r *http.Request) {
				defer c.gate.lock()()
				pebble.ServeHTTP(w, r)
			}
		case strings.HasPrefix(path, PathFinalize):
			run = func(w http.ResponseWriter, r *http.Request) {
				defer c.gate.lock()()
				pebble.ServeHTTP(w, r)
				if w.(*heldResponse).status == http.StatusOK {
					c.settle(strings.TrimPrefix(path, PathFinalize))
				}
			}
		case strings.HasPrefix(path, PathAuthz), strings.HasPrefix(path, PathRenewalInfo):
			run = func(w http.ResponseWriter, r *http.Request) {
				c.gate.share(false)
				defer c.gate.unshare()
				pebble.ServeHTTP(w, r)
			}
		case path == PathNewAccount:
			// A key change writes into the account that this reads.
			c.gate.share(false)
			defer c.gate.unshare()
			pebble.ServeHTTP(&statusWriter{ResponseWriter: w, note: func(status int) {
				if status == http.StatusCreated {
					c.checker.account(r)
				}
			}}, r)
			return
		default:
			pebble.ServeHTTP(w, r)
			return
		}

		body, err := readBody(w, r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		held := &heldResponse{header: w.Header(), status: http.StatusOK}
		r2 := r.Clone(r.Context())
		r2.Body = io.NopCloser(bytes.NewReader(body))
		run(held, r2)
		w.WriteHeader(held.status)
		_, _ = w.Write(held.body.Bytes())
	})
}

// heldResponse keeps a response back until the gate is open again.
type heldResponse struct {
	header http.Header
	status int
	wrote  bool
	body   bytes.Buffer
}

func (h *heldResponse) Header() http.Header { return h.header }

func (h *heldResponse) WriteHeader(status int) {
	if !h.wrote {
		h.wrote, h.status = true, status
	}
}

func (h *heldResponse) Write(p []byte) (int, error) {
	h.wrote = true
	return h.body.Write(p)
}

// settle waits for the goroutine that a finalize request started in Pebble. It
// gives no sign when it ends, so its effects are watched for: the certificate
// in the order, the order findable by the certificate's serial number, and the
// replaced order marked. If issuing fails (a lifetime that cannot be signed),
// none of that comes; success takes milliseconds, or seconds on a machine that
// does ten other things.
func (c *CA) settle(orderID string) {
	order := c.store.GetOrderByID(orderID)
	if order == nil {
		return
	}
	start := time.Now()
	var cert *core.Certificate
	reached := func(ok func() bool) bool {
		for !ok() {
			switch waited := time.Since(start); {
			case waited > 20*time.Second:
				return false
			case waited > 5*time.Millisecond:
				time.Sleep(time.Millisecond) // spinning would take the time that Pebble needs
			default:
				runtime.Gosched()
			}
		}
		return true
	}
	if !reached(func() bool {
		order.RLock()
		defer order.RUnlock()
		cert = order.CertificateObject
		return cert != nil
	}) {
		return
	}
	c.record.certificate(cert.DER)
	c.checker.issued(orderID, "POST "+PathFinalize+orderID)
	reached(func() bool {
		_, err := c.store.GetOrderByIssuedSerial(cert.ID)
		return err == nil
	})
	if _, serial, ok := strings.Cut(order.Replaces, "."); ok {
		raw, err := base64.RawURLEncoding.DecodeString(serial)
		if err != nil {
			return
		}
		replaced, err := c.store.GetOrderByIssuedSerial(hex.EncodeToString(raw))
		if err != nil {
			return
		}
		reached(func() bool {
			replaced.RLock()
			defer replaced.RUnlock()
			return replaced.IsReplaced
		})
	}
}

// vaLog receives the validator's log. Logging is synchronous, so the two lines
// that frame setOrderError are where its goroutine can be made to wait.
// While it waits, it blocks the validator's logger; what it waits for (the one
// exclusive user inside) never needs that logger.
type vaLog struct {
	gate   *gate
	out    io.Writer
	judged func(authz string, valid bool)
}

func (l *vaLog) Write(p []byte) (int, error) {
	authz, isAuthz := bytes.CutPrefix(p, []byte("authz "))
	id, rest, _ := bytes.Cut(authz, []byte(" "))
	switch {
	case isAuthz && bytes.HasPrefix(rest, []byte("set VALID by completed challenge ")):
		l.judged(string(id), true)
	case isAuthz && bytes.HasPrefix(rest, []byte("set INVALID by completed challenge ")):
		l.gate.share(true)
		l.judged(string(id), false)
	case bytes.HasPrefix(p, []byte("order ")) && bytes.Contains(p, []byte(" set INVALID by invalid authz ")):
		l.gate.unshare()
	}
	if _, err := io.WriteString(l.out, "va "+string(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}
