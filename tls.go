package inkan

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"hash/maphash"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// tlsCache serves handshakes from memory: shards of immutable maps, so that a
// hit takes one hash, one atomic load and one map look-up, without locks,
// allocations or clocks.
type tlsCache struct {
	once     sync.Once
	seed     maphash.Seed
	shards   [256]atomic.Pointer[map[string]*tlsEntry]
	mu       sync.Mutex // writers of the maps
	load     sync.Map   // name -> *sync.Once-like flight
	fallback atomic.Pointer[tlsEntry]

	internMu sync.Mutex
	intern   map[string][]byte // issuer certificates, shared by thousands of leaves
}

// tlsEntry is one server name. The pairs change when a new version arrives;
// an empty list means that the Store has none (remembered for a while).
type tlsEntry struct {
	pairs atomic.Pointer[tlsPairs]
	used  atomic.Bool
	name  string
}

type tlsPairs struct {
	certificate string // its name
	n           uint64
	certs       []*tls.Certificate
}

// maxTLSEntries bounds the memory that names can take.
const maxTLSEntries = 2_000_000

// ErrNoCertificate reports that the Store has no certificate for a server name.
var ErrNoCertificate = errors.New("no certificate for this server name")

// GetCertificate fits tls.Config.GetCertificate. It serves the version in
// force of the certificate for the server name: the exact name, else the
// wildcard of its parent, else, without a server name, the local address, else
// the default ([Manager.SetDefault]). The first handshake for a name reads the
// Store; [Manager.Watch] brings new versions in. Safe for concurrent use.
func (m *Manager) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	c := &m.tls
	name := hello.ServerName
	if name == "" {
		return m.addressCertificate(hello)
	}
	if !isLower(name) {
		name = strings.ToLower(name)
	}
	if name[len(name)-1] == '.' {
		name = name[:len(name)-1]
	}
	if e := c.get(name); e != nil {
		if cert := e.choose(hello); cert != nil {
			return cert, nil
		}
		return m.defaultCertificate(hello)
	}
	return m.loadCertificate(hello, name)
}

func isLower(s string) bool {
	for i := range len(s) {
		if c := s[i]; c >= 'A' && c <= 'Z' {
			return false
		}
	}
	return true
}

func (c *tlsCache) shard(name string) *atomic.Pointer[map[string]*tlsEntry] {
	return &c.shards[maphash.String(c.seed, name)&255]
}

func (c *tlsCache) get(name string) *tlsEntry {
	c.once.Do(c.init)
	p := c.shard(name).Load()
	if p == nil {
		return nil
	}
	return (*p)[name]
}

func (c *tlsCache) init() { c.seed = maphash.MakeSeed(); c.intern = map[string][]byte{} }

// choose picks the pair that the client supports, the first if none says so.
func (e *tlsEntry) choose(hello *tls.ClientHelloInfo) *tls.Certificate {
	p := e.pairs.Load()
	if p == nil || len(p.certs) == 0 {
		return nil
	}
	if !e.used.Load() {
		e.used.Store(true)
	}
	if len(p.certs) > 1 {
		for _, c := range p.certs {
			if hello.SupportsCertificate(c) == nil {
				return c
			}
		}
	}
	return p.certs[0]
}

func (m *Manager) addressCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if hello.Conn != nil {
		if host, _, err := net.SplitHostPort(hello.Conn.LocalAddr().String()); err == nil {
			if id, err := ParseIdentifier(host); err == nil {
				if e := m.tls.get(id.Value); e != nil {
					if cert := e.choose(hello); cert != nil {
						return cert, nil
					}
				} else if cert, err := m.loadCertificate(hello, id.Value); err == nil {
					return cert, nil
				}
			}
		}
	}
	return m.defaultCertificate(hello)
}

func (m *Manager) defaultCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if e := m.tls.fallback.Load(); e != nil {
		if cert := e.choose(hello); cert != nil {
			return cert, nil
		}
	}
	return nil, ErrNoCertificate
}

