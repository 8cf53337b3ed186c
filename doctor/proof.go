package doctor

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/dnspersist"
	"github.com/inkan-acme/inkan/solve"
)

const (
	// undoTimeout bounds the removal of a trial proof.
	undoTimeout = 30 * time.Second
	// expiresSoon is how long before its end a dns-persist-01 record is told.
	expiresSoon = 30 * 24 * time.Hour
)

// proof tries one way of showing control over id: the solver shows a challenge
// that no CA has made, it is looked for as the CA would, and taken away again.
// What is the same for several names is tried once.
func (x *examination) proof(ctx context.Context, id inkan.Identifier, w inkan.Validation, s inkan.Solver, a *authority, addrs []netip.Addr) []Finding {
	if _, ok := s.(*solve.Manual); ok {
		return nil // nobody is to be bothered for a trial
	}
	c := inkan.Challenge{Solver: w.Solver, Type: w.Type, Identifier: inkan.Identifier{Type: id.Type, Value: id.Base()}, Wildcard: id.Wildcard(),
		Token: random(), Account: a.url, Issuers: a.issuers}
	c.KeyAuthorization = c.Token + "." + a.print
	if a.print == "" {
		c.KeyAuthorization = c.Token + "." + random() // there is no account yet
	}
	key := w.Type + " " + w.Solver + " " + id.Base() + " " + a.name
	switch w.Type {
	case inkan.DNSPersist01:
		return x.persist(ctx, id, s, c, a)
	case inkan.HTTP01:
		return x.proofs.get(key, func() []Finding {
			return x.try(ctx, s, c, "proof-refused", func(ctx context.Context) []Finding { return x.lookHTTP(ctx, c, addrs) })
		})
	case inkan.TLSALPN01:
		return x.proofs.get(key, func() []Finding {
			return x.try(ctx, s, c, "proof-refused", func(ctx context.Context) []Finding { return x.lookALPN(ctx, c, addrs) })
		})
	case inkan.DNS01:
		return x.proofs.get(key, func() []Finding {
			return x.try(ctx, s, c, "dns-write-refused", func(context.Context) []Finding { return nil })
		})
	}
	return nil
}

// random is as long as a token and as a thumbprint.
func random() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// try presents c, lets look look, and always cleans up.
func (x *examination) try(ctx context.Context, s inkan.Solver, c inkan.Challenge, refused string, look func(context.Context) []Finding) (list []Finding) {
	name := c.Identifier.Value
	x.progress(name, "trying "+c.Type)
	shown := false
	defer func() {
		undoing, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
		defer cancel()
		if err := s.CleanUp(undoing, []inkan.Challenge{c}); err != nil && shown {
			list = append(list, failure("proof-left", name, "solver "+c.Solver+": ", err))
		}
	}()
	undo, err := s.Present(ctx, []inkan.Challenge{c})
	if err != nil {
		if ended(ctx, err) {
			return nil
		}
		return []Finding{failure(refused, name, "solver "+c.Solver+": ", err)}
	}
	if shown = true; len(undo) == 1 {
		c.Undo = undo[0]
	}
	if w, ok := s.(inkan.Waiter); ok {
		if err := w.Wait(ctx, []inkan.Challenge{c}); err != nil {
			if ended(ctx, err) {
				return nil
			}
			kind := "dns-not-visible"
			if c.Type != inkan.DNS01 {
				kind = refused
			}
			return []Finding{failure(kind, name, "solver "+c.Solver+": ", err)}
		}
	}
	return look(ctx)
}

