// Package doctor finds out beforehand why a certificate would not be issued: it
// looks at the names in the DNS, at CAA records, at the account and the CA's
// clock, and tries the proof of control with a made-up token. It never burns an
// attempt at a CA: it makes no order and no account and answers no challenge.
package doctor

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/acme"
	"github.com/inkan-acme/inkan/internal/dnslookup"
)

// Doctor examines requests. Fill in CA and Solver, and do not change the fields
// afterwards. It is safe for concurrent use.
type Doctor struct {
	// CA returns a CA with an account at it, by the names in requests.
	CA func(ctx context.Context, ca, account string) (*CA, error)
	// Solver returns the solver of that name.
	Solver func(ctx context.Context, name string) (inkan.Solver, error)

	// Resolvers are the recursive DNS servers to ask, each host or host:port;
	// none: those of the operating system.
	Resolvers []string
	// AuthorityPort is where authoritative DNS servers answer; 0: 53.
	AuthorityPort int
	// HTTPPort and TLSPort are where the CA looks; 0: 80 and 443.
	HTTPPort, TLSPort int
	// Local are the addresses of this machine; nil: those of its interfaces.
	Local []netip.Addr
	// Dial connects to web servers; nil: a net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// Progress, if not nil, is told what is looked at. It may be called
	// concurrently and must not block.
	Progress func(name, step string)
}

// CA is one account at one CA as this machine knows it.
type CA struct {
	Client *acme.Client
	Record inkan.AccountRecord // zero if there is no account
	// AgreeTerms and EAB: a new account could be made with what is configured.
	AgreeTerms, EAB bool
	// Public: everybody's CA, which reaches public addresses only.
	Public bool
	// Proxy is the host of the proxy on the way to the CA; "" if there is none.
	Proxy string
}

// atOnce bounds the names that are examined at once.
const atOnce = 8

// Examine examines requests and returns what it found. When ctx ends, it
// returns what it has found until then; proofs are removed all the same.
func (d *Doctor) Examine(ctx context.Context, requests []inkan.CertificateRequest) []Finding {
	x := d.begin()
	for i := range requests {
		x.request(ctx, &requests[i])
	}
	return x.found.sorted()
}

// Quick looks at the names of a request that a CA refused: at the DNS and CAA
// records, by the resolvers alone. It asks the CA nothing and changes nothing.
func (d *Doctor) Quick(ctx context.Context, ca *CA, req *inkan.CertificateRequest, names []inkan.Identifier) []Finding {
	x := d.begin()
	x.quick = true
	a := recorded(ctx, ca)
	var g errgroup.Group
	g.SetLimit(atOnce)
	for _, id := range names {
		g.Go(func() error {
			ways := waysFor(req, id)
			if id.Type != inkan.DNS || len(ways) == 0 {
				return nil
			}
			list, _ := x.resolve(ctx, id, ways[0].Type, a)
			if !anyError(list) {
				list = append(list, x.caa(ctx, id, ways[:1], a)...)
			}
			if ctx.Err() == nil { // an answer that came too late is none
				x.found.add(list...)
			}
			return nil
		})
	}
	_ = g.Wait()
	return x.found.sorted()
}

// examination is one examination; it remembers what it has asked.
type examination struct {
	*Doctor
	client *dnslookup.Client
	finder *dnslookup.Finder
	found  findings
	quick  bool // only the resolvers are asked

	authorities memo[*authority]
	answers     memo[answered]
	zones       memo[zoneReport]
	proofs      memo[[]Finding]

	mu   sync.Mutex
	skew time.Duration // of the CAs' clocks, as far as one was asked
}

func (d *Doctor) begin() *examination {
	client := &dnslookup.Client{Resolvers: d.Resolvers, Port: d.AuthorityPort}
	return &examination{Doctor: d, client: client, finder: &dnslookup.Finder{Client: client}}
}

