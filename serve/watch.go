package serve

import (
	"context"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/state"
)

// SetDefault names the certificate that is served when no other fits. An empty
// name removes the default.
func (c *Certificates) SetDefault(ctx context.Context, certificate string) error {
	if certificate == "" {
		c.fallback.Store(nil)
		return nil
	}
	if err := inkan.CheckName(certificate); err != nil {
		return err
	}
	p, err := c.pairsInForce(ctx, certificate)
	if err != nil {
		return state.DamagedHint(err)
	}
	if len(p.certs) == 0 {
		return inkan.Errorf(inkan.Operator, "certificate "+certificate, "there is none in force that can be served: %w", fs.ErrNotExist)
	}
	e := &tlsEntry{}
	e.set(p)
	c.fallback.Store(e)
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
func (c *Certificates) Watch(ctx context.Context, interval time.Duration) error {
	if interval <= 0 {
		interval = 10 * time.Second
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	seen := map[string]time.Time{}
	last, checked := c.now(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		now := c.now()
		changed, err := c.eventsSince(ctx, last.Add(-watchOverlap), seen)
		if err != nil {
			c.log().Warn("events could not be read", logError(err))
		} else {
			last = now
		}
		if time.Since(checked) >= watchRecheck {
			c.Refresh(ctx, nil)
			checked = time.Now()
		} else if len(changed) > 0 {
			c.Refresh(ctx, changed)
		}
		for id, at := range seen {
			if last.Sub(at) > 3*watchOverlap {
				delete(seen, id)
			}
		}
	}
}

// eventsSince returns the certificates that events not seen before speak of.
func (c *Certificates) eventsSince(ctx context.Context, since time.Time, seen map[string]time.Time) ([]string, error) {
	var changed []string
	for e, err := range state.Events(ctx, c.Store, since, state.Wanted{Kinds: []inkan.EventKind{inkan.EventIssued, inkan.EventDeleted}}) {
		if err != nil {
			return changed, err
		}
		if _, ok := seen[e.ID]; ok {
			continue
		}
		seen[e.ID] = e.At
		changed = append(changed, e.Name)
	}
	return changed, nil
}

// Refresh reads the Store again for the entries of the named certificates, and
// for all used entries when names is nil. Entries without a certificate are
// dropped, as are those that nobody used since the last time. What cannot be
// read stays as it is.
func (c *Certificates) Refresh(ctx context.Context, names []string) {
	c.once.Do(c.init)
	inUse := map[string]bool{}
	c.refreshTable(ctx, &c.named, true, names, inUse)
	c.refreshTable(ctx, &c.guests, false, names, inUse)
	if e := c.fallback.Load(); e != nil {
		name := e.pairs.Load().certificate
		inUse[name] = true
		if names == nil || slices.Contains(names, name) {
			p, err := c.pairsInForce(ctx, name)
			switch {
			case err != nil:
				c.log().Warn("the default certificate could not be read again; the old one is served", logName(name), logError(err))
			case len(p.certs) == 0: // deleted; it may come back
				e.set(&tlsPairs{certificate: name})
			default:
				e.set(p)
			}
		}
	}
	if names == nil {
		c.sharedMu.Lock()
		defer c.sharedMu.Unlock()
		maps.DeleteFunc(c.versions, func(name string, _ *tlsPairs) bool { return !inUse[name] })
	}
}

func (c *Certificates) refreshTable(ctx context.Context, table *tlsTable, named bool, names []string, inUse map[string]bool) {
	for i := range table {
		p := table[i].Load()
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
			inUse[pairs.certificate] = true
			if names != nil && !slices.Contains(names, pairs.certificate) {
				continue
			}
			id, err := inkan.ParseIdentifier(name)
			if err != nil {
				continue
			}
			next, err := c.findPairs(ctx, id)
			switch {
			case err != nil:
				c.log().Warn("a certificate could not be read again; the old one is served", "server_name", name, logError(err))
			case len(next.certs) == 0 || slices.Contains(next.identifiers, id) != named:
				drop = append(drop, name) // the next handshake finds its place
			default:
				inUse[next.certificate] = true
				e.set(next)
			}
		}
		if len(drop) > 0 {
			c.drop(table, i, drop)
		}
	}
}

func (c *Certificates) drop(table *tlsTable, shard int, names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := maps.Clone(*table[shard].Load())
	for _, name := range names {
		delete(next, name)
	}
	table[shard].Store(&next)
}