// loadCertificate reads the Store for a name that was never asked for. What a
// client sends is checked before it becomes part of a key.
func (m *Manager) loadCertificate(hello *tls.ClientHelloInfo, name string) (*tls.Certificate, error) {
	id, err := ParseIdentifier(name)
	if err != nil || id.Value != name {
		return m.defaultCertificate(hello)
	}
	ctx := hello.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	e, err := m.tlsEntryFor(ctx, id)
	if err != nil {
		m.log().Warn("a certificate could not be read for a handshake", "server_name", name, logError(err))
		return m.defaultCertificate(hello)
	}
	if cert := e.choose(hello); cert != nil {
		return cert, nil
	}
	return m.defaultCertificate(hello)
}

// tlsEntryFor reads the certificate for id and remembers it; at once for the
// same name only one goroutine reads.
func (m *Manager) tlsEntryFor(ctx context.Context, id Identifier) (*tlsEntry, error) {
	c := &m.tls
	flight, _ := c.load.LoadOrStore(id.Value, &sync.Mutex{})
	mu := flight.(*sync.Mutex)
	mu.Lock()
	defer mu.Unlock()
	defer c.load.Delete(id.Value)
	if e := c.get(id.Value); e != nil {
		return e, nil
	}
	pairs, err := m.findPairs(ctx, id)
	if err != nil {
		return nil, err
	}
	e := &tlsEntry{name: id.Value}
	e.pairs.Store(pairs)
	e.used.Store(true)
	c.put(e)
	return e, nil
}

func (c *tlsCache) put(e *tlsEntry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.shard(e.name)
	next := map[string]*tlsEntry{}
	if old := s.Load(); old != nil {
		if len(*old) >= maxTLSEntries/len(c.shards) {
			return
		}
		for k, v := range *old {
			next[k] = v
		}
	}
	next[e.name] = e
	s.Store(&next)
}

// findPairs follows the hints of the name, then those of its wildcard, and
// checks them against the leaf. It never fails for want of a certificate.
func (m *Manager) findPairs(ctx context.Context, id Identifier) (*tlsPairs, error) {
	candidates := []Identifier{id}
	if _, parent, ok := strings.Cut(id.Value, "."); ok && id.Type == DNS {
		candidates = append(candidates, Identifier{DNS, "*." + parent})
	}
	for _, want := range candidates {
		var best *tlsPairs
		var bestEnd time.Time
		prefix := namesPrefix + hintElement(want) + "/"
		for key, err := range m.Store.List(ctx, prefix, "") {
			if err != nil {
				return nil, fmt.Errorf("listing %s: %w", prefix, err)
			}
			name := strings.TrimPrefix(key, prefix)
			cur, err := load[Current](ctx, m.Store, currentKey(name))
			if err != nil || len(cur.v.Pairs) == 0 {
				continue
			}
			v, err := LoadVersion(ctx, m.Store, name, cur.v)
			if err != nil || !slices.Contains(v.Identifiers, want) {
				continue // a hint is only a hint
			}
			// Of several certificates for a name the one that lasts longest.
			if end := v.Pairs[0].Leaf.NotAfter; best == nil || end.After(bestEnd) {
				p, err := m.tls.pairsOf(v)
				if err != nil {
					continue
				}
				best, bestEnd = p, end
			}
		}
		if best != nil {
			return best, nil
		}
	}
	return &tlsPairs{}, nil
}

// pairsOf turns a version into what crypto/tls serves. The parsed leaf is kept
// only where a choice between pairs needs it, and issuers are shared.
func (c *tlsCache) pairsOf(v *Version) (*tlsPairs, error) {
	c.once.Do(c.init)
	p := &tlsPairs{certificate: v.Name, n: v.N}
	for i := range v.Pairs {
		cert, err := v.Pairs[i].TLS()
		if err != nil {
			return nil, err
		}
		if len(v.Pairs) == 1 {
			cert.Leaf = nil
		}
		c.internMu.Lock()
		for k := 1; k < len(cert.Certificate); k++ {
			der, ok := c.intern[string(cert.Certificate[k])]
			if !ok {
				if len(c.intern) > 1000 {
					clear(c.intern)
				}
				der = cert.Certificate[k]
				c.intern[string(der)] = der
			}
			cert.Certificate[k] = der
		}
		c.internMu.Unlock()
		p.certs = append(p.certs, cert)
	}
	return p, nil
}

