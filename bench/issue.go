package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/inkan-acme/inkan/internal/testca"
)

const far = 50 * time.Millisecond // the round trip to a CA

// issueRows measure the engine: from a recorded request to the published
// certificate, account and directory known, everything else new.
func issueRows() []row {
	const target = "%.2f s, 10 CA requests, 1 connection, 20 Puts"
	return []row{
		{"one name, http-01 webroot, no added latency", fmt.Sprintf(target, 0.08), one(1, testca.Options{}, limits{wall: 80 * time.Millisecond, cost: &fewest})},
		{"one name, files on tmpfs", "0.055 s", onTmpfs},
		{"one name, 50 ms", fmt.Sprintf(target, 0.70), one(1, testca.Options{Latency: far}, limits{wall: 700 * time.Millisecond, cost: &fewest})},
		{"one name, Retry-After 3 s (authorization) and 5 s (order)", "1.0 s", one(1, testca.Options{RetryAfterAuthz: 3, RetryAfterOrder: 5}, limits{wall: time.Second})},
		{"one name, 50 ms, the same Retry-After", "1.0 s", one(1, testca.Options{Latency: far, RetryAfterAuthz: 3, RetryAfterOrder: 5}, limits{wall: time.Second})},
		{"50 names in one certificate, 50 ms", "0.90 s", one(50, testca.Options{Latency: far}, limits{wall: 900 * time.Millisecond})},
		{"100 certificates in one run, default settings", "floor + 0.7 s", hundred},
	}
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

// one measures one certificate with so many names, and the floor beside it.
func one(names int, o testca.Options, l limits) func(context.Context, *bench) (result, error) {
	return func(ctx context.Context, b *bench) (result, error) {
		dir, err := b.newDir()
		if err != nil {
			return result{}, err
		}
		return b.one(ctx, dir, names, o, l)
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

func (b *bench) one(ctx context.Context, dir string, names int, o testca.Options, l limits) (result, error) {
	return b.beside(ctx, dir, o, l,
		func(s *site) (time.Duration, cost, error) { return s.issue(ctx, s.names(names)) },
		func(f *floor) (time.Duration, error) { return f.one(ctx, names) })
}

func hundred(ctx context.Context, b *bench) (result, error) {
	dir, err := b.newDir()
	if err != nil {
		return result{}, err
	}
	return b.beside(ctx, dir, testca.Options{}, limits{aboveFloor: 700 * time.Millisecond},
		func(s *site) (time.Duration, cost, error) {
			sets := make([][]string, 100)
			for i := range sets {
				sets[i] = s.names(1)
			}
			return s.issue(ctx, sets...)
		},
		func(f *floor) (time.Duration, error) { return f.many(ctx, 100, 16) })
}

// beside measures Inkan and the floor in turn, each at a CA of its own. The
// floor's CA gives no Retry-After, which the floor would not heed.
func (b *bench) beside(ctx context.Context, dir string, o testca.Options, l limits,
	ours func(*site) (time.Duration, cost, error), least func(*floor) (time.Duration, error)) (_ result, err error) {
	s, err := newSite(ctx, dir, o)
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
	m, err := b.medians(
		func() (took time.Duration, err error) { took, spent, err = ours(s); return took, err },
		func() (time.Duration, error) { return least(f) })
	if err != nil {
		return result{}, err
	}
	if l.aboveFloor > 0 {
		l.wall = m[1] + l.aboveFloor
	}
	return result{measured: seconds(m[0]), floor: seconds(m[1]), remark: spent.String() + l.missed(m[0], spent)}, nil
}
