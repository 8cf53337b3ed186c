package aws

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
)

// Route53Config holds the options of [Pace.Route53].
type Route53Config struct {
	_            struct{} `help:"adds TXT records to hosted zones of Amazon Route 53"`
	HostedZoneID string   `json:"hosted_zone_id" help:"the zone, where it must not be looked for by its name: several public zones have it, or the right to list zones is not granted"`
	TTL          int      `json:"ttl" help:"the TTL of records that are made, in seconds" default:"60"`
	Endpoint     string   `json:"endpoint" help:"the URL of the API, if it is not Amazon's own"`
	Account
}

// Check implements plug.Checker.
func (c Route53Config) Check() error {
	const op = "route53"
	if id := zoneID(c.HostedZoneID); len(id) > 32 || strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") != "" {
		return inkan.Errorf(inkan.Operator, op, "%q is no hosted zone id", inkan.Printable(c.HostedZoneID, 60)).WithHint("it looks like Z0123456789ABCDEFGHIJ")
	}
	if c.TTL < 0 || c.TTL > 1<<31-1 {
		return inkan.Errorf(inkan.Operator, op, "a TTL of %d seconds is out of range", c.TTL)
	}
	if err := checkEndpoint(op, c.Endpoint); err != nil {
		return err
	}
	return c.Account.check(op)
}

// zoneID takes off what the console and the API put in front of an id.
func zoneID(id string) string { return strings.TrimPrefix(id, "/hostedzone/") }

// Route53 returns a DNSProvider over Amazon Route 53, with a pace of its own.
func Route53(env plug.Env, cfg Route53Config) (inkan.DNSProvider, error) {
	return new(Pace).Route53(env, cfg)
}

// Route53 returns a DNSProvider over Amazon Route 53 that also is an
// inkan.DNSWaiter.
//
// A change names the record set as it was (DELETE) and as it is to be (CREATE)
// in one batch, which Route 53 carries out as a whole or, if the set is not
// what was named, not at all. So no value that somebody else put at the name
// is lost. UPSERT is not used, because it does not check the previous state. The
// first batch assumes that nobody else has values at the names; sets are read
// only where Route 53 refuses that. 50 names take one request to add and one to
// remove, and at most two where others have values.
//
// Wait returns when Route 53 says INSYNC of the changes. For values that
// another process added it writes the record sets anew, as they are, to have a
// change to ask for.
//
// Throttling answers are waited out within a call, half a minute at most.
// Everything else is the caller's to repeat.
func (p *Pace) Route53(env plug.Env, cfg Route53Config) (inkan.DNSProvider, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if cfg.TTL == 0 {
		cfg.TTL = 60
	}
	return &route53Provider{
		cfg:     cfg,
		session: &session{account: cfg.Account, env: env},
		log:     env.Logger(),
		pace:    p,
		window:  p.window(cfg),
		zones:   map[string]string{},
		busy:    map[string]chan struct{}{},
		changes: map[recordName]string{},
	}, nil
}

type route53Provider struct {
	cfg     Route53Config
	session *session
	log     logger
	pace    *Pace
	window  *window

	mu      sync.Mutex
	client  *route53.Client
	zones   map[string]string        // apex -> hosted zone id
	busy    map[string]chan struct{} // hosted zone id -> one place: who changes it
	changes map[recordName]string    // the change that last wrote a name; "" once it is everywhere
}

type recordName struct{ zoneID, name string }

// AddTXT implements inkan.DNSProvider.
func (p *route53Provider) AddTXT(ctx context.Context, zone string, records []inkan.TXT) error {
	return p.apply(ctx, "add", zone, records)
}

// RemoveTXT implements inkan.DNSProvider.
func (p *route53Provider) RemoveTXT(ctx context.Context, zone string, records []inkan.TXT) error {
	return p.apply(ctx, "remove", zone, records)
}

