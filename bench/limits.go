package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/inkan-acme/inkan/internal/testca"
)

// limitRows measure the engine at a CA that counts every request by the table
// of Let's Encrypt's limits, those of its endpoints included, 50 ms away.
func limitRows() []row {
	return []row{
		{"50 names in one certificate under Let's Encrypt's limits, 50 ms", "1.15 s, 135 CA requests", limited(0, 1150*time.Millisecond, 135, func(s *site) [][]string {
			return [][]string{s.names(50)}
		})},
		// All at once: what paces them is to be the limits.
		{"100 certificates in one run under Let's Encrypt's limits, 50 ms, 100 workers", "3.2 s", limited(100, 3200*time.Millisecond, 0, func(*site) [][]string {
			sets := make([][]string, 100)
			for i := range sets { // each below a registered domain of its own
				sets[i] = []string{fmt.Sprintf("www.site%02d.example", i)}
			}
			return sets
		})},
	}
}

// limited measures sets of names, each time at a new CA and with a new account,
// whose limits are all full. 0 workers are the default, 0 requests any number.
func limited(workers int, most time.Duration, requests int, sets func(*site) [][]string) func(context.Context, *bench) (result, error) {
	return func(ctx context.Context, b *bench) (result, error) {
		var spent cost
		over := 0
		took, err := b.median(func() (took time.Duration, err error) {
			dir, err := b.newDir()
			if err != nil {
				return 0, err
			}
			s, err := newSite(ctx, dir, "letsencrypt", testca.Options{Boulder: true, Latency: far, CheckLimits: testca.LetsEncrypt()})
			if err != nil {
				return 0, err
			}
			defer func() { err = errors.Join(err, s.Close()) }()
			s.workers = workers
			took, spent, err = s.issue(ctx, sets(s)...)
			over += len(s.Violations())
			return took, err
		})
		if err != nil {
			return result{}, err
		}
		words := limits{wall: most}.missed(took, spent)
		if requests > 0 && spent.requests > requests {
			words += fmt.Sprintf("; MISSED: %d requests over", spent.requests-requests)
		}
		if over > 0 {
			words += fmt.Sprintf("; MISSED: %d requests over a limit", over)
		}
		return result{measured: seconds(took), remark: fmt.Sprintf("%s, %d over a limit%s", spent, over, words),
			values: map[string]float64{"inkan_s": took.Seconds(), "requests": float64(spent.requests), "over_limit": float64(over)}}, nil
	}
}
