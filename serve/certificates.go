package serve

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/state"
)

// Certificates serves TLS handshakes with the certificates of a Store, from memory.
// Its shards are immutable maps, so that a hit takes one hash, one atomic load and
// one map look-up, without locks, allocations or clocks.
//
// All methods may be called concurrently.
type Certificates struct {
	// Store holds the certificates. Read access to current/, v/, names/ and
	// events/ is enough.
	Store inkan.Store
	// OpenKey opens keys that are not stored as they are.
	OpenKey inkan.KeyOpener
	// Log receives what could not be read; nil discards.
	Log *slog.Logger
	// Now is the wall clock; nil means time.Now.
	Now func() time.Time

	once     sync.Once
	seed     maphash.Seed
	named    tlsTable           // names that stand in a certificate
	guests   tlsTable           // names below a wildcard and names without a certificate: clients make up any number of them
	mu       sync.Mutex         // writers of the tables
	load     singleflight.Group // by name: one reader of the Store
	fallback atomic.Pointer[tlsEntry]

	sharedMu sync.Mutex
	versions map[string]*tlsPairs // by certificate: its names share one
	intern   map[string][]byte    // issuer certificates, shared by thousands of leaves
}

type tlsTable [256]atomic.Pointer[map[string]*tlsEntry]

// tlsEntry is one server name. The pairs change when a new version arrives.
type tlsEntry struct {
	only  atomic.Pointer[tls.Certificate] // where there is one pair, so that a hit touches little memory
	used  atomic.Bool
	name  string
	pairs atomic.Pointer[tlsPairs]
	at    time.Time // when it was made
}

func (e *tlsEntry) set(p *tlsPairs) {
	var only *tls.Certificate
	if len(p.certs) == 1 {
		only = p.certs[0]
	}
	e.pairs.Store(p)
	e.only.Store(only)
}

// tlsPairs is what the Store had for a name; the zero value says nothing.
type tlsPairs struct {
	certificate string // its name
	n, k        uint64
	id          string
	identifiers []inkan.Identifier
	end         time.Time // of the first leaf
	certs       []*tls.Certificate
}

// The bounds of the memory that names can take. A shard of guests that is full
// starts anew.
const (
	maxNamed  = 2_000_000
	maxGuests = 1 << 16
)

// emptyLife is how long a name without a certificate is not looked up again.
const emptyLife = 10 * time.Second

// ErrNoCertificate reports that the Store has no certificate for a server name.
var ErrNoCertificate = errors.New("no certificate for this server name")

// GetCertificate fits tls.Config.GetCertificate. It serves the version in
// force of the certificate for the server name: the exact name, else the
// wildcard of its parent, else, without a server name, the local address, else
// the default ([Certificates.SetDefault]). The first handshake for a name reads the
// Store; [Certificates.Watch] brings new versions in. Safe for concurrent use.
func (c *Certificates) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := hello.ServerName
	if name == "" {
		return c.addressCertificate(hello)
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
		if !e.stale() {
			return c.defaultCertificate(hello)
		}
	}
	return c.loadCertificate(hello, name)
}

func isLower(s string) bool {
	for i := range len(s) {
		if c := s[i]; c >= 'A' && c <= 'Z' {
			return false
		}
	}
	return true
}

func (c *Certificates) shard(name string) int { return int(maphash.String(c.seed, name) & 255) }

func (c *Certificates) get(name string) *tlsEntry {
	c.once.Do(c.init)
	i := c.shard(name)
	if p := c.named[i].Load(); p != nil {
		if e := (*p)[name]; e != nil {
			return e
		}
	}
	if p := c.guests[i].Load(); p != nil {
		return (*p)[name]
	}
	return nil
}

func (c *Certificates) init() {
	c.seed = maphash.MakeSeed()
	c.versions, c.intern = map[string]*tlsPairs{}, map[string][]byte{}
}

// stale reports whether the Store is to be asked again for a name that had no
// certificate.
func (e *tlsEntry) stale() bool {
	return len(e.pairs.Load().certs) == 0 && time.Since(e.at) > emptyLife
}

