package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/internal/term"
)

// carryOut runs a plan, tells how it went and turns what failed into an error.
// What is pending has not failed: it goes on from its journal.
func (a *app) carryOut(ctx context.Context, m *engine.Manager, p *engine.Plan) (*engine.Report, error) {
	pr := a.follow(ctx, m)
	report := m.Run(ctx, p)
	pr.End()
	looking, stop := context.WithTimeout(ctx, quickLook)
	defer stop()
	var all failures
	for i := range report.Results {
		r := &report.Results[i]
		a.changed = a.changed || r.Changed()
		if r.Err == nil || pending(r) {
			continue
		}
		f := failure{name: r.Name, err: a.withFindings(looking, m, r.Name, r.Err)}
		if !errors.Is(r.Err, context.Canceled) {
			f.next = nextTry(r)
		}
		all = append(all, f)
	}
	if len(all) > 0 {
		return report, all
	}
	return report, nil
}

// scopeOf is the scope of the certificates named, or of what is due if none is.
func scopeOf(names []string) engine.Scope {
	if len(names) == 0 {
		return engine.Due()
	}
	return engine.Named(names...)
}

// nextTry is when a certificate that failed is tried again. Where nothing was
// due, as with --force, what comes next may be a look at the CA's advice only.
func nextTry(r *engine.Result) time.Time {
	if r.Observed == nil || r.Next.IsZero() {
		return r.Next
	}
	if next := r.Observed.Status(time.Now()).Next; next.After(r.Next) {
		return next
	}
	return r.Next
}

// pending reports whether the work on a certificate goes on by itself.
func pending(r *engine.Result) bool {
	return r.Err != nil && inkan.KindOf(r.Err) == inkan.Pending && !errors.Is(r.Err, context.Canceled)
}

// unfinished returns a failure for every certificate that a person asked for
// and that is not there yet.
func unfinished(report *engine.Report) (err error) {
	for i := range report.Results {
		r := &report.Results[i]
		switch {
		case pending(r):
			err = also(err, failure{name: r.Name, err: r.Err, next: r.Next})
		case r.Err == nil && r.Version == nil && len(r.Waits) > 0:
			err = also(err, failure{name: r.Name, err: inkan.Errorf(inkan.Pending, "", "not issued yet: %s", r.Waits[0].Reason), next: r.Next})
		}
	}
	return err
}

// finish ends a command that ran a plan: with the results in JSON, or as tell
// says them.
func (a *app) finish(report *engine.Report, err error, tell func()) error {
	if !a.JSON {
		tell()
		return err
	}
	if jsonErr := a.WriteJSON(results(report)); jsonErr != nil {
		return jsonErr
	}
	return err
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

func results(r *engine.Report) []result {
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

// sayResults tells what a run did to each certificate. What failed is told as
// an error.
func (a *app) sayResults(ctx context.Context, report *engine.Report) {
	now := time.Now()
	for _, r := range report.Results {
		var places []string
		for _, t := range r.Deployed {
			places = append(places, a.TargetTitle(ctx, t))
		}
		text := ""
		switch {
		case r.Issued && r.Version != nil:
			text = "new certificate, valid until " + term.Until(r.Version.Pairs[0].Leaf.NotAfter, now)
			if len(places) > 0 {
				text += "; deployed: " + strings.Join(places, ", ")
			}
		case len(places) > 0:
			text = "deployed: " + strings.Join(places, ", ")
		case pending(&r):
			text = "not yet: " + a.InWords(ctx, r.Err.Error())
		case r.Err != nil:
			continue
		case len(r.Waits) > 0:
			text = "nothing to do; " + a.InWords(ctx, stepWords(r.Waits[len(r.Waits)-1], now))
		default:
			text = "nothing to do"
		}
		a.Item(r.Name, text)
	}
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

// anyNumber is for someArgs where there is no upper bound.
const anyNumber = 1 << 20

// subcommand is the RunE of a command that only holds others.
func subcommand(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{errors.New("there is no command " + cmd.CommandPath() + " " + inkan.Printable(args[0], 40) + suggestions(cmd, args[0]))}
	}
	return cmd.Help()
}
