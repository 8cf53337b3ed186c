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
		return func(ctx context.Context, b *bench) (_ result, err error) {
			f, err := newFloor(ctx, testca.Options{Latency: rtt})
			if err != nil {
				return result{}, err
			}
			defer func() { err = errors.Join(err, f.Close()) }()
			requests := 0
			d, err := b.median(func() (time.Duration, error) {
				before := f.Count("")
				took, err := f.one(ctx, names)
				requests = f.Count("") - before
				return took, err
			})
			return result{measured: seconds(d), floor: "itself", remark: fmt.Sprintf("%d CA requests", requests),
				values: map[string]float64{"floor_s": d.Seconds(), "requests": float64(requests)}}, err
		}
	}
	return []row{
		{"floor: one name, no added latency", "", one(1, 0)},
		{"floor: one name, 50 ms", "", one(1, far)},
		{"floor: 50 names in one certificate, 50 ms", "", one(50, far)},
		{"floor: 100 certificates, 16 in flight", "", func(ctx context.Context, b *bench) (_ result, err error) {
			f, err := newFloor(ctx, testca.Options{})
			if err != nil {
				return result{}, err
			}
			defer func() { err = errors.Join(err, f.Close()) }()
			d, err := b.median(func() (time.Duration, error) { return f.many(ctx, 100, 16) })
			return result{measured: seconds(d), floor: "itself", remark: "one connection, no added latency",
				values: map[string]float64{"floor_s": d.Seconds()}}, err
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

// floor is the least possible client against a rig of its own: account and
// directory known, everything else new, the connection too.
type floor struct {
	*rig
	known *testca.Floor
	next  int // numbers the names
}

func newFloor(ctx context.Context, o testca.Options) (*floor, error) {
	r, err := newRig(o)
	if err != nil {
		return nil, err
	}
	known, err := testca.NewFloor(ctx, r.HTTPClient(), r.DirectoryURL)
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return &floor{rig: r, known: known}, nil
}

// one is the time of one order for that many names.
func (f *floor) one(ctx context.Context, names int) (time.Duration, error) {
	client := f.HTTPClient()
	defer client.CloseIdleConnections()
	set := make([]string, names)
	for i := range set {
		f.next++
		set[i] = fmt.Sprintf("n%d.floor.example.test", f.next)
	}
	start := time.Now()
	_, _, err := f.known.With(client).Issue(ctx, set, f.Show)
	return time.Since(start), err
}

// many is the time of that many orders of one name each, over one connection.
func (f *floor) many(ctx context.Context, orders, inFlight int) (time.Duration, error) {
	client := f.HTTPClient()
	defer client.CloseIdleConnections()
	known := f.known.With(client)
	work := make(chan string, orders)
	for range orders {
		f.next++
		work <- fmt.Sprintf("n%d.floor.example.test", f.next)
	}
	close(work)
	var all sync.WaitGroup
	errs := make([]error, inFlight)
	start := time.Now()
	for w := range inFlight {
		all.Go(func() {
			for name := range work {
				if _, _, errs[w] = known.Issue(ctx, []string{name}, f.Show); errs[w] != nil {
					return
				}
			}
		})
	}
	all.Wait()
	return time.Since(start), errors.Join(errs...)
}
