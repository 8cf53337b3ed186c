package acme

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"

	"github.com/inkan-acme/inkan"
)

// orderBuckets returns the limits that a new order counts against. An order
// that replaces a certificate by ARI is exempt from all; a renewal of exactly
// the same names without ARI only counts against those names. A CA without
// published limits has one bucket that remembers what a 429 said.
func (o *order) orderBuckets(ari bool) []inkan.Bucket {
	l := o.c.ca.Limits
	if l.Orders.Capacity == 0 {
		return []inkan.Bucket{o.ordersBucket()}
	}
	if ari {
		return nil
	}
	var set []inkan.Bucket
	if l.Set.Capacity > 0 {
		set = []inkan.Bucket{o.setBucket()}
	}
	if o.renewsSameSet() {
		return set
	}
	return slices.Concat([]inkan.Bucket{o.ordersBucket()}, o.domainBuckets(), set)
}

func (o *order) ordersBucket() inkan.Bucket {
	q := o.c.ca.Limits.Orders
	return inkan.Bucket{
		Key:      inkan.LimitKey(o.c.name, o.c.config.Account, "orders"),
		Capacity: q.Capacity, Refill: q.Refill,
		What: "new orders of account " + o.c.config.Account + " at " + o.c.name,
	}
}

func (o *order) setBucket() inkan.Bucket {
	names := make([]string, len(o.ids))
	for i, id := range o.ids {
		names[i] = id.Value
	}
	slices.Sort(names)
	q := o.c.ca.Limits.Set
	return inkan.Bucket{
		Key:      inkan.LimitKey(o.c.name, "set", inkan.LimitHash(strings.Join(names, ","))),
		Capacity: q.Capacity, Refill: q.Refill,
		What: "certificates for exactly these names at " + o.c.name,
	}
}

// domainBuckets returns one bucket for each registrable domain, IPv4 address
// and IPv6 /64 network.
func (o *order) domainBuckets() []inkan.Bucket {
	q := o.c.ca.Limits.Domain
	if q.Capacity == 0 {
		return nil
	}
	var domains []string
	for _, id := range o.ids {
		domains = append(domains, countedDomain(id))
	}
	slices.Sort(domains)
	var buckets []inkan.Bucket
	for _, d := range slices.Compact(domains) {
		buckets = append(buckets, inkan.Bucket{
			Key:      inkan.LimitKey(o.c.name, "domain", inkan.LimitHash(d)),
			Capacity: q.Capacity, Refill: q.Refill,
			What: "certificates for " + d + " at " + o.c.name,
		})
	}
	return buckets
}

func countedDomain(id inkan.Identifier) string {
	if id.Type == inkan.IP {
		if a, err := netip.ParseAddr(id.Value); err == nil && a.Is6() {
			if p, err := a.Prefix(64); err == nil {
				return p.String()
			}
		}
		return id.Value
	}
	if d, err := publicsuffix.EffectiveTLDPlusOne(id.Base()); err == nil {
		return d
	}
	return id.Base()
}

// failureBucket counts failed authorizations of one identifier. Its capacity
// is one below the CA's: the failure that finds it empty is the CA's last one,
// and is remembered by Block (see countFailures).
func (o *order) failureBucket(id inkan.Identifier) inkan.Bucket {
	q := o.c.ca.Limits.Failures
	return inkan.Bucket{
		Key:      inkan.LimitKey(o.c.name, o.c.config.Account, "failures", inkan.LimitHash(id.Value)),
		Capacity: q.Capacity - 1, Refill: q.Refill,
		What: "failed validations of " + id.Value + " at " + o.c.name,
	}
}

// take takes the tokens of a new order that the journal does not name yet and
// journals them before newOrder goes out, so that whoever sends it again, now or
// after a crash, does not pay again. A crash between the two loses the tokens
// until the buckets fill up. The buckets that the journal names are only asked
// whether a 429 said to wait. take returns those that it took from.
func (o *order) take(ctx context.Context, buckets []inkan.Bucket) (taken []inkan.Bucket, err error) {
	if len(buckets) == 0 {
		return nil, nil
	}
	ask := slices.Clone(buckets)
	for i, b := range buckets {
		if slices.Contains(o.rec.Tokens, b.Key) {
			ask[i].Capacity = 0
		} else if b.Capacity > 0 {
			taken = append(taken, b)
		}
	}
	if err := o.r.Limiter.Take(ctx, ask); err != nil {
		if ctx.Err() != nil {
			return nil, interrupted(ctx, o.c.op("new order"), err)
		}
		return nil, err
	}
	return taken, o.journalTokens(ctx, keysOf(taken))
}

// keysOf returns the keys of buckets.
func keysOf(buckets []inkan.Bucket) []string {
	var keys []string
	for _, b := range buckets {
		keys = append(keys, b.Key)
	}
	return keys
}

// journalTokens notes that the order holds a token of each of the buckets with
// these keys.
func (o *order) journalTokens(ctx context.Context, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	var held []string
	err := o.journal(ctx, func(r *inkan.OrderRecord) {
		held = slices.Concat(r.Tokens, keys)
		r.Tokens = held
	})
	if err == nil {
		o.rec.Tokens = held
	}
	return err
}

