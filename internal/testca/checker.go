package testca

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/publicsuffix"
)

// checker is the judge of [Options.CheckLimits]. Requests per second are judged
// as they arrive, in front of every fault; orders, certificates, failures and
// accounts by what Pebble did, behind every fault. It refuses nothing: what it
// finds is a [Violation]. The rules are Boulder's: new orders are spent when an
// order is made, certificates when one is issued, and a new order is refused
// when any bucket that it touches is empty.
type checker struct {
	limits Limits

	mu         sync.Mutex
	buckets    map[string]*bucket
	orders     map[string]*orderSeen // by order id
	replacing  map[string][]string   // orders by the ARI id of the certificate they replace
	issuedSets map[string]bool       // exact sets that have had a certificate
	violations []Violation
}

// orderSeen is an order that Pebble made.
type orderSeen struct {
	ids     []Identifier
	exempt  bool // by ARI: from every limit
	renewal bool // of exactly the same names, without ARI
}

func newChecker(l *Limits) *checker {
	if l == nil {
		return nil
	}
	c := &checker{limits: *l, buckets: map[string]*bucket{}, orders: map[string]*orderSeen{}, replacing: map[string][]string{}, issuedSets: map[string]bool{}}
	if c.limits.Now == nil {
		c.limits.Now = time.Now
	}
	return c
}

// Violations returns every request so far over a limit of
// [Options.CheckLimits], oldest first.
func (c *CA) Violations() []Violation {
	if c.checker == nil {
		return nil
	}
	c.checker.mu.Lock()
	defer c.checker.mu.Unlock()
	return slices.Clone(c.checker.violations)
}

// bucket returns the bucket of that name. mu is held.
func (c *checker) bucket(key string) *bucket {
	b := c.buckets[key]
	if b == nil {
		b = &bucket{}
		c.buckets[key] = b
	}
	return b
}

// violated notes a violation. mu is held.
func (c *checker) violated(now time.Time, row, subject, request string) {
	c.violations = append(c.violations, Violation{Time: now, Row: row, Subject: subject, Request: request})
}

// need notes a violation if the quota of subject is used up; spend takes a
// token. mu is held.
func (c *checker) need(now time.Time, q Quota, what, subject, request string) {
	if q.Capacity > 0 && !c.bucket(what+" "+subject).has(q, now) {
		c.violated(now, q.row(what), subject, request)
	}
}

func (c *checker) spend(now time.Time, q Quota, what, subject string) {
	if q.Capacity > 0 {
		b := c.bucket(what + " " + subject)
		b.refill(now, q.Refill)
		b.used++
	}
}

// What the quotas count, as the rows of the table name them.
const (
	rowAccounts    = "new accounts per address"
	rowOrders      = "new orders per account"
	rowDomain      = "certificates per registered domain"
	rowSet         = "certificates per exact set of identifiers"
	rowFailures    = "failed authorizations per identifier and account"
	rowConsecutive = "consecutive failed authorizations"
)

// arrived judges one request by the endpoint limits.
func (c *checker) arrived(r *http.Request) {
	if c == nil {
		return
	}
	l := c.limits
	var rate Rate
	endpoint := ""
	switch path := r.URL.Path; {
	case path == PathDirectory:
		rate, endpoint = l.Directory, "the directory"
	case path == PathNewNonce:
		rate, endpoint = l.NewNonce, "new-nonce"
	case path == PathNewAccount:
		rate, endpoint = l.NewAccount, "new-account"
	case path == PathNewOrder:
		rate, endpoint = l.NewOrder, "new-order"
	case path == PathRevoke:
		rate, endpoint = l.Revoke, "revoke"
	case strings.HasPrefix(path, PathRenewalInfo):
		rate, endpoint = l.RenewalInfo, "renewal-info"
	default:
		rate, endpoint = l.Other, "/acme/*"
	}
	if rate.PerSecond == 0 {
		return
	}
	host := clientAddress(r)
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.limits.Now()
	if !c.bucket(endpoint+" "+host).pass(rate, now) {
		c.violated(now, rate.row(endpoint), host, r.Method+" "+r.URL.Path)
	}
}