// now is the present instant, by the CA's clock if ours is off.
func (x *examination) now() time.Time {
	now := time.Now
	if x.Now != nil {
		now = x.Now
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.skew.Abs() > clockWarns {
		return now().Add(x.skew)
	}
	return now()
}

func (x *examination) progress(name, step string) {
	if x.Progress != nil {
		x.Progress(name, step)
	}
}

// request examines one request: the CAs in their order, then each name.
func (x *examination) request(ctx context.Context, req *inkan.CertificateRequest) {
	var cas []*authority
	for i, name := range req.CAs {
		x.progress(name, "asking the CA")
		a := x.authority(ctx, name, req.Account)
		list := append(a.found[:len(a.found):len(a.found)], a.profile(req)...)
		if i > 0 {
			list = warnings(list) // it is only asked when the first CA fails
		}
		x.found.add(list...)
		cas = append(cas, a)
	}
	if len(cas) == 0 {
		return
	}
	var g errgroup.Group
	g.SetLimit(atOnce)
	for _, id := range req.Identifiers {
		g.Go(func() error {
			x.identifier(ctx, req, id, cas)
			return nil
		})
	}
	_ = g.Wait()
}

// identifier examines one name: its CAA records for each CA, and its ways of
// validation in their order until one is sound.
func (x *examination) identifier(ctx context.Context, req *inkan.CertificateRequest, id inkan.Identifier, cas []*authority) {
	ways := waysFor(req, id)
	var tried []Finding
	var sound bool
	for _, w := range ways {
		list := x.way(ctx, id, w, cas[0])
		if sound = !anyError(list); sound {
			tried = append(warnings(tried), list...)
			break
		}
		tried = append(tried, list...)
	}
	x.found.add(tried...)
	if id.Type != inkan.DNS || !sound && len(ways) > 0 && namesFailed(tried) {
		return // without answers from the DNS there is nothing to say about CAA
	}
	x.progress(id.Value, "CAA records")
	for i, a := range cas {
		list := x.caa(ctx, id, ways, a)
		if i > 0 {
			list = warnings(list)
		}
		x.found.add(list...)
	}
}

// way examines one way of showing control over id.
func (x *examination) way(ctx context.Context, id inkan.Identifier, w inkan.Validation, a *authority) []Finding {
	x.progress(id.Value, "DNS")
	list, addrs := x.resolve(ctx, id, w.Type, a)
	connects := w.Type == inkan.HTTP01 || w.Type == inkan.TLSALPN01
	if anyError(list) || ctx.Err() != nil || connects && len(addrs) == 0 {
		return list
	}
	s, err := x.Solver(ctx, w.Solver)
	if err != nil {
		return append(list, failure("solver-unusable", id.Value, "solver "+w.Solver+": ", err))
	}
	return append(list, x.proof(ctx, id, w, s, a, addrs)...)
}

// waysFor returns the validations that can show control over id, in the order
// in which they would be tried.
func waysFor(req *inkan.CertificateRequest, id inkan.Identifier) []inkan.Validation {
	var ways []inkan.Validation
	for _, w := range inkan.Ways(req.Validations, nil, id) {
		overDNS := w.Type == inkan.DNS01 || w.Type == inkan.DNSAccount01 || w.Type == inkan.DNSPersist01
		if id.Wildcard() && !overDNS || id.Type == inkan.IP && overDNS {
			continue
		}
		ways = append(ways, w)
	}
	return ways
}

// failure is a finding made of an error: what happened and, if the error has
// hints, what to do.
func failure(id, name, before string, err error) Finding {
	do := ""
	for i, h := range inkan.HintsOf(err) {
		if i > 0 {
			do += "; "
		}
		do += h
	}
	return findingOf(id, name, before+err.Error(), do)
}

// ended reports whether err only says that the examination was cut short.
func ended(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, context.Canceled)
}

// memo remembers what a function returned for a key, and calls it once.
type memo[T any] struct {
	mu      sync.Mutex
	entries map[string]func() T
}

func (m *memo[T]) get(key string, f func() T) T {
	m.mu.Lock()
	if m.entries == nil {
		m.entries = map[string]func() T{}
	}
	once, ok := m.entries[key]
	if !ok {
		once = sync.OnceValue(f)
		m.entries[key] = once
	}
	m.mu.Unlock()
	return once()
}
