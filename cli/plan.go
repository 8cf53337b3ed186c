package cli

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/internal/term"
)

func (a *app) planCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "plan [NAME...]",
		Short: "Show what would happen now, and why",
		Long: `Shows what "inkan renew" would do now for the certificates that are due, for the
named ones or, with --all, for every one; and what "inkan apply" would change,
if there is a configuration file. Nothing is changed and no CA is asked.`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, names []string) error {
			if all && len(names) > 0 {
				return usageError{errNamesOrAll}
			}
			return a.plan(cmd.Context(), names, all)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "plan every certificate, also those with nothing to do")
	return cmd
}

// onceIssued is the reason of deployments of what does not exist yet.
const onceIssued = "as soon as it is issued"

// planned is what would happen to one certificate.
type planned struct {
	Name   string        `json:"name"`
	Change string        `json:"change,omitempty"` // to the record, by apply
	Detail string        `json:"detail,omitempty"`
	Steps  []engine.Step `json:"steps"`
	Error  string        `json:"error,omitempty"`
}

func (a *app) plan(ctx context.Context, names []string, all bool) error {
	m, err := a.Manager(ctx)
	if err != nil {
		return err
	}
	changes, failed, err := a.changes(ctx, m)
	if err != nil {
		return err
	}
	list, err := a.planChanges(ctx, m, changes, names)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, p := range list {
		known[p.Name] = true
	}
	others := without(names, known)
	scope := scopeOf(others)
	if all {
		scope = engine.All()
	}
	if len(names) == 0 || len(others) > 0 {
		p, err := m.Plan(ctx, engine.PlanOptions{Scope: scope})
		if err != nil {
			return err
		}
		for _, c := range p.Certificates {
			if known[c.Name] || len(names) == 0 && !all && !c.Actions() {
				continue
			}
			one := planned{Name: c.Name, Steps: c.Steps}
			if c.Err != nil {
				one.Error, one.Steps = c.Err.Error(), []engine.Step{}
				failed = also(failed, failure{name: c.Name, err: c.Err})
			}
			list = append(list, one)
		}
	}
	for _, p := range list {
		a.changed = a.changed || p.Change != ""
		for _, s := range p.Steps {
			a.changed = a.changed || s.Action != engine.ActionWait
		}
	}
	if a.JSON {
		if list == nil {
			list = []planned{}
		}
		if err := a.WriteJSON(list); err != nil {
			return err
		}
		return failed
	}
	a.sayPlan(ctx, list)
	return failed
}

// changes compares the configuration file, if there is one, with the records.
// failed names the records that cannot be read.
func (a *app) changes(ctx context.Context, m *engine.Manager) (list []change, failed, err error) {
	cfg, err := a.Config()
	if err != nil || cfg == nil {
		return nil, nil, err
	}
	list, failed = a.compare(ctx, m, cfg)
	return list, failed, nil
}

// planChanges plans as if the changes were made; names, if any, limits them.
func (a *app) planChanges(ctx context.Context, m *engine.Manager, changes []change, names []string) ([]planned, error) {
	only := map[string]bool{}
	for _, n := range names {
		only[n] = true
	}
	var list []planned
	for _, c := range changes {
		if len(names) > 0 && !only[c.Name] {
			continue
		}
		o, err := a.asDesired(ctx, m, c)
		if err != nil {
			return nil, err
		}
		steps := engine.PlanCertificate(o, engine.PlanOptions{}, time.Now())
		if o.Version == nil && c.request != nil {
			for _, t := range c.request.Targets {
				steps = append(steps, engine.Step{Name: c.Name, Action: engine.ActionDeploy, Target: t, Reason: onceIssued})
			}
		}
		list = append(list, planned{Name: c.Name, Change: c.Action, Detail: c.Detail, Steps: steps})
	}
	return list, nil
}

// without returns the names that are not in known; nil if none were given.
func without(names []string, known map[string]bool) []string {
	var rest []string
	for _, n := range names {
		if !known[n] {
			rest = append(rest, n)
		}
	}
	return rest
}

func (a *app) sayPlan(ctx context.Context, list []planned) {
	if len(list) == 0 {
		a.Say("nothing to do; inkan plan --all tells what every certificate waits for")
		return
	}
	if a.Quiet {
		return
	}
	now := time.Now()
	t := term.Table{Header: []string{"NAME", "STEP", "WHY"}, Elastic: []int{0}}
	for _, p := range list {
		name := p.Name
		row := func(step, why string) {
			t.Add(name, step, a.InWords(ctx, why))
			name = ""
		}
		if p.Error != "" {
			row("error", "told below")
			continue
		}
		if p.Change != "" {
			row(p.Change, p.Detail)
		}
		for _, s := range p.Steps {
			if s.Reason != onceIssued {
				row(string(s.Action), stepWords(s, now))
			}
		}
		if later := slices.DeleteFunc(slices.Clone(p.Steps), func(s engine.Step) bool { return s.Reason != onceIssued }); len(later) > 0 {
			var places []string
			for _, s := range later {
				places = append(places, a.TargetTitle(ctx, s.Target))
			}
			row(string(engine.ActionDeploy), "to "+strings.Join(places, ", ")+", "+onceIssued)
		}
	}
	t.Colour = func(row, column int) string {
		switch step := t.Rows[row][1]; {
		case column == 0:
			return term.Bold
		case column != 1:
			return ""
		case step == "error":
			return term.Red
		case step == string(engine.ActionWait):
			return term.Dim
		case step == changeUnmanage:
			return term.Yellow
		}
		return term.Green
	}
	t.Write(a.Terminal, a.Stdout)
}
