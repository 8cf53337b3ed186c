package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/inkan-acme/inkan/internal/testca"
)

const far = 50 * time.Millisecond // the round trip to a CA

// issueRows measure the engine: from a recorded request to the published
// certificate, account and directory known, everything else new.
func issueRows(long bool) []row {
	const target = "%.2f s, 10 CA requests, 1 connection, 20 Puts"
	all := []string{acmez, certMagic, autocert}
	slow := testca.Options{RetryAfterAuthz: 3, RetryAfterOrder: 5}
	slowAndFar := slow
	slowAndFar.Latency = far
	rows := []row{
		{"one name, http-01 webroot, no added latency", fmt.Sprintf(target, 0.08), one(1, testca.Options{}, limits{wall: 80 * time.Millisecond, cost: &fewest}, all...)},
		{"one name, files on tmpfs", "0.055 s", onTmpfs},
		{"one name, 50 ms", fmt.Sprintf(target, 0.70), one(1, testca.Options{Latency: far}, limits{wall: 700 * time.Millisecond, cost: &fewest}, all...)},
		{"one name, Retry-After 3 s (authorization) and 5 s (order)", "1.0 s", one(1, slow, limits{wall: time.Second}, all...)},
		{"one name, 50 ms, the same Retry-After", "1.0 s", one(1, slowAndFar, limits{wall: time.Second})},
		// CertMagic and autocert make one certificate for each name.
		{"50 names in one certificate, 50 ms", "0.90 s", one(50, testca.Options{Latency: far}, limits{wall: 900 * time.Millisecond}, acmez)},
		{"100 certificates in one run, default settings", "floor + 0.7 s", hundred},
	}
	if long {
		rows = append(rows, row{"100 certificates in one run, CertMagic with its limiter", "", hundredLimited})
	}
	return append(rows, limitRows()...)
}

var fewest = cost{requests: 10, connections: 1, puts: 20}

// limits are the targets of a row; what is zero has none.
type limits struct {
	wall       time.Duration
	aboveFloor time.Duration // in place of wall
	cost       *cost
}

// missed says in words which targets were not met.
func (l limits) missed(took time.Duration, c cost) string {
	words := ""
	miss := func(format string, args ...any) { words += "; MISSED: " + fmt.Sprintf(format, args...) }
	if took > l.wall {
		miss("%.3f s over", (took - l.wall).Seconds())
	}
	if l.cost != nil {
		if c.requests > l.cost.requests {
			miss("%d requests over", c.requests-l.cost.requests)
		}
		if c.connections > l.cost.connections {
			miss("%d connections over", c.connections-l.cost.connections)
		}
		if c.puts > l.cost.puts {
			miss("%d Puts over", c.puts-l.cost.puts)
		}
	}
	return words
}

// one measures one certificate with so many names, and beside it the floor and
// the peers.
func one(names int, o testca.Options, l limits, peers ...string) func(context.Context, *bench) (result, error) {
	return func(ctx context.Context, b *bench) (result, error) {
		dir, err := b.newDir()
		if err != nil {
			return result{}, err
		}
		return b.one(ctx, dir, names, o, l, peers...)
	}
}

func onTmpfs(ctx context.Context, b *bench) (_ result, err error) {
	const shm = "/dev/shm"
	if info, err := os.Stat(shm); err != nil || !info.IsDir() {
		return result{measured: "-", remark: "this system has no " + shm}, nil
	}
	dir, err := os.MkdirTemp(shm, "inkan-bench-")
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	return b.one(ctx, dir, 1, testca.Options{}, limits{wall: 55 * time.Millisecond})
}

func (b *bench) one(ctx context.Context, dir string, names int, o testca.Options, l limits, peers ...string) (result, error) {
	c := contest{
		ours:   func(s *site) (time.Duration, cost, error) { return s.issue(ctx, s.names(names)) },
		least:  func(f *floor) (time.Duration, error) { return f.one(ctx, names) },
		theirs: map[string]func(*peer) (time.Duration, error){},
		peers:  peers,
	}
	for _, name := range peers {
		c.theirs[name] = func(p *peer) (time.Duration, error) {
			took, _, err := p.issue(ctx, true, names)
			return took, err
		}
	}
	return b.beside(ctx, dir, o, l, c)
}

