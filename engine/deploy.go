package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/guard"
	"github.com/inkan-acme/inkan/internal/state"
)

// wantDeployments puts an entry into this host's due index when the request
// names a target here, so that a kill before the deployment is noticed.
func (m *Manager) wantDeployments(ctx context.Context, c *CertificatePlan, o *Observed) error {
	if m.Host == nil || !slices.ContainsFunc(o.Targets, func(t ObservedTarget) bool { return t.Here }) {
		return nil
	}
	key := state.DueKey(state.HostQueue, m.now(), o.Name)
	c.hostDue = append(c.hostDue, key)
	return state.PutDue(ctx, m.Host, key)
}

// deployment is one version on its way to one target: row 15.
type deployment struct {
	c       *CertificatePlan
	o       *Observed
	target  string
	rec     state.Record[inkan.Deployed]
	options string
	receipt inkan.Receipt
	last    bool // of the certificate in this run: its end deletes the due entries
}

// deploy carries out the deploy steps in order; the first failure stops the
// later ones.
func (m *Manager) deploy(ctx context.Context, c *CertificatePlan, o *Observed, steps []Step, acts *activations) outcome {
	steps = slices.DeleteFunc(slices.Clone(steps), func(s Step) bool { return s.Action != ActionDeploy })
	if err := m.ensureHostDue(ctx, c, o.Name); err != nil {
		return outcome{err: err}
	}
	out := outcome{after: o}
	for i, s := range steps {
		d := &deployment{c: c, o: o, target: s.Target, last: i == len(steps)-1}
		busy, waits, err := m.deployOne(ctx, d, acts)
		switch {
		case busy || err != nil:
			out.busy, out.err = busy, err
			return out
		case !waits:
			out.deployed = append(out.deployed, s.Target)
		}
	}
	return out
}

// ensureHostDue makes sure that a due entry of this host leads here again if the
// process dies. Entries that this run has not read are met when their time comes.
func (m *Manager) ensureHostDue(ctx context.Context, c *CertificatePlan, name string) error {
	if len(c.hostDue) > 0 {
		return nil
	}
	key := state.DueKey(state.HostQueue, m.now().Add(safetyMargin), name)
	c.hostDue = append(c.hostDue, key)
	return state.PutDue(ctx, m.Host, key)
}

// deployOne brings the version to one target. waits reports that the target
// took it but waits for the activation that ends the run, busy that another
// process deploys there.
func (m *Manager) deployOne(ctx context.Context, d *deployment, acts *activations) (busy, waits bool, err error) {
	o, name := d.o, d.o.Name
	t, openErr := m.target(ctx, d.target)
	if d.rec, err = state.Load[inkan.Deployed](ctx, m.Host, state.DeployedKey(d.target, name)); err != nil {
		return false, false, state.DamagedHint(err)
	}
	before := d.rec.Value
	if l := before.Lease; l != nil && m.holder(d.rec.Key, l) == leaseHeld {
		return true, false, nil
	}
	d.options = before.Options
	if openErr == nil {
		d.options = t.Options
	}
	next := before
	if next.Want != o.Current.N || next.Options != d.options {
		next.Attempts, next.LastError, next.Options = 0, nil, d.options
	}
	next.Want, next.Status = o.Current.N, inkan.DeployPending
	next.Attempts++
	next.Next = m.now().Add(safetyMargin)
	lease, ended := m.lease()
	defer ended()
	next.Lease = lease
	if err := d.rec.Save(ctx, m.Host, next); err != nil {
		if errors.Is(err, inkan.ErrConflict) {
			return true, false, nil
		}
		return false, false, err
	}
	if openErr != nil {
		return false, false, m.conclude(ctx, d, inkan.Errorf(inkan.KindOf(openErr), fmt.Sprintf("certificate %s at target %s", name, d.target), "%w", openErr))
	}
	m.progress(name, "deploying to "+d.target)
	err = guard.Call("target "+d.target, func() (err error) {
		d.receipt, err = t.Deployer.Deploy(ctx, inkan.Deployment{Version: o.Version, Previous: m.previous(ctx, o, before), Target: d.target,
			Receipt: before.Receipt, Earlier: receiptsBefore(o, d.target), Attempt: next.Attempts, OpenKey: m.OpenKey})
		return err
	})
	if err == nil {
		err = checkReceipt(d.target, d.receipt)
	}
	act, _ := t.Deployer.(inkan.Activator)
	if err == nil && act != nil && act.ActivationKey() != "" {
		if d.last {
			acts.add(act, d)
			return false, true, nil
		}
		err = guard.Call("target "+d.target, func() error { return act.Activate(ctx) })
	}
	return false, false, m.conclude(ctx, d, err)
}

// previous returns the version that the target accepted last; nil if there is
// none or it is gone.
func (m *Manager) previous(ctx context.Context, o *Observed, d inkan.Deployed) *inkan.Version {
	if d.Accepted == 0 || d.Version == "" {
		return nil
	}
	for _, v := range []*inkan.Version{o.Version, o.before} {
		if v != nil && v.Dir() == d.Version {
			return v
		}
	}
	v, err := state.LoadVersionAt(ctx, m.Store, o.Name, d.Version, d.Accepted)
	if err != nil {
		return nil
	}
	return v
}