// SetDefault names the certificate that is served when no other fits. An empty
// name takes it back.
func (m *Manager) SetDefault(ctx context.Context, certificate string) error {
	if certificate == "" {
		m.tls.fallback.Store(nil)
		return nil
	}
	o, err := m.Observe(ctx, certificate)
	if err != nil {
		return err
	}
	if o.Version == nil {
		return Errorf(Operator, "certificate "+certificate, "there is none in force yet")
	}
	p, err := m.tls.pairsOf(o.Version)
	if err != nil {
		return err
	}
	e := &tlsEntry{}
	e.pairs.Store(p)
	m.tls.fallback.Store(e)
	return nil
}

const (
	watchOverlap = time.Minute     // events are written a little after their instant
	watchRecheck = 5 * time.Minute // each used entry is looked at again
)

// Watch keeps GetCertificate fresh until ctx ends: it reads the events every
// interval (10 s if zero), and looks at each used name again every five
// minutes, so that nothing depends on events alone. Names without a
// certificate are forgotten at each look, so that a first issuance is seen.
func (m *Manager) Watch(ctx context.Context, interval time.Duration) error {
	if interval <= 0 {
		interval = 10 * time.Second
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	seen := map[string]time.Time{}
	last, checked := m.now(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		now := m.now()
		changed, err := m.eventsSince(ctx, last.Add(-watchOverlap), seen)
		if err != nil {
			m.log().Warn("events could not be read", logError(err))
		} else {
			last = now
		}
		if time.Since(checked) >= watchRecheck {
			m.refresh(ctx, nil)
			checked = time.Now()
		} else if len(changed) > 0 {
			m.refresh(ctx, changed)
		}
		for id, at := range seen {
			if last.Sub(at) > 3*watchOverlap {
				delete(seen, id)
			}
		}
	}
}

// eventsSince returns the certificates that events not seen before speak of.
func (m *Manager) eventsSince(ctx context.Context, since time.Time, seen map[string]time.Time) ([]string, error) {
	var changed []string
	for e, err := range Events(ctx, m.Store, since) {
		if err != nil {
			return changed, err
		}
		if _, ok := seen[e.ID]; ok {
			continue
		}
		seen[e.ID] = e.At
		if e.Kind == EventIssued || e.Kind == EventDeleted {
			changed = append(changed, e.Name)
		}
	}
	return changed, nil
}

// refresh reads the Store again for the entries of the named certificates, and
// for all used entries when names is nil. Entries without a certificate are
// dropped, as are those that nobody used since the last time.
func (m *Manager) refresh(ctx context.Context, names []string) {
	c := &m.tls
	c.once.Do(c.init)
	for i := range c.shards {
		p := c.shards[i].Load()
		if p == nil {
			continue
		}
		var drop []string
		for name, e := range *p {
			pairs := e.pairs.Load()
			if len(pairs.certs) == 0 || names == nil && !e.used.Swap(false) {
				drop = append(drop, name)
				continue
			}
			if names != nil && !slices.Contains(names, pairs.certificate) {
				continue
			}
			id, err := ParseIdentifier(name)
			if err != nil {
				continue
			}
			if next, err := m.findPairs(ctx, id); err == nil {
				e.pairs.Store(next)
			} else {
				m.log().Warn("a certificate could not be read again; the old one is served", "server_name", name, logError(err))
			}
		}
		c.drop(i, drop)
	}
	if e := c.fallback.Load(); e != nil {
		if p := e.pairs.Load(); names == nil || slices.Contains(names, p.certificate) {
			if err := m.SetDefault(ctx, p.certificate); err != nil {
				m.log().Warn("the default certificate could not be read again; the old one is served", logError(err))
			}
		}
	}
}

func (c *tlsCache) drop(shard int, names []string) {
	if len(names) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	next := map[string]*tlsEntry{}
	for k, v := range *c.shards[shard].Load() {
		if !slices.Contains(names, k) {
			next[k] = v
		}
	}
	c.shards[shard].Store(&next)
}
