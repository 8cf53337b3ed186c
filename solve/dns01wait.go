package solve

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/dnslookup"
	"github.com/inkan-acme/inkan/plug"
)

// Propagation holds the options of solvers for dns-01 that say when a record
// counts as visible.
type Propagation struct {
	CheckAt   string        `json:"check" help:"who must show the record before the CA is asked: authoritative (every server of the zone), resolvers, or none" default:"authoritative"`
	Resolvers []string      `json:"resolvers" help:"the recursive servers to find zones with, as host or host:port; if empty, those of the operating system"`
	Timeout   plug.Duration `json:"propagation_timeout" help:"how long the record may take to become visible" default:"2m"`
}

// The values of Propagation.CheckAt.
const (
	checkAuthoritative = "authoritative"
	checkResolvers     = "resolvers"
	checkNone          = "none"
)

func (p *Propagation) check() error {
	switch p.CheckAt {
	case "", checkAuthoritative, checkResolvers, checkNone:
	default:
		return inkan.Errorf(inkan.Operator, "", "check: %q is none of authoritative, resolvers and none", inkan.Printable(p.CheckAt, 40))
	}
	for _, r := range p.Resolvers {
		if err := dnslookup.CheckServer(r); err != nil {
			return err
		}
	}
	return nil
}

// prover finds the places of records and waits until they are visible.
type prover struct {
	client  *dnslookup.Client
	known   map[string][]string // configured zones, see [dnslookup.Finder]
	checkAt string
	timeout time.Duration
	log     *slog.Logger
}

func newProver(env plug.Env, p Propagation) prover {
	return prover{
		client:  &dnslookup.Client{Resolvers: p.Resolvers},
		known:   map[string][]string{},
		checkAt: p.CheckAt,
		timeout: time.Duration(p.Timeout),
		log:     env.Logger(),
	}
}

// finder returns a Finder for one call.
func (p *prover) finder() *dnslookup.Finder {
	return &dnslookup.Finder{Client: p.client, Known: p.known, Indirect: p.checkAt != checkAuthoritative}
}

// await returns when the records of one zone are visible.
func (p *prover) await(ctx context.Context, f *dnslookup.Finder, zone string, records []inkan.TXT) error {
	var servers []dnslookup.Server
	switch p.checkAt {
	case checkNone:
		return nil
	case checkResolvers:
		servers = p.client.Asked(ctx)
	default:
		var err error
		if servers, err = f.Servers(ctx, zone); err != nil {
			return err
		}
	}
	var wanted []dnslookup.Wanted
	index := map[string]int{}
	for _, r := range records {
		i, ok := index[r.Name]
		if !ok {
			i = len(wanted)
			index[r.Name] = i
			wanted = append(wanted, dnslookup.Wanted{Name: r.Name})
		}
		wanted[i].Values = append(wanted[i].Values, r.Value)
	}
	return p.client.Await(ctx, servers, wanted, p.checkAt == checkResolvers)
}

// awaitAll returns when all records are visible.
func (p *prover) awaitAll(ctx context.Context, f *dnslookup.Finder, records []record) error {
	zones := map[string][]inkan.TXT{}
	for _, r := range records {
		zones[r.Zone] = append(zones[r.Zone], inkan.TXT{Name: r.Name, Value: r.value})
	}
	g, ctx := errgroup.WithContext(ctx)
	for zone, txt := range zones {
		g.Go(func() error { return p.await(ctx, f, zone, txt) })
	}
	return g.Wait()
}

// explain says for which name a lookup failed, and what helps if this machine
// cannot reach the servers at all.
func (p *prover) explain(c inkan.Challenge, err error) error {
	e := inkan.Errorf(inkan.KindOf(err), "dns-01 for "+c.Identifier.Value, "%w", err)
	if _, silent := errors.AsType[*dnslookup.SilentError](err); silent && p.checkAt == checkAuthoritative {
		return e.WithHint("if this machine may not ask DNS servers on the internet, set check: resolvers, or name resolvers that answer it")
	}
	return e
}
