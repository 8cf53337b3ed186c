package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/acme"
	"github.com/inkan-acme/inkan/engine"
)

// A dry run is the same run with Store and Host under <data>/dry-run, the
// staging CA and no targets.

var errForceAll = errors.New("--force wants the certificates by --name: renewing all of them at once may use up the CA's limits")

func (a *app) issueDryRun(ctx context.Context, r *requestFlags, f *pflag.FlagSet, names []string) error {
	ids, err := identifiers(names)
	if err != nil {
		return err
	}
	m, err := a.Manager(ctx)
	if err != nil {
		return err
	}
	r.deployDir, r.run, r.runShell = "none", "", ""
	ca := caFlag{name: defaultCA, root: r.cas.root}
	if len(r.cas.list) > 0 {
		ca = r.cas.list[0] // the first of several is tried
	}
	switch {
	case r.staging, len(r.cas.list) > 0 && ca.root != "": // a CA with roots of its own is not the public's
	case strings.Contains(ca.name, "://"):
		if ca.name, err = a.StagingOf(ctx, acme.CAName(ca.name)); err != nil {
			return err
		}
	default:
		r.staging = true
	}
	r.cas.list = []caFlag{ca}
	req, err := a.buildRequest(ctx, m, r, f, ids, true)
	if err != nil {
		return err
	}
	return a.tryOut(ctx, m, []inkan.CertificateRequest{*req}, r)
}

// renewDryRun tries the named certificates, or all whose renewal is due.
func (a *app) renewDryRun(ctx context.Context, names []string) error {
	real, err := a.Manager(ctx)
	if err != nil {
		return err
	}
	p, err := real.Plan(ctx, engine.PlanOptions{Scope: scopeOf(names)})
	if err != nil {
		return err
	}
	trial := a.trial(true)
	defer trial.Close()
	m, err := trial.Manager(ctx)
	if err != nil {
		return err
	}
	var reqs []inkan.CertificateRequest
	var failed error
	r := &requestFlags{}
	for _, c := range p.Certificates {
		if c.Err == nil && len(names) == 0 && !issues(&c) {
			continue
		}
		req, err := a.trialOf(ctx, real, trial, &c, r)
		if err != nil {
			failed = also(failed, failure{name: c.Name, err: err})
			continue
		}
		reqs = append(reqs, *req)
	}
	if len(reqs) == 0 {
		if failed == nil {
			a.Say("nothing is due; name a certificate with --name to try it")
		}
		return failed
	}
	if err := trial.tryOut(ctx, m, reqs, r); err != nil {
		failed = append(splitOrNone(failed), split(err)...)
	}
	a.changed = trial.changed
	return failed
}

// issues reports whether a new certificate is due.
func issues(c *engine.CertificatePlan) bool {
	return slices.ContainsFunc(c.Steps, func(s engine.Step) bool {
		return s.Action == engine.ActionIssue || s.Action == engine.ActionRenew || s.Action == engine.ActionResume
	})
}

// trialOf returns the recorded request as a dry run asks for it, and notes in
// r what was agreed with its CA: whoever agreed to a CA's terms may try its
// staging sister.
func (a *app) trialOf(ctx context.Context, real *engine.Manager, trial *app, c *engine.CertificatePlan, r *requestFlags) (*inkan.CertificateRequest, error) {
	if c.Err != nil {
		return nil, c.Err
	}
	rec, err := real.Request(ctx, c.Name)
	if err != nil {
		return nil, err
	}
	req := rec.CertificateRequest
	ca, err := trial.StagingOf(ctx, req.CAs[0])
	if err != nil {
		return nil, err
	}
	acct, err := engine.Accounts(real.Store, req.CAs[0], req.Account).Load(ctx)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	r.agreeTOS = r.agreeTOS || acct.TermsAgreed != ""
	req.CAs, req.Targets, req.Key = []string{ca}, nil, inkan.KeyPolicy{}
	return &req, nil
}

// tryOut issues the requests and throws the certificates away.
func (a *app) tryOut(ctx context.Context, m *engine.Manager, reqs []inkan.CertificateRequest, r *requestFlags) error {
	var names []string
	for _, req := range reqs {
		req.Targets = nil
		if _, err := a.ensureAccount(ctx, req.CAs[0], req.Account, r); err != nil {
			return failures{{name: req.Name, err: err}}
		}
		if _, err := m.Record(ctx, req, inkan.OriginCLI); err != nil {
			return err
		}
		names = append(names, req.Name)
	}
	p, err := m.Plan(ctx, engine.PlanOptions{Scope: engine.Named(names...), ByPerson: true, Renew: true})
	if err != nil {
		return err
	}
	report, err := a.carryOut(ctx, m, p)
	a.changed = false // nothing is kept
	if all, ok := errors.AsType[failures](err); ok {
		for i := range all {
			all[i].next = time.Time{} // there is no next try
		}
	}
	for _, n := range names {
		err = also(err, failure{name: n, err: m.Delete(context.WithoutCancel(ctx), n)})
	}
	return a.finish(report, err, func() {
		for _, res := range report.Results {
			if res.Err == nil {
				ca := reqs[slices.Index(names, res.Name)].CAs[0]
				a.Item(res.Name, fmt.Sprintf("the dry run at %s went well (%.1f s); nothing was kept or deployed", a.CATitle(ctx, ca), res.Took.Seconds()))
			}
		}
	})
}