// Wait implements inkan.DNSWaiter.
func (p *route53Provider) Wait(ctx context.Context, zone string, records []inkan.TXT) error {
	zone, op, err := p.begin(ctx, "wait", zone, records)
	if err != nil || len(records) == 0 {
		return err
	}
	id, err := p.findZone(ctx, op, zone)
	if err != nil {
		return err
	}
	changes, unknown := p.changesOf(id, records)
	if len(unknown) > 0 {
		if err := p.change(ctx, op, id, p.wishes("rewrite", unknown)); err != nil {
			return err
		}
		changes, unknown = p.changesOf(id, records)
		if len(unknown) > 0 {
			return inkan.Errorf(inkan.Temporary, op, "there is no TXT record at %s any more", unknown[0].Name).
				WithHint("another program may be removing records of other programs")
		}
	}
	for _, change := range changes {
		if err := p.inSync(ctx, op, change); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, change := range p.changes {
		if slices.Contains(changes, change) {
			p.changes[key] = ""
		}
	}
	return nil
}

// changesOf returns the changes that wrote the records and are not known to be
// everywhere, and the records of which no change is known.
func (p *route53Provider) changesOf(id string, records []inkan.TXT) (changes []string, unknown []inkan.TXT) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range records {
		change, known := p.changes[recordName{id, strings.ToLower(r.Name)}]
		switch {
		case !known:
			unknown = append(unknown, r)
		case change != "" && !slices.Contains(changes, change):
			changes = append(changes, change)
		}
	}
	return changes, unknown
}

// inSync returns when a change has reached all of Route 53's servers.
func (p *route53Provider) inSync(ctx context.Context, op, change string) error {
	const patience = 5 // failures in a row
	failures := 0
	for n := 0; ; n++ {
		out, err := call(ctx, p, op, "ask for the change "+change, func(c *route53.Client) (*route53.GetChangeOutput, error) {
			return c.GetChange(ctx, &route53.GetChangeInput{Id: &change})
		})
		switch {
		case err == nil && out.ChangeInfo != nil && out.ChangeInfo.Status == types.ChangeStatusInsync:
			return nil
		case err == nil:
			failures = 0
		case inkan.KindOf(err) != inkan.Temporary || failures == patience:
			return err
		default:
			failures++
		}
		if err := sleep(ctx, p.pace.poll(n)); err != nil {
			return fmt.Errorf("%s: the change %s is not on all of Route 53's servers yet: %w", op, change, err)
		}
	}
}

func (p *route53Provider) apply(ctx context.Context, verb, zone string, records []inkan.TXT) error {
	zone, op, err := p.begin(ctx, verb, zone, records)
	if err != nil || len(records) == 0 {
		return err
	}
	id, err := p.findZone(ctx, op, zone)
	if err != nil {
		return err
	}
	return p.change(ctx, op, id, p.wishes(verb, records))
}

// begin is what every operation begins with. It returns the zone in lower case
// and what messages begin with.
func (p *route53Provider) begin(ctx context.Context, verb, zone string, records []inkan.TXT) (apex, op string, err error) {
	apex = strings.ToLower(zone)
	op = "route53: " + verb + " TXT in " + inkan.Printable(zone, 260)
	if !strings.HasSuffix(apex, ".") || apex == "." {
		return "", "", inkan.Errorf(inkan.Bug, op, "the zone must end in a dot and not be the root")
	}
	for _, r := range records {
		if err := checkTXT(op, apex, r); err != nil {
			return "", "", err
		}
	}
	if err := ctx.Err(); err != nil {
		return "", "", fmt.Errorf("%s: %w", op, err)
	}
	return apex, op, nil
}

