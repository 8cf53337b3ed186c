package testca

import (
	"bytes"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Fault changes what passes between client and CA. It wraps the CA as an HTTP
// middleware does; whatever it waits for ends with the request's context, which
// ends when the client goes away and when the CA is closed.
type Fault func(next http.Handler) http.Handler

// Rule says which requests a fault hits. The zero value of each condition
// always holds.
type Rule struct {
	Method  string // "POST"
	Path    string // prefix: see the Path constants
	Payload string // a part of the signed payload: `"replaces"`

	// From and To are the first and last request that it hits, counted from 1
	// among those that fit the conditions above; 0 is no bound.
	From, To int
	// Begin and End bound the time in which it hits.
	Begin, End time.Time
	// Probability in (0, 1) hits some of the requests, as the Proxy's seed
	// decides; 0 is all.
	Probability float64

	Do Fault
}

// Proxy stands in front of a CA and disturbs what passes by its rules. Its
// Wrap is an [Options.Middleware]: the client asks the CA at its own address,
// so the Host header and all URLs stay what they are. All methods are safe for
// concurrent use.
type Proxy struct {
	mu    sync.Mutex
	rules []*ActiveRule
	rand  *rand.Rand
}

// NewProxy returns a Proxy. The seed decides what rules with a probability hit.
func NewProxy(seed uint64, rules ...Rule) *Proxy {
	p := &Proxy{rand: rand.New(rand.NewPCG(seed, 1))}
	for _, r := range rules {
		p.Add(r)
	}
	return p
}

// ActiveRule is a rule in force.
type ActiveRule struct {
	Rule
	proxy *Proxy
	seen  int
	hits  int
	first chan struct{}
}

// Add puts a rule in force, behind those there are: the first rule stands
// nearest to the client.
func (p *Proxy) Add(r Rule) *ActiveRule {
	a := &ActiveRule{Rule: r, proxy: p, first: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = append(p.rules, a)
	return a
}

// Outage refuses every request with f until the function that it returns is
// called. f may be [DropBefore] or a [Problem].
func (p *Proxy) Outage(f Fault) (end func()) { return p.Add(Rule{Do: f}).Remove }

// Remove takes the rule out of force. Requests that it holds stay held.
func (a *ActiveRule) Remove() {
	a.proxy.mu.Lock()
	defer a.proxy.mu.Unlock()
	a.proxy.rules = slices.DeleteFunc(a.proxy.rules, func(r *ActiveRule) bool { return r == a })
}

// Hits returns how many requests the rule has hit.
func (a *ActiveRule) Hits() int {
	a.proxy.mu.Lock()
	defer a.proxy.mu.Unlock()
	return a.hits
}

// First is closed when the rule first hits.
func (a *ActiveRule) First() <-chan struct{} { return a.first }

// Wrap puts the proxy in front of next.
func (p *Proxy) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The whole request is read first: a handler that waits then notices
		// when its client goes away.
		body, err := readBody(w, r)
		if err != nil {
			return
		}
		faults := p.choose(r, body)
		h := next
		for _, f := range slices.Backward(faults) {
			h = f(h)
		}
		h.ServeHTTP(w, r)
	})
}

// choose returns the faults that hit the request.
func (p *Proxy) choose(r *http.Request, body []byte) []Fault {
	var payload []byte
	read := false
	p.mu.Lock()
	defer p.mu.Unlock()
	var faults []Fault
	now := time.Now()
	for _, a := range p.rules {
		if a.Payload != "" && !read {
			payload, read = parseSigned(body).payload, true
		}
		if a.hit(r, payload, now) {
			faults = append(faults, a.Do)
		}
	}
	return faults
}

// hit reports whether the rule hits the request. The proxy's mu is held.
func (a *ActiveRule) hit(r *http.Request, payload []byte, now time.Time) bool {
	if a.Method != "" && a.Method != r.Method || !strings.HasPrefix(r.URL.Path, a.Path) || !bytes.Contains(payload, []byte(a.Payload)) {
		return false
	}
	a.seen++
	switch {
	case a.seen < a.From, a.To > 0 && a.seen > a.To,
		!a.Begin.IsZero() && now.Before(a.Begin), !a.End.IsZero() && !now.Before(a.End),
		a.Probability > 0 && a.proxy.rand.Float64() >= a.Probability:
		return false
	}
	if a.hits++; a.hits == 1 {
		close(a.first)
	}
	return true
}