// persist looks whether the record of dns-persist-01 stands, as the solver does
// before every order, and whether it will stand for long.
func (x *examination) persist(ctx context.Context, id inkan.Identifier, s inkan.Solver, c inkan.Challenge, a *authority) []Finding {
	x.progress(id.Value, "looking for the dns-persist-01 record")
	if a.url == "" || len(a.issuers) == 0 {
		return []Finding{findingOf("persist-missing", id.Value, "the record names the CA and the URL of the account, and one of them is not known yet", "make the account first: inkan account register")}
	}
	if _, err := s.Present(ctx, []inkan.Challenge{c}); err != nil {
		if ended(ctx, err) {
			return nil
		}
		return []Finding{failure("persist-missing", id.Value, "solver "+c.Solver+": ", err)}
	}
	name := dnspersist.Label + "." + id.Base()
	ans := x.ask(ctx, name, dns.TypeTXT)
	if ans.err != nil {
		return nil // the solver asks other resolvers, and they had the record
	}
	var until time.Time
	for _, value := range ans.TXT() {
		r, err := dnspersist.Current().Parse(value)
		if err != nil || !strings.EqualFold(r.Issuer, undotted(a.issuers[0])) || r.Allows(a.url, id.Wildcard(), x.now()) != nil {
			continue
		}
		if r.Until.IsZero() {
			return nil
		}
		if r.Until.After(until) {
			until = r.Until
		}
	}
	if until.IsZero() || until.Sub(x.now()) > expiresSoon {
		return nil
	}
	return []Finding{findingOf("persist-expiring", id.Value, fmt.Sprintf("the record at %s runs out at %s", name, until.UTC().Format("2006-01-02 15:04 UTC")), "")}
}

// outcome is what became of looking for a proof at one address.
type outcome struct {
	addr    netip.Addr
	served  bool
	reached bool      // something answered
	noRoute bool      // this machine cannot send there
	said    string    // what was seen instead of the proof
	wrong   []Finding // findings of their own, such as a redirect loop
}

// port is the port that a challenge is looked for at.
type port struct {
	number      int
	unreachable string // kind of finding: nothing answers
	wrong       string // kind of finding: something else answers
	look        func(ctx context.Context, addr netip.Addr) outcome
}

// lookAround looks for a proof at every address of a name.
func (x *examination) lookAround(ctx context.Context, name string, addrs []netip.Addr, p port) []Finding {
	outcomes := make([]outcome, len(addrs))
	done := make(chan struct{}, len(addrs))
	for i, addr := range addrs {
		go func() {
			outcomes[i] = p.look(ctx, addr)
			done <- struct{}{}
		}()
	}
	for range addrs {
		<-done
	}
	if ctx.Err() != nil {
		return nil
	}
	return x.judge(ctx, name, outcomes, p)
}

func (x *examination) judge(ctx context.Context, name string, outcomes []outcome, p port) (list []Finding) {
	var served, routed bool
	var silent []outcome
	for _, o := range outcomes {
		served, routed = served || o.served, routed || !o.noRoute
		switch {
		case o.served || o.noRoute:
		case len(o.wrong) > 0:
			list = append(list, o.wrong...)
		case o.reached:
			list = append(list, findingOf(p.wrong, name, o.said, ""))
		default:
			silent = append(silent, o)
		}
	}
	switch {
	case !routed:
		return append(list, findingOf("ipv6-unseen", name, "its addresses are "+joinAddrs(outcomes), ""))
	case len(silent) == 0:
		return list
	case !served && len(list) == 0:
		return append(list, x.nowhere(ctx, name, silent, p))
	}
	for _, o := range silent {
		kind := "address-silent"
		if o.addr.Is6() {
			kind = "ipv6-broken"
		}
		list = append(list, findingOf(kind, name, o.said, ""))
	}
	return list
}

// nowhere judges that nothing answers at any address: the proof may stand
// behind a router that does not forward from inside.
func (x *examination) nowhere(ctx context.Context, name string, silent []outcome, p port) Finding {
	var said []string
	own := x.local()
	mine := false
	for _, o := range silent {
		said = append(said, o.said)
		for _, addr := range own {
			mine = mine || addr == o.addr
		}
	}
	seen := strings.Join(said, "; ")
	if !mine {
		for _, addr := range own {
			if p.look(ctx, addr).served {
				return findingOf("hairpin", name, fmt.Sprintf("%s; but port %d of this machine serves the proof at %s", seen, p.number, addr), "")
			}
		}
	}
	return findingOf(p.unreachable, name, seen, "")
}

// maxLocal is how many addresses of this machine are tried.
const maxLocal = 8

// local returns the addresses of this machine.
func (x *examination) local() []netip.Addr {
	if x.Local != nil {
		return x.Local
	}
	return interfaces(maxLocal)
}

func joinAddrs(outcomes []outcome) string {
	var words []string
	for _, o := range outcomes {
		words = append(words, o.addr.String())
	}
	return strings.Join(words, ", ")
}

// errNoAddress: a name on the way has none.
var errNoAddress = errors.New("it has no address")