// findZone returns the id of the public hosted zone with that name.
func (p *route53Provider) findZone(ctx context.Context, op, zone string) (string, error) {
	if p.cfg.HostedZoneID != "" {
		return zoneID(p.cfg.HostedZoneID), nil
	}
	p.mu.Lock()
	id, ok := p.zones[zone]
	p.mu.Unlock()
	if ok {
		return id, nil
	}
	var found []string
	private := false
	in := &route53.ListHostedZonesByNameInput{DNSName: &zone}
	for more := true; more; {
		page, err := call(ctx, p, op, "look for the hosted zone", func(c *route53.Client) (*route53.ListHostedZonesByNameOutput, error) {
			return c.ListHostedZonesByName(ctx, in)
		})
		if err != nil {
			return "", err
		}
		more = page.IsTruncated
		for _, z := range page.HostedZones {
			switch {
			case !strings.EqualFold(awssdk.ToString(z.Name), zone):
				more = false // the zones of one name stand together
			case z.Config != nil && z.Config.PrivateZone:
				private = true
			default:
				found = append(found, zoneID(awssdk.ToString(z.Id)))
			}
		}
		if more && (page.NextDNSName == nil || !strings.EqualFold(*page.NextDNSName, zone)) {
			more = false
		}
		in.DNSName, in.HostedZoneId = page.NextDNSName, page.NextHostedZoneId
	}
	switch {
	case len(found) == 0 && private:
		return "", inkan.Errorf(inkan.Operator, op, "the hosted zone %s is private; a CA cannot see it", zone).WithHint("create a public hosted zone of that name")
	case len(found) == 0:
		return "", inkan.Errorf(inkan.Operator, op, "this account has no hosted zone %s", zone).
			WithHint("check which account the credentials belong to; role_arn reaches a zone in another one")
	case len(found) > 1:
		return "", inkan.Errorf(inkan.Operator, op, "this account has %d public hosted zones %s: %s", len(found), zone, strings.Join(found, ", ")).
			WithHint("set hosted_zone_id to the one whose name servers the parent zone names")
	}
	p.mu.Lock()
	p.zones[zone] = found[0]
	p.mu.Unlock()
	return found[0], nil
}

// maxThrottled bounds how often one request is sent again because AWS was
// asked too fast.
const maxThrottled = 8

// call sends one request at the account's pace and waits out throttling. The
// SDK's own retries are off: they would ignore the pace.
func call[T any](ctx context.Context, p *route53Provider, op, what string, send func(*route53.Client) (T, error)) (T, error) {
	var none T
	c, err := p.open(ctx, op)
	if err != nil {
		return none, err
	}
	for n := 0; ; n++ {
		if err := p.window.wait(ctx); err != nil {
			return none, fmt.Errorf("%s: %s: %w", op, what, err)
		}
		out, err := send(c)
		switch {
		case err == nil:
			return out, nil
		case n == maxThrottled || !throttled(err) || ctx.Err() != nil:
			return none, explain(ctx, op, what, err)
		}
		wait := p.pace.throttledWait(n)
		p.log.DebugContext(ctx, "route53 is asked too fast", "code", codeOf(err), "wait", wait)
		if sleep(ctx, wait) != nil {
			return none, explain(ctx, op, what, err)
		}
	}
}

// open returns the client, made on first use.
func (p *route53Provider) open(ctx context.Context, op string) (*route53.Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.client != nil {
		return p.client, nil
	}
	c, err := p.session.load(ctx, op)
	if err != nil {
		return nil, err
	}
	p.client = route53.NewFromConfig(c, func(o *route53.Options) {
		o.Retryer = awssdk.NopRetryer{}
		if o.Region == "" {
			o.Region = "us-east-1" // Route 53 is global; the partition is what the region tells
		}
		if p.cfg.Endpoint != "" {
			o.BaseEndpoint = &p.cfg.Endpoint
		}
	})
	return p.client, nil
}

// refusal returns what Route 53 said about a batch that it did not carry out.
func refusal(err error) ([]string, bool) {
	e, ok := errors.AsType[*types.InvalidChangeBatch](err)
	if !ok {
		return nil, false
	}
	if len(e.Messages) > 0 {
		return e.Messages, true
	}
	// One text: [Tried to create ... but it already exists, Tried to ...]
	var list []string
	for i, part := range strings.Split(awssdk.ToString(e.Message), "Tried to ") {
		if i > 0 {
			part = "Tried to " + part
		}
		if part = strings.Trim(part, "[], "); part != "" {
			list = append(list, part)
		}
	}
	return list, true
}