// refund gives back the tokens that the journal says the order holds of buckets.
// They leave the journal first: a crash in between loses them, and no token
// comes back twice.
func (o *order) refund(ctx context.Context, buckets []inkan.Bucket) {
	held := func(tokens []string) []inkan.Bucket {
		return slices.DeleteFunc(slices.Clone(buckets), func(b inkan.Bucket) bool { return !slices.Contains(tokens, b.Key) })
	}
	if len(held(o.rec.Tokens)) == 0 {
		return
	}
	var back []inkan.Bucket
	var rest []string
	err := o.journal(ctx, func(r *inkan.OrderRecord) {
		back = held(r.Tokens)
		keys := keysOf(back)
		rest = slices.DeleteFunc(slices.Clone(r.Tokens), func(key string) bool { return slices.Contains(keys, key) })
		r.Tokens = rest
	})
	if err == nil {
		o.rec.Tokens = rest
		err = o.r.Limiter.Refund(ctx, back)
	}
	o.noteLimit(ctx, err)
}

// orderRefused settles the limits of an order that the CA refused: a refusal
// made no order, and a 429 says when to come back, also to the next process.
// What was taken for an earlier request stays: that one may have made an order.
func (o *order) orderRefused(ctx context.Context, refusal error, taken []inkan.Bucket) {
	p := problemOf(refusal)
	if p == nil || p.Status < 400 || p.Status > 499 {
		return // the CA may have made the order
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if p.Type != "" {
		o.refund(ctx, taken)
	}
	if (p.is(rateLimited) || p.Status == http.StatusTooManyRequests) && p.RetryAfter > 0 {
		until := o.c.engineNow().Add(p.RetryAfter)
		for _, b := range o.limited(p) {
			o.noteLimit(ctx, o.r.Limiter.Block(ctx, b, until))
		}
	}
}

// limited returns the buckets that a 429 speaks of. A CA with published limits
// names the limit in its text; one domain's limit must not stop the others.
func (o *order) limited(p *Problem) []inkan.Bucket {
	text := strings.ToLower(p.Detail)
	if o.c.ca.Limits.Orders.Capacity > 0 {
		switch {
		case strings.Contains(text, "exact set of"):
			return []inkan.Bucket{o.setBucket()}
		case strings.Contains(text, "already issued for"):
			var named []inkan.Bucket
			for _, b := range o.domainBuckets() {
				domain, _, _ := strings.Cut(strings.TrimPrefix(b.What, "certificates for "), " at ")
				if strings.Contains(text, `"`+domain+`"`) {
					named = append(named, b)
				}
			}
			if len(named) > 0 {
				return named
			}
			return o.domainBuckets()
		case strings.Contains(text, "failed authorizations"):
			var named []inkan.Bucket
			for _, id := range o.ids {
				if strings.Contains(text, `"`+id.Base()+`"`) {
					named = append(named, o.failureBucket(id))
				}
			}
			return named
		}
	}
	return []inkan.Bucket{o.ordersBucket()}
}

// countsFailures reports whether failed authorizations count against a known
// limit.
func (o *order) countsFailures() bool { return o.c.ca.Limits.Failures.Capacity > 1 }

// checkFailures returns an error of kind RateLimited if one of the identifiers
// failed so often that the CA would refuse to look again, or an order for it.
// It takes no token. A replacement by ARI is exempt.
func (o *order) checkFailures(ctx context.Context, ids []inkan.Identifier, ari bool) error {
	if !o.countsFailures() || ari || o.failuresChecked || len(ids) == 0 {
		return nil
	}
	o.failuresChecked = true
	var buckets []inkan.Bucket
	for _, id := range ids {
		b := o.failureBucket(inkan.Identifier{Type: id.Type, Value: id.Base()})
		b.Capacity = 0 // it is only asked
		buckets = append(buckets, b)
	}
	err := o.r.Limiter.Take(ctx, buckets)
	if err != nil && ctx.Err() != nil {
		return interrupted(ctx, o.c.op("new order"), err)
	}
	return err
}

// countFailures counts failed authorizations, also those of an order that was
// exempt: the next one may not be. The journal names what was counted, so that a
// restart does not count it again. It is written last: a crash before may count a
// failure twice, and never lets one pass.
func (o *order) countFailures(ctx context.Context, ids []inkan.Identifier) {
	if !o.countsFailures() {
		return
	}
	var counted []string
	for _, id := range ids {
		b := o.failureBucket(id)
		if slices.Contains(o.rec.Tokens, b.Key) || slices.Contains(counted, b.Key) {
			continue
		}
		err := o.r.Limiter.Take(ctx, []inkan.Bucket{b})
		if until := inkan.RetryAfterOf(err); !until.IsZero() {
			err = o.r.Limiter.Block(ctx, b, until)
		}
		if err == nil {
			counted = append(counted, b.Key)
		}
		o.noteLimit(ctx, err)
	}
	o.noteLimit(ctx, o.journalTokens(ctx, counted))
}

// giveBack returns the tokens of limits on certificates, for an order that
// ended without one.
func (o *order) giveBack(ctx context.Context) {
	if !o.finalized {
		o.refund(ctx, append(o.domainBuckets(), o.setBucket()))
	}
}

// noteLimit notes that a limit could not be recorded; the CA still keeps it.
func (o *order) noteLimit(ctx context.Context, err error) {
	if err != nil {
		o.c.log.DebugContext(ctx, "a limit was not recorded", "name", o.rec.Name, "error", err)
	}
}
