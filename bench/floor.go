package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/inkan-acme/inkan/internal/testca"
)

// floorRows measure the least possible client alone: what the CA and the
// distance cost. Other rows repeat these beside their own measurement.
func floorRows() []row {
	one := func(names int, rtt time.Duration) func(context.Context, *bench) (result, error) {
		return func(ctx context.Context, b *bench) (result, error) {
			d, remark, err := b.floorOne(ctx, names, rtt)
			return result{measured: seconds(d), floor: "itself", remark: remark}, err
		}
	}
	return []row{
		{"floor: one name, no added latency", "", one(1, 0)},
		{"floor: one name, 50 ms", "", one(1, 50*time.Millisecond)},
		{"floor: 50 names in one certificate, 50 ms", "", one(50, 50*time.Millisecond)},
		{"floor: 100 certificates, 16 in flight", "", func(ctx context.Context, b *bench) (result, error) {
			d, err := b.floorMany(ctx, 100, 16)
			return result{measured: seconds(d), floor: "itself", remark: "one connection, no added latency"}, err
		}},
	}
}

// rig is a CA with somebody who answers its http-01 validations.
type rig struct {
	*testca.CA
	*testca.Responder
}

func newRig(o testca.Options) (*rig, error) {
	ca, err := testca.New(o)
	if err != nil {
		return nil, err
	}
	answers, err := ca.Respond()
	if err != nil {
		return nil, errors.Join(err, ca.Close())
	}
	return &rig{ca, answers}, nil
}

func (r *rig) Close() error {
	return errors.Join(r.Responder.Close(), r.CA.Close())
}

// floorOne is the time of one order for that many names: account and
// directory known, everything else new, the connection too.
func (b *bench) floorOne(ctx context.Context, names int, rtt time.Duration) (_ time.Duration, remark string, err error) {
	r, err := newRig(testca.Options{Latency: rtt})
	if err != nil {
		return 0, "", err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	known, err := testca.NewFloor(ctx, r.HTTPClient(), r.DirectoryURL)
	if err != nil {
		return 0, "", err
	}
	requests := 0
	next := 0
	d, err := b.median(func() (time.Duration, error) {
		before := r.Count("")
		client := r.HTTPClient()
		defer client.CloseIdleConnections()
		set := make([]string, names)
		for i := range set {
			set[i] = fmt.Sprintf("n%d.floor.example.test", next)
			next++
		}
		start := time.Now()
		_, _, err := known.With(client).Issue(ctx, set, r.Show)
		took := time.Since(start)
		requests = r.Count("") - before
		return took, err
	})
	return d, fmt.Sprintf("%d CA requests", requests), err
}

// floorMany is the time of that many orders of one name each.
func (b *bench) floorMany(ctx context.Context, orders, inFlight int) (_ time.Duration, err error) {
	r, err := newRig(testca.Options{})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	known, err := testca.NewFloor(ctx, r.HTTPClient(), r.DirectoryURL)
	if err != nil {
		return 0, err
	}
	run := 0
	return b.median(func() (time.Duration, error) {
		run++
		client := r.HTTPClient()
		defer client.CloseIdleConnections()
		f := known.With(client)
		work := make(chan int, orders)
		for i := range orders {
			work <- i
		}
		close(work)
		var all sync.WaitGroup
		errs := make([]error, inFlight)
		start := time.Now()
		for w := range inFlight {
			all.Go(func() {
				for i := range work {
					name := fmt.Sprintf("n%d.r%d.floor.example.test", i, run)
					if _, _, errs[w] = f.Issue(ctx, []string{name}, r.Show); errs[w] != nil {
						return
					}
				}
			})
		}
		all.Wait()
		return time.Since(start), errors.Join(errs...)
	})
}
