package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/inkan-acme/inkan"
)

// carryOut runs a plan, tells how it went and turns what failed into an error.
func (a *app) carryOut(ctx context.Context, m *inkan.Manager, p *inkan.Plan) (*inkan.Report, error) {
	pr := a.follow(m)
	report := m.Run(ctx, p)
	pr.end()
	var all failures
	for i := range report.Results {
		r := &report.Results[i]
		a.changed = a.changed || r.Changed()
		if r.Err == nil {
			continue
		}
		f := failure{err: r.Err}
		if !errors.Is(r.Err, context.Canceled) && !r.Next.IsZero() {
			f.next = "the next try comes " + instant(r.Next, time.Now())
		}
		all = append(all, f)
	}
	if len(all) > 0 {
		return report, all
	}
	return report, nil
}

// instant writes a moment for a sentence: "in 10 min (2026-11-22 15:04 UTC)".
func instant(t, now time.Time) string {
	return fmt.Sprintf("%s (%s)", when(t, now), t.UTC().Format("2006-01-02 15:04 UTC"))
}

// result is a Result in JSON.
type result struct {
	Name     string    `json:"name"`
	Issued   bool      `json:"issued"`
	Deployed []string  `json:"deployed,omitempty"`
	N        uint64    `json:"n,omitempty"`
	NotAfter time.Time `json:"not_after,omitzero"`
	Next     time.Time `json:"next,omitzero"`
	Error    string    `json:"error,omitempty"`
	Hints    []string  `json:"hints,omitempty"`
	Seconds  float64   `json:"seconds"`
}

func results(r *inkan.Report) []result {
	list := []result{}
	for _, x := range r.Results {
		out := result{Name: x.Name, Issued: x.Issued, Deployed: x.Deployed, Next: x.Next, Seconds: x.Took.Seconds()}
		if x.Version != nil {
			out.N, out.NotAfter = x.Version.N, x.Version.Pairs[0].Leaf.NotAfter
		}
		if x.Err != nil {
			out.Error, out.Hints = x.Err.Error(), inkan.HintsOf(x.Err)
		}
		list = append(list, out)
	}
	return list
}

// noArgs refuses arguments as wrong usage.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no argument, but got %s", cmd.CommandPath(), inkan.Printable(args[0], 60))}
	}
	return nil
}

// someArgs demands between low and high arguments.
func someArgs(low, high int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < low || len(args) > high {
			return usageError{fmt.Errorf("%s wants %s", cmd.CommandPath(), what)}
		}
		return nil
	}
}