// choose picks the first pair that the client supports; the first of all if it
// supports none.
func (e *tlsEntry) choose(hello *tls.ClientHelloInfo) *tls.Certificate {
	if !e.used.Load() {
		e.used.Store(true)
	}
	if c := e.only.Load(); c != nil {
		return c
	}
	p := e.pairs.Load()
	for _, c := range p.certs {
		if len(p.certs) == 1 || hello.SupportsCertificate(c) == nil {
			return c
		}
	}
	if len(p.certs) == 0 {
		return nil
	}
	return p.certs[0]
}

// addressCertificate is for clients that name no server: the certificate of the
// address that they called.
func (c *Certificates) addressCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	address, ok := localAddress(hello)
	if !ok {
		return c.defaultCertificate(hello)
	}
	e := c.get(address)
	if e == nil || e.stale() {
		return c.loadCertificate(hello, address)
	}
	if cert := e.choose(hello); cert != nil {
		return cert, nil
	}
	return c.defaultCertificate(hello)
}

// localAddress is the IP address that a client called, as an identifier has it.
func localAddress(hello *tls.ClientHelloInfo) (string, bool) {
	if hello.Conn == nil {
		return "", false
	}
	host, _, err := net.SplitHostPort(hello.Conn.LocalAddr().String())
	if err != nil {
		return "", false
	}
	id, err := inkan.ParseIdentifier(host)
	return id.Value, err == nil
}

func (c *Certificates) defaultCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if e := c.fallback.Load(); e != nil {
		if cert := e.choose(hello); cert != nil {
			return cert, nil
		}
	}
	return nil, ErrNoCertificate
}

// loadCertificate reads the Store for a name that was never asked for. What a
// client sends is checked before it becomes part of a key.
func (c *Certificates) loadCertificate(hello *tls.ClientHelloInfo, name string) (*tls.Certificate, error) {
	id, err := inkan.ParseIdentifier(name)
	if err != nil || id.Value != name {
		return c.defaultCertificate(hello)
	}
	e, err := c.entryFor(cmp.Or(hello.Context(), context.Background()), id)
	if err != nil {
		c.log().Warn("a certificate could not be read for a handshake", "server_name", name, logError(err))
		return c.defaultCertificate(hello)
	}
	if cert := e.choose(hello); cert != nil {
		return cert, nil
	}
	return c.defaultCertificate(hello)
}

// readTimeout bounds what a handshake waits for the Store.
const readTimeout = 10 * time.Second

// entryFor reads the certificate for id and remembers it. One goroutine reads for
// all who ask for the name meanwhile, so a client that goes away does not end it.
func (c *Certificates) entryFor(ctx context.Context, id inkan.Identifier) (*tlsEntry, error) {
	e, err, _ := c.load.Do(id.Value, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readTimeout)
		defer cancel()
		return c.readEntry(ctx, id)
	})
	if err != nil {
		return nil, err
	}
	return e.(*tlsEntry), nil
}

func (c *Certificates) readEntry(ctx context.Context, id inkan.Identifier) (*tlsEntry, error) {
	if e := c.get(id.Value); e != nil && !e.stale() {
		return e, nil
	}
	pairs, err := c.findPairs(ctx, id)
	if err != nil && len(pairs.certs) == 0 {
		return nil, err
	}
	e := &tlsEntry{name: id.Value, at: time.Now()}
	e.set(pairs)
	e.used.Store(true)
	if err == nil {
		c.put(e, slices.Contains(pairs.identifiers, id))
	}
	return e, nil
}

// put remembers an entry. named says that the certificate has that very name, not
// only a wildcard.
func (c *Certificates) put(e *tlsEntry, named bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	table, full := &c.guests, maxGuests/len(c.guests)
	if named {
		table, full = &c.named, maxNamed/len(c.named)
	}
	i := c.shard(e.name)
	next := map[string]*tlsEntry{}
	if old := table[i].Load(); old != nil && (named || len(*old) < full) {
		if len(*old) >= full {
			return
		}
		maps.Copy(next, *old)
	}
	next[e.name] = e
	table[i].Store(&next)
}

