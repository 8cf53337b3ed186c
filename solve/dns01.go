package solve

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/dnslookup"
	"github.com/inkan-acme/inkan/plug"
)

// DNS01Config holds the options of [DNS01].
type DNS01Config struct {
	_ struct{} `help:"puts the answers to dns-01 challenges into the DNS, also for wildcard names; a CNAME record at _acme-challenge is followed"`

	DNS   plug.Ref[inkan.DNSProvider] `json:"dns" help:"the DNS host that has the zones"`
	Zones []DNS01Zone                 `json:"zones" help:"zones at another DNS host or with other credentials, and those that this machine cannot find by itself; the nearest one above a name counts"`
	TTL   int                         `json:"ttl" help:"how long others may remember the record, in seconds; 0 leaves it to the DNS host"`
	Propagation
}

// DNS01Zone is a zone that is configured rather than looked up.
type DNS01Zone struct {
	Zone    string                      `json:"zone" help:"the name where the zone begins, such as example.org" required:"true"`
	DNS     plug.Ref[inkan.DNSProvider] `json:"dns" help:"the DNS host that has it; if empty, that of the solver"`
	Servers []string                    `json:"servers" help:"its authoritative servers, as host or host:port, where the NS records tell others, such as behind a split horizon"`
}

// Check refuses what the tags cannot.
func (c *DNS01Config) Check() error {
	for i, z := range c.Zones {
		if !dnslookup.ValidName(z.Zone) {
			return inkan.Errorf(inkan.Operator, "", "zones[%d]: %q is not the name of a zone", i, inkan.Printable(z.Zone, 80))
		}
		if slices.ContainsFunc(c.Zones[:i], func(o DNS01Zone) bool { return apex(o.Zone) == apex(z.Zone) }) {
			return inkan.Errorf(inkan.Operator, "", "zones: %s stands there twice", inkan.Printable(z.Zone, 80))
		}
		for _, s := range z.Servers {
			if err := dnslookup.CheckServer(s); err != nil {
				return err
			}
		}
	}
	if c.TTL < 0 || c.TTL > 86400 {
		return inkan.Errorf(inkan.Operator, "", "ttl must be from 0 to 86400")
	}
	return c.Propagation.check()
}

// apex returns the name of a zone as the DNS has it.
func apex(zone string) string { return strings.ToLower(strings.TrimSuffix(zone, ".")) + "." }

// DNS01 returns a Solver for dns-01 (RFC 8555 section 8.4) over any DNS host, and
// for dns-account-01 (draft-ietf-acme-dns-account-label), whose records have a
// name for each account.
//
// Present follows the CNAME records of _acme-challenge.<name> to the zone where
// the record belongs, and adds the records of all challenges with one call for
// each zone. Wait asks every authoritative server until it shows them. CleanUp
// removes exactly the values of its challenges: from where the Undo says, or
// from where the names lead now.
func DNS01(env plug.Env, c DNS01Config) (inkan.Solver, error) {
	plug.Defaults(&c)
	if err := c.Check(); err != nil {
		return nil, err
	}
	d := &dns01{ttl: c.TTL, hosts: map[string]inkan.DNSProvider{}, prover: newProver(env, c.Propagation)}
	if c.DNS.Value != nil {
		d.hosts[""] = c.DNS.Value
	}
	for _, z := range c.Zones {
		zone := apex(z.Zone)
		d.known[zone] = z.Servers
		if z.DNS.Value != nil {
			d.hosts[zone] = z.DNS.Value
		}
	}
	if len(d.hosts) == 0 {
		return nil, inkan.Errorf(inkan.Operator, "dns-01 solver", "no DNS host given").WithHint("set dns")
	}
	return d, nil
}

type dns01 struct {
	prover
	ttl   int
	hosts map[string]inkan.DNSProvider // by apex; "": for all others
}

// dnsUndo tells clean-up where a record is, although CNAME records may have
// changed since.
type dnsUndo struct {
	Zone string `json:"zone"`
	Name string `json:"name"`
}

// record is the place and the value of the proof for one challenge.
type record struct {
	dnsUndo
	value string
}

// Present implements inkan.Solver.
func (d *dns01) Present(ctx context.Context, challenges []inkan.Challenge) ([]inkan.Undo, error) {
	for _, c := range challenges {
		if err := checkDNS01(c); err != nil {
			return nil, err
		}
	}
	records, err := d.locateAll(ctx, d.finder(), challenges)
	if err != nil {
		return nil, err
	}
	undo := make([]inkan.Undo, len(records))
	for i, r := range records {
		if undo[i], err = json.Marshal(r.dnsUndo); err != nil {
			return nil, err
		}
	}
	err = d.eachZone(ctx, records, func(ctx context.Context, host inkan.DNSProvider, zone string, txt []inkan.TXT) error {
		return host.AddTXT(ctx, zone, txt)
	})
	if err != nil {
		return nil, err
	}
	return undo, nil
}

// Wait implements inkan.Waiter.
func (d *dns01) Wait(ctx context.Context, challenges []inkan.Challenge) error {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	f := d.finder()
	records, err := d.places(ctx, f, challenges)
	if err != nil {
		return err
	}
	return d.eachZone(ctx, records, func(ctx context.Context, host inkan.DNSProvider, zone string, txt []inkan.TXT) error {
		if w, ok := host.(inkan.DNSWaiter); ok {
			if err := w.Wait(ctx, zone, txt); err != nil {
				return err
			}
		}
		return d.await(ctx, f, zone, txt)
	})
}

