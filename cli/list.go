package cli

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/internal/term"
)

func (a *app) listCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the certificates",
		Long: `Lists every certificate: its names, when it expires, when it is renewed, and
one word on how it is:

  ok              in force and in place
  due             the next "inkan renew" gets a new one
  deploying       not at every target yet
  working         a process works on it now
  failing         the last attempt or deployment failed; it is tried again
  no certificate  none was issued yet
  unmanaged       it left the configuration file: kept, not renewed
  revoked         at the CA; it is not renewed by itself
  expired         it is past its time, whatever else is wrong
  damaged         a stored value cannot be read or followed, and is not used

Below the table stands the reason for every word but ok.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.list(cmd.Context()) },
	}
}

// readers bounds the certificates that are read at once.
const readers = 32

func (a *app) list(ctx context.Context) error {
	m, err := a.Manager(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	all, err := a.summaries(ctx, m, now)
	if err != nil {
		return err
	}
	damaged := failures{}
	for _, s := range all {
		if s.Status == engine.StatusDamaged {
			damaged = append(damaged, failure{name: s.Name, err: s.err})
		}
	}
	if a.JSON {
		if err := a.WriteJSON(all); err != nil {
			return err
		}
	} else {
		a.sayList(ctx, all, now)
	}
	if len(damaged) > 0 {
		return damaged
	}
	return nil
}

// summaries tells about every certificate, in the order of the names. What
// cannot be read has its place among them.
func (a *app) summaries(ctx context.Context, m *engine.Manager, now time.Time) ([]summary, error) {
	names, err := m.Names(ctx)
	if err != nil {
		return nil, err
	}
	found := make([]*summary, len(names))
	var reading errgroup.Group
	reading.SetLimit(readers)
	for i, name := range names {
		reading.Go(func() error {
			found[i] = a.summaryOf(ctx, m, name, now)
			return nil // it tells of its error
		})
	}
	_ = reading.Wait() // never an error
	all := []summary{}
	for _, s := range found {
		if s != nil {
			all = append(all, *s)
		}
	}
	return all, ctx.Err()
}

// summaryOf returns nil for a certificate that was deleted.
func (a *app) summaryOf(ctx context.Context, m *engine.Manager, name string, now time.Time) *summary {
	o, err := m.Observe(ctx, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return &summary{Name: name, Status: engine.StatusDamaged, Identifiers: []string{}, Paths: []string{}, Reason: err.Error(), err: err}
	case o.Request != nil && o.Request.Deleted:
		return nil
	}
	s := a.summarise(ctx, o, now)
	if s.err = o.RequestErr; s.err == nil {
		s.err = o.VersionErr
	}
	return &s
}

// sayHints tells what to do about a certificate that fails.
func (a *app) sayHints(ctx context.Context, s summary) {
	if s.Status != engine.StatusFailing || s.LastError == nil {
		return
	}
	for _, h := range s.LastError.Hints {
		a.Paragraph("  ", "hint: "+a.InWords(ctx, h))
	}
}

func (a *app) sayList(ctx context.Context, all []summary, now time.Time) {
	if len(all) == 0 {
		a.Say("there are no certificates yet; inkan issue gets the first")
		return
	}
	if a.Quiet {
		return
	}
	t := term.Table{Header: []string{"NAME", "NAMES", "EXPIRES", "RENEWS", "STATUS"}, Elastic: []int{0, 1}}
	for _, s := range all {
		next := term.When(s.Renews, now)
		if !s.Renews.IsZero() && !s.Renews.After(now) {
			next = "now"
		}
		t.Add(s.Name, namesShort(s.ids), term.When(s.NotAfter, now), next, string(s.Status))
	}
	t.Colour = func(row, column int) string {
		if column == 4 {
			return statusColour(all[row].Status)
		}
		return ""
	}
	t.Write(a.Terminal, a.Stdout)
	first := true
	for _, s := range all {
		if s.Status == engine.StatusOK || s.Status == engine.StatusDamaged { // damage is told as an error
			continue
		}
		if first {
			a.Say("")
			first = false
		}
		a.Say("%s: %s", a.Paint(term.Bold, s.Name), a.Paint(statusColour(s.Status), string(s.Status)))
		a.Paragraph("  ", s.Reason)
		a.sayHints(ctx, s)
		if s.Status == engine.StatusFailing && !s.Next.IsZero() {
			if s.Next.After(now) {
				a.Say("  next try %s", term.Instant(s.Next, now))
			} else {
				a.Say("  the next run tries again")
			}
		}
	}
}