// findPairs follows the hints of the name, then those of its wildcard, and
// checks them against the leaf. A missing certificate is no error. If something
// could not be read, it returns the error together with what it found.
func (c *Certificates) findPairs(ctx context.Context, id inkan.Identifier) (*tlsPairs, error) {
	candidates := []inkan.Identifier{id}
	if _, parent, ok := strings.Cut(id.Value, "."); ok && id.Type == inkan.DNS {
		candidates = append(candidates, inkan.Identifier{Type: inkan.DNS, Value: "*." + parent})
	}
	best := &tlsPairs{}
	var errs []error
	for _, want := range candidates {
		prefix := state.NameIndexPrefix(want)
		for key, err := range c.Store.List(ctx, prefix, "") {
			if err != nil {
				errs = append(errs, fmt.Errorf("listing %s: %w", prefix, err))
				break
			}
			p, err := c.pairsInForce(ctx, strings.TrimPrefix(key, prefix))
			if err != nil {
				errs = append(errs, err)
				continue
			}
			// A hint may be out of date. Of several certificates for a name, the
			// one that lasts longest is served.
			if slices.Contains(p.identifiers, want) && p.end.After(best.end) {
				best = p
			}
		}
		if len(best.certs) > 0 {
			break
		}
	}
	return best, errors.Join(errs...)
}

// pairsInForce returns what the certificate of that name serves; the zero
// value if there is nothing or its key is elsewhere.
func (c *Certificates) pairsInForce(ctx context.Context, name string) (*tlsPairs, error) {
	cur, err := state.Load[inkan.Current](ctx, c.Store, state.CurrentKey(name))
	if err != nil || len(cur.Value.Pairs) == 0 {
		return &tlsPairs{}, err
	}
	c.once.Do(c.init)
	c.sharedMu.Lock()
	p := c.versions[name]
	c.sharedMu.Unlock()
	if p != nil && p.n == cur.Value.N && p.k == cur.Value.K && p.id == cur.Value.ID {
		return p, nil
	}
	v, err := state.LoadVersion(ctx, c.Store, name, cur.Value)
	if _, damaged := errors.AsType[*inkan.DamagedError](err); damaged {
		// The newest sound version serves until a new one is issued.
		sound, soundErr := state.Soundest(ctx, c.Store, name, cur.Value, c.now())
		if soundErr == nil {
			c.log().Warn("the certificate in force is damaged; an older one is served", logName(name), logError(err))
			v, err = sound, nil
		}
	}
	if err != nil {
		return &tlsPairs{}, err
	}
	if slices.ContainsFunc(v.Pairs, func(p inkan.Pair) bool { return p.Key == nil }) {
		return &tlsPairs{}, nil
	}
	return c.pairsOf(ctx, v, cur.Value.K)
}

// pairsOf turns a version into what crypto/tls serves. The parsed leaf is kept
// only where a choice between pairs needs it, and issuers are shared.
func (c *Certificates) pairsOf(ctx context.Context, v *inkan.Version, k uint64) (*tlsPairs, error) {
	p := &tlsPairs{certificate: v.Name, n: v.N, k: k, id: v.ID, identifiers: v.Identifiers, end: v.Pairs[0].Leaf.NotAfter}
	for i := range v.Pairs {
		key, err := c.OpenKey.Open(ctx, v.Pairs[i].Key, inkan.KeyUse{Name: v.Name})
		if err != nil {
			return &tlsPairs{}, err
		}
		cert := v.Pairs[i].TLS(key)
		if len(v.Pairs) == 1 {
			cert.Leaf = nil
		}
		p.certs = append(p.certs, cert)
	}
	c.sharedMu.Lock()
	defer c.sharedMu.Unlock()
	for _, cert := range p.certs {
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
	}
	c.versions[v.Name] = p
	return p, nil
}

func (c *Certificates) log() *slog.Logger {
	if c.Log != nil {
		return c.Log
	}
	return slog.New(slog.DiscardHandler)
}

func (c *Certificates) now() time.Time {
	if c.Now != nil {
		return c.Now()
	}
	return time.Now()
}

func logName(name string) slog.Attr { return slog.String("certificate", name) }

func logError(err error) slog.Attr { return slog.String("error", inkan.Printable(err.Error(), 2048)) }