func clientAddress(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// account judges a newAccount request that made an account.
func (c *checker) account(r *http.Request) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now, host := c.limits.Now(), clientAddress(r)
	c.need(now, c.limits.Accounts, rowAccounts, host, r.Method+" "+r.URL.Path)
	c.spend(now, c.limits.Accounts, rowAccounts, host)
}

// order judges a newOrder request that was granted. live reports whether the
// order with that id gave a certificate or still can.
func (c *checker) order(r *http.Request, id, account string, p orderPayload, live func(string) bool) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now, request, l := c.limits.Now(), r.Method+" "+r.URL.Path, c.limits
	o := &orderSeen{ids: p.Identifiers, renewal: c.issuedSets[setKey(p.Identifiers)]}
	if p.Replaces != "" {
		// Pebble has checked account and names. It lets a second order replace
		// the same certificate until the first is finalized; Boulder does not.
		others := slices.DeleteFunc(slices.Clone(c.replacing[p.Replaces]), func(other string) bool { return other == id || !live(other) })
		o.exempt = len(others) == 0
		c.replacing[p.Replaces] = append(others, id)
	}
	if c.orders[id] == nil { // an order handed out again keeps its standing
		c.orders[id] = o
	}
	if o.exempt {
		return
	}
	for _, id := range o.ids {
		c.need(now, l.Failures, rowFailures, failureKey(account, id), request)
		c.need(now, l.Consecutive, rowConsecutive, failureKey(account, id), request)
	}
	c.need(now, l.Set, rowSet, setKey(o.ids), request)
	if o.renewal {
		return
	}
	for _, d := range registeredDomains(o.ids) {
		c.need(now, l.Domain, rowDomain, d, request)
	}
	c.need(now, l.Orders, rowOrders, account, request)
	c.spend(now, l.Orders, rowOrders, account)
}

// issued counts a certificate.
func (c *checker) issued(id, request string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.orders[id]
	if o == nil {
		return
	}
	now := c.limits.Now()
	if !o.exempt {
		c.need(now, c.limits.Set, rowSet, setKey(o.ids), request)
		c.spend(now, c.limits.Set, rowSet, setKey(o.ids))
		if !o.renewal {
			for _, d := range registeredDomains(o.ids) {
				c.need(now, c.limits.Domain, rowDomain, d, request)
				c.spend(now, c.limits.Domain, rowDomain, d)
			}
		}
	}
	c.issuedSets[setKey(o.ids)] = true
}

// judged counts what the validator found of an identifier.
func (c *checker) judged(account string, id Identifier, valid bool) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	key, now := failureKey(account, id), c.limits.Now()
	if valid {
		delete(c.buckets, rowConsecutive+" "+key)
		return
	}
	c.spend(now, c.limits.Failures, rowFailures, key)
	c.spend(now, c.limits.Consecutive, rowConsecutive, key)
}

func failureKey(account string, id Identifier) string {
	return strings.TrimPrefix(id.Value, "*.") + " of " + account
}

// setKey is the exact set of identifiers.
func setKey(ids []Identifier) string {
	var values []string
	for _, id := range ids {
		values = append(values, id.Value)
	}
	slices.Sort(values)
	return strings.Join(slices.Compact(values), ",")
}

// registeredDomains returns what the limit per domain counts.
func registeredDomains(ids []Identifier) []string {
	var domains []string
	for _, id := range ids {
		if addr, err := netip.ParseAddr(id.Value); err == nil {
			bits := addr.BitLen()
			if addr.Is6() {
				bits = 64
			}
			domains = append(domains, netip.PrefixFrom(addr, bits).Masked().String())
			continue
		}
		name := strings.TrimPrefix(id.Value, "*.")
		if d, err := publicsuffix.EffectiveTLDPlusOne(name); err == nil {
			name = d
		}
		domains = append(domains, name)
	}
	slices.Sort(domains)
	return slices.Compact(domains)
}