// receiptsBefore collects the receipts of the targets that come before this one.
func receiptsBefore(o *Observed, target string) []inkan.TargetReceipt {
	var rs []inkan.TargetReceipt
	for _, t := range o.Targets {
		if t.Name == target {
			break
		}
		if t.Deployed.Receipt != nil {
			rs = append(rs, inkan.TargetReceipt{Target: t.Name, Receipt: t.Deployed.Receipt})
		}
	}
	return rs
}

// checkReceipt refuses a receipt that cannot be kept.
func checkReceipt(target string, r inkan.Receipt) error {
	op := "the receipt of target " + target
	switch {
	case len(r) > inkan.MaxReceipt:
		return inkan.Errorf(inkan.Bug, op, "it has %d bytes; at most %d are allowed", len(r), inkan.MaxReceipt)
	case len(r) > 0 && !json.Valid(r):
		return inkan.Errorf(inkan.Bug, op, "it is not JSON")
	}
	return nil
}

// conclude records how a deployment ended. Recording must not be lost to a
// cancellation.
func (m *Manager) conclude(ctx context.Context, d *deployment, cause error) error {
	interrupted := cause != nil && ctx.Err() != nil
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	now, name := m.now(), d.o.Name
	next := d.rec.Value
	token := next.Lease.Token
	next.Lease, next.At = nil, now
	e := inkan.Event{ID: fmt.Sprintf("%s-%s-%d-%d", d.o.Version.ID, state.Sum([]byte(d.target))[:8], next.Want, next.Attempts), At: now, Name: name, N: next.Want, Target: d.target}
	m.logPanic(name, cause)
	var again time.Time // when what did not succeed is repeated
	switch {
	case cause == nil:
		next.Status, next.Accepted, next.Version = inkan.DeployAccepted, next.Want, d.o.Version.Dir()
		next.Receipt, next.Options, next.Attempts = d.receipt, d.options, 0
		next.Next, next.LastError = time.Time{}, nil
		e.Kind = inkan.EventDeployed
	case interrupted: // the target did not fail, so the next run repeats it at once
		next.Attempts, next.Next, again = max(0, next.Attempts-1), time.Time{}, now
	default:
		next.Status, next.LastError = inkan.DeployFailed, lastError(cause, now)
		next.Next = deployRetry(cause, next.Attempts, now)
		again = next.Next
		e.Kind, e.Message, e.NextTry, e.Hint = inkan.EventDeployFailed, next.LastError.Message, next.Next, joinHints(next.LastError.Hints)
	}
	if cause != nil {
		if err := state.PutDue(ctx, m.Host, state.DueKey(state.HostQueue, again, name)); err != nil {
			return errors.Join(cause, err)
		}
	}
	if err := d.rec.Save(ctx, m.Host, next); err != nil {
		return errors.Join(cause, err)
	}
	m.leases.forget(token)
	if t := d.o.target(d.target); t != nil {
		t.Deployed = next
	}
	if interrupted {
		return cause // no event, and the due entries stay
	}
	err := state.WriteEvent(ctx, m.Store, e)
	if d.last {
		m.deleteDue(ctx, m.Host, d.c.hostDue...)
		d.c.hostDue = nil
	}
	return errors.Join(cause, err)
}

// deployRetry treats every failure as temporary: a target may recover by itself.
func deployRetry(cause error, attempts int, now time.Time) time.Time {
	return NextTry(&inkan.Error{Kind: inkan.Temporary, Err: cause, RetryAfter: inkan.RetryAfterOf(cause)}, attempts, now)
}

// deleteMetHostDue deletes the host entries that led here. Before that it puts an
// entry for the deployments that wait. It also confirms the records of the targets
// that are not in done: another process may have written them, and they may not be
// durable yet.
func (m *Manager) deleteMetHostDue(ctx context.Context, c *CertificatePlan, o *Observed, done []string) error {
	if len(c.hostDue) == 0 {
		return nil
	}
	now := m.now()
	var next time.Time
	for _, t := range o.Targets {
		if t.Here && t.Deployed.Status == inkan.DeployFailed && (next.IsZero() || t.Deployed.Next.Before(next)) {
			next = t.Deployed.Next
		}
	}
	if o.Version != nil && o.Version.ValidFrom().After(now) {
		next = o.Version.ValidFrom()
	}
	if next.After(now) {
		if err := state.PutDue(ctx, m.Host, state.DueKey(state.HostQueue, next, o.Name)); err != nil {
			return err
		}
	}
	for _, t := range o.Targets {
		if t.Here && t.Deployed.Status != "" && !slices.Contains(done, t.Name) {
			if err := state.Confirm(ctx, m.Host, state.DeployedKey(t.Name, o.Name)); err != nil {
				return err
			}
		}
	}
	m.deleteDue(ctx, m.Host, c.hostDue...)
	c.hostDue = nil
	return nil
}