// CleanUp implements inkan.Solver.
func (d *dns01) CleanUp(ctx context.Context, challenges []inkan.Challenge) error {
	f := d.finder()
	var records []record
	var failed []error
	for _, c := range challenges {
		if checkDNS01(c) != nil {
			continue // never shown
		}
		found, err := d.places(ctx, f, []inkan.Challenge{c})
		switch {
		case err == nil:
			records = append(records, found...)
		case errors.Is(err, inkan.Operator):
			// The name leads nowhere, so nothing was put there, or nobody
			// knows where.
			d.log.DebugContext(ctx, "nothing to clean up", "name", c.Identifier.Value, "error", err)
		default:
			failed = append(failed, err)
		}
	}
	failed = append(failed, d.eachZone(ctx, records, func(ctx context.Context, host inkan.DNSProvider, zone string, txt []inkan.TXT) error {
		return host.RemoveTXT(ctx, zone, txt)
	}))
	return errors.Join(failed...)
}

// places returns the records of challenges, where their Undo says or where the
// names lead.
func (d *dns01) places(ctx context.Context, f *dnslookup.Finder, challenges []inkan.Challenge) ([]record, error) {
	var records []record
	var rest []inkan.Challenge
	for _, c := range challenges {
		if r, ok := undone(c); ok {
			records = append(records, r)
		} else {
			rest = append(rest, c)
		}
	}
	found, err := d.locateAll(ctx, f, rest)
	return append(records, found...), err
}

// undone reads the Undo of a challenge.
func undone(c inkan.Challenge) (record, bool) {
	var u dnsUndo
	if len(c.Undo) == 0 || json.Unmarshal(c.Undo, &u) != nil || !dnslookup.ValidName(u.Zone) || !dnslookup.ValidName(u.Name) ||
		u.Name != u.Zone && !strings.HasSuffix(u.Name, "."+u.Zone) {
		return record{}, false
	}
	return record{u, DNS01Value(c)}, true
}

// locateAll finds where the records of all challenges belong.
func (p *prover) locateAll(ctx context.Context, f *dnslookup.Finder, challenges []inkan.Challenge) ([]record, error) {
	records := make([]record, len(challenges))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i, c := range challenges {
		g.Go(func() error {
			place, err := f.Locate(ctx, challengeName(c))
			if err != nil {
				return p.explain(c, err)
			}
			records[i] = record{dnsUndo{place.Zone, place.Name}, DNS01Value(c)}
			return nil
		})
	}
	return records, g.Wait()
}

// eachZone calls f once for every zone, for all of them at once.
func (d *dns01) eachZone(ctx context.Context, records []record, f func(ctx context.Context, host inkan.DNSProvider, zone string, txt []inkan.TXT) error) error {
	zones := map[string][]inkan.TXT{}
	for _, r := range records {
		zones[r.Zone] = append(zones[r.Zone], inkan.TXT{Name: r.Name, Value: r.value, TTL: d.ttl})
	}
	errs := make([]error, len(zones))
	var g errgroup.Group
	g.SetLimit(parallel)
	for i, zone := range slices.Sorted(maps.Keys(zones)) {
		g.Go(func() error {
			op := "dns-01 in the zone " + inkan.Printable(strings.TrimSuffix(zone, "."), 260)
			host := d.host(zone)
			if host == nil {
				errs[i] = inkan.Errorf(inkan.Operator, op, "no DNS host is configured for it").WithHint("add the zone to zones, or set dns")
			} else if err := f(ctx, host, zone, zones[zone]); err != nil {
				errs[i] = inkan.Errorf(inkan.KindOf(err), op, "%w", err)
			}
			return nil
		})
	}
	_ = g.Wait()
	return errors.Join(errs...)
}

// host returns the DNS host of a zone: that of the nearest configured zone
// at or above it, else the default.
func (d *dns01) host(zone string) inkan.DNSProvider {
	for name := zone; name != ""; _, name, _ = strings.Cut(name, ".") {
		if host, ok := d.hosts[name]; ok {
			return host
		}
	}
	return d.hosts[""]
}

// challengeName returns the name of the record for c (RFC 8555 section 8.4, and
// draft-ietf-acme-dns-account-label section 3.2).
func challengeName(c inkan.Challenge) string {
	label := "_acme-challenge"
	if c.Type == inkan.DNSAccount01 {
		label = inkan.DNSAccountLabel(c.Account)
	}
	return label + "." + c.Identifier.Base() + "."
}

// DNS01Value returns the value of the TXT record for c.
func DNS01Value(c inkan.Challenge) string {
	sum := sha256.Sum256([]byte(c.KeyAuthorization))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// checkDNS01 refuses what this solver cannot show (reliability H02).
func checkDNS01(c inkan.Challenge) error {
	fail := func(format string, args ...any) error {
		return inkan.Errorf(inkan.Bug, "dns-01 for "+inkan.Printable(c.Identifier.Value, 80), format, args...)
	}
	want := inkan.DNS01
	if c.Type == inkan.DNSAccount01 {
		want = inkan.DNSAccount01
	}
	if err := check(want, c); err != nil {
		return err
	}
	if c.Type == inkan.DNSAccount01 && c.Account == "" {
		return fail("the challenge names no account")
	}
	if c.Identifier.Type != inkan.DNS {
		return fail("an address has no record of its own")
	}
	if _, err := inkan.ParseIdentifier(c.Identifier.Base()); err != nil {
		return fail("the name cannot be one of a certificate")
	}
	return nil
}

var (
	_ inkan.Solver = (*dns01)(nil)
	_ inkan.Waiter = (*dns01)(nil)
	_ plug.Checker = (*DNS01Config)(nil)
)
