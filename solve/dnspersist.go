package solve

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/dnslookup"
	"github.com/inkan-acme/inkan/internal/dnspersist"
	"github.com/inkan-acme/inkan/plug"
)

// DNSPersist01Config holds the options of [DNSPersist01].
type DNSPersist01Config struct {
	_ struct{} `help:"relies on a record at _validation-persist.<name> that somebody published once; inkan dns records prints it"`

	Issuer    string        `json:"issuer" help:"the CA's issuer domain name that the record names, where the CA offers several or is not to be trusted to say"`
	CheckAt   string        `json:"check" help:"where to look for the record before the CA is asked: resolvers or none" default:"resolvers"`
	Resolvers []string      `json:"resolvers" help:"the recursive servers to ask, as host or host:port; if empty, those of the operating system"`
	Warn      plug.Duration `json:"warn" help:"how long before its persistUntil to warn about a record" default:"30d"`
}

// Check refuses what the tags cannot.
func (c *DNSPersist01Config) Check() error {
	if c.CheckAt != "" && c.CheckAt != checkResolvers && c.CheckAt != checkNone {
		return inkan.Errorf(inkan.Operator, "", "check: %q is none of resolvers and none", inkan.Printable(c.CheckAt, 40))
	}
	for _, r := range c.Resolvers {
		if err := dnslookup.CheckServer(r); err != nil {
			return err
		}
	}
	return nil
}

// DNSPersist01 returns a Solver for dns-persist-01 (draft-ietf-acme-dns-persist).
//
// The record exists before the order and stays after it. So Present only checks
// that it is there and allows this account to have this name, and CleanUp does
// nothing. A record that is missing or insufficient is an error of kind Operator
// whose hint is the record to publish.
func DNSPersist01(env plug.Env, c DNSPersist01Config) (inkan.Solver, error) {
	plug.Defaults(&c)
	if err := c.Check(); err != nil {
		return nil, err
	}
	return &dnsPersist01{c, env, &dnslookup.Client{Resolvers: c.Resolvers}, dnspersist.Current()}, nil
}

type dnsPersist01 struct {
	c      DNSPersist01Config
	env    plug.Env
	client *dnslookup.Client
	format dnspersist.Format
}

// Present implements inkan.Solver.
func (d *dnsPersist01) Present(ctx context.Context, challenges []inkan.Challenge) ([]inkan.Undo, error) {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, c := range challenges {
		g.Go(func() error { return d.look(ctx, c) })
	}
	return nil, g.Wait()
}

// CleanUp implements inkan.Solver.
func (d *dnsPersist01) CleanUp(context.Context, []inkan.Challenge) error { return nil }

// look returns nil if the record for c stands.
func (d *dnsPersist01) look(ctx context.Context, c inkan.Challenge) error {
	op := "dns-persist-01 for " + inkan.Printable(c.Identifier.Value, 260)
	if c.Type != inkan.DNSPersist01 || c.Identifier.Type != inkan.DNS || c.Account == "" || len(c.Issuers) == 0 {
		return inkan.Errorf(inkan.Bug, op, "this solver cannot show such a challenge")
	}
	issuers := c.Issuers
	if d.c.Issuer != "" {
		issuers = nil
		for _, name := range c.Issuers {
			if strings.EqualFold(name, d.c.Issuer) {
				issuers = []string{name}
			}
		}
		if issuers == nil {
			return inkan.Errorf(inkan.Operator, op, "the CA does not go by the issuer domain name %s but by %s", d.c.Issuer, strings.Join(c.Issuers, ", ")).
				WithHint("name the right one with issuer, if this CA is the one you mean")
		}
	}
	if d.c.CheckAt == checkNone {
		return nil
	}
	name := dnspersist.Label + "." + c.Identifier.Base() + "."
	answer, err := d.client.Recurse(ctx, name, dns.TypeTXT)
	if err != nil {
		return inkan.Errorf(inkan.KindOf(err), op, "%w", err)
	}
	why := errors.New("there is no record")
	for _, value := range answer.TXT() {
		r, err := d.format.Parse(value)
		if !contains(issuers, r.Issuer) {
			continue
		}
		if err == nil {
			err = r.Allows(c.Account, c.Wildcard, d.env.Time())
		}
		if err == nil {
			d.warn(c, r)
			return nil
		}
		why = fmt.Errorf("the record %q is not sufficient: %w", inkan.Printable(value, 300), err)
	}
	want := dnspersist.Record{Issuer: issuers[0], Account: c.Account, Wildcard: c.Wildcard}
	return inkan.Errorf(inkan.Operator, op, "at %s: %w", name, why).
		WithHint("publish this TXT record once: %s \"%s\"", name, d.format.Value(want))
}

// warn tells that a record will run out.
func (d *dnsPersist01) warn(c inkan.Challenge, r dnspersist.Record) {
	if left := r.Until.Sub(d.env.Time()); !r.Until.IsZero() && left < time.Duration(d.c.Warn) {
		d.env.Logger().Warn("the dns-persist-01 record will run out; publish one with a later persistUntil",
			"name", c.Identifier.Value, "until", r.Until)
	}
}

func contains(names []string, name string) bool {
	for _, n := range names {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}

var (
	_ inkan.Solver = (*dnsPersist01)(nil)
	_ plug.Checker = (*DNSPersist01Config)(nil)
)
