package main

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"github.com/inkan-acme/inkan"
)

// A dry run is the same run with Store and Host under <data>/dry-run, the
// staging CA and no targets.

var errForceAll = errors.New("--force wants the certificates by --name: renewing all of them at once may use up the CA's limits")

func (a *app) issueDryRun(ctx context.Context, r *requestFlags, f *pflag.FlagSet, names []string) error {
	m, err := a.manager(ctx)
	if err != nil {
		return err
	}
	r.deployDir, r.run, r.runShell = "none", "", ""
	if r.ca == "" || r.caRoot == "" && !r.staging {
		r.staging = true
	}
	req, err := a.buildRequest(ctx, m, r, f, names, true)
	if err != nil {
		return err
	}
	return a.tryOut(ctx, m, []inkan.CertificateRequest{*req}, r)
}

// renewDryRun tries the named certificates, or all that are due.
func (a *app) renewDryRun(ctx context.Context, names []string) error {
	real, err := a.manager(ctx)
	if err != nil {
		return err
	}
	opt := inkan.PlanOptions{Names: names}
	p, err := real.Plan(ctx, opt)
	if err != nil {
		return err
	}
	trial := newApp(a.stdin, a.stdout, a.stderr, nil, nil)
	trial.env, trial.dataDir, trial.configFile, trial.json, trial.quiet, trial.verbose, trial.dryRun =
		a.env, a.dataDir, a.configFile, a.json, a.quiet, a.verbose, true
	defer trial.close()
	m, err := trial.manager(ctx)
	if err != nil {
		return err
	}
	var reqs []inkan.CertificateRequest
	r := &requestFlags{}
	for _, c := range p.Certificates {
		if c.Err != nil {
			return c.Err
		}
		rec, err := real.Request(ctx, c.Name)
		if err != nil {
			return err
		}
		req := rec.CertificateRequest
		ca, err := trial.stagingOf(ctx, req.CAs[0])
		if err != nil {
			return err
		}
		// Whoever agreed to a CA's terms may try its staging sister.
		s, _, err := a.stores()
		if err != nil {
			return err
		}
		acct, err := inkan.Accounts(s, req.CAs[0], req.Account).Load(ctx)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		r.agreeTOS, r.emails = acct.TermsAgreed != "", acct.Contacts
		req.CAs, req.Targets, req.Key = []string{ca}, nil, inkan.KeyPolicy{}
		reqs = append(reqs, req)
	}
	if len(reqs) == 0 {
		a.say("nothing is due; name a certificate with --name to try it")
		return nil
	}
	return trial.tryOut(ctx, m, reqs, r)
}

// tryOut issues the requests and throws the certificates away.
func (a *app) tryOut(ctx context.Context, m *inkan.Manager, reqs []inkan.CertificateRequest, r *requestFlags) error {
	var names []string
	for _, req := range reqs {
		req.Targets = nil
		if err := a.ensureAccount(ctx, req.CAs[0], req.Account, r); err != nil {
			return err
		}
		if _, err := m.Record(ctx, req, inkan.OriginCLI); err != nil {
			return err
		}
		names = append(names, req.Name)
	}
	p, err := m.Plan(ctx, inkan.PlanOptions{Names: names, Asked: true, Force: true})
	if err != nil {
		return err
	}
	report, err := a.carryOut(ctx, m, p)
	for _, n := range names {
		if delErr := m.Delete(context.WithoutCancel(ctx), n); delErr != nil {
			err = errors.Join(err, delErr)
		}
	}
	if a.json {
		if jsonErr := a.writeJSON(results(report)); jsonErr != nil {
			return jsonErr
		}
		return err
	}
	for _, res := range report.Results {
		if res.Err == nil {
			ca := reqs[slices.Index(names, res.Name)].CAs[0]
			a.say("%s: the dry run at %s went well (%.1f s); nothing was kept or deployed", res.Name, ca, res.Took.Round(100*time.Millisecond).Seconds())
		}
	}
	return err
}