func hundred(ctx context.Context, b *bench) (result, error) {
	dir, err := b.newDir()
	if err != nil {
		return result{}, err
	}
	peers := func(p *peer) (time.Duration, error) {
		took, _, err := p.issue(ctx, false, 100)
		return took, err
	}
	r, err := b.beside(ctx, dir, testca.Options{}, limits{aboveFloor: 700 * time.Millisecond}, contest{
		ours: func(s *site) (time.Duration, cost, error) {
			sets := make([][]string, 100)
			for i := range sets {
				sets[i] = s.names(1)
			}
			return s.issue(ctx, sets...)
		},
		least:  func(f *floor) (time.Duration, error) { return f.many(ctx, 100, 16) },
		theirs: map[string]func(*peer) (time.Duration, error){acmez: peers, certMagic: peers},
		peers:  []string{acmez, certMagic},
	})
	if r.peers != "" {
		r.remark += "; acmez 16 at once, CertMagic all at once and its limiter off (10 orders in 10 s by default)"
	}
	return r, err
}

// hundredLimited is CertMagic as it comes, which takes a minute and a half.
func hundredLimited(ctx context.Context, b *bench) (_ result, err error) {
	p, err := b.newPeer(ctx, certMagic, testca.Options{})
	if err != nil || p == nil {
		return result{measured: "-"}, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	took, _, err := p.issue(ctx, false, 100, "-limiter")
	return result{measured: "-", peers: certMagic + " " + seconds(took), remark: "once",
		values: map[string]float64{certMagic + "_s": took.Seconds()}}, err
}

// contest is what a row lets run in turn.
type contest struct {
	ours   func(*site) (time.Duration, cost, error)
	least  func(*floor) (time.Duration, error)
	theirs map[string]func(*peer) (time.Duration, error)
	peers  []string // the order of theirs
}

// beside measures Inkan, the floor and the peers in turn, each at a CA of its
// own. The floor's CA gives no Retry-After, which the floor would not heed.
func (b *bench) beside(ctx context.Context, dir string, o testca.Options, l limits, c contest) (_ result, err error) {
	s, err := newSite(ctx, dir, caName, o)
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	f, err := newFloor(ctx, testca.Options{Latency: o.Latency})
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var spent cost
	runs := []func() (time.Duration, error){
		func() (took time.Duration, err error) { took, spent, err = c.ours(s); return took, err },
		func() (time.Duration, error) { return c.least(f) },
	}
	var present []string
	for _, name := range c.peers {
		p, err := b.newPeer(ctx, name, o)
		if err != nil {
			return result{}, fmt.Errorf("%s: %w", name, err)
		}
		if p == nil {
			continue
		}
		defer func() { err = errors.Join(err, p.Close()) }()
		present = append(present, name)
		runs = append(runs, func() (time.Duration, error) {
			took, err := c.theirs[name](p)
			if err != nil {
				err = fmt.Errorf("%s: %w", name, err)
			}
			return took, err
		})
	}
	m, err := b.medians(runs...)
	if err != nil {
		return result{}, err
	}
	if l.aboveFloor > 0 {
		l.wall = m[1] + l.aboveFloor
	}
	r := result{measured: seconds(m[0]), floor: seconds(m[1]), remark: spent.String() + l.missed(m[0], spent),
		values: map[string]float64{"inkan_s": m[0].Seconds(), "floor_s": m[1].Seconds(), "requests": float64(spent.requests), "connections": float64(spent.connections), "puts": float64(spent.puts)}}
	var words []string
	for i, name := range present {
		words = append(words, against(name, seconds(m[2+i]), m[2+i].Seconds()/m[0].Seconds()))
		r.values[name+"_s"] = m[2+i].Seconds()
	}
	r.peers = strings.Join(words, ", ")
	return r, nil
}
