package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/state"
)

// wantDeployments puts an entry into this host's due index when the request
// names a target here, so that a kill before the deployment is noticed.
func (m *Manager) wantDeployments(ctx context.Context, c *CertificatePlan, o *Observed) error {
	if m.Host == nil || !slices.ContainsFunc(o.Targets, func(t ObservedTarget) bool { return t.Here }) {
		return nil
	}
	key := state.DueKey(state.HostQueue, m.now(), o.Name)
	c.metHost = append(c.metHost, key)
	return state.PutDue(ctx, m.Host, key)
}

// deployment is one version on its way to one target: row 15.
type deployment struct {
	name, target string
	rec          state.Record[inkan.Deployed]
	options      string
	receipt      inkan.Receipt
	version      *inkan.Version
	entries      []string // due entries to delete at the end
}

// deploy carries out the deploy steps in order; the first failure stops the
// later ones. It returns the targets that accepted.
func (m *Manager) deploy(ctx context.Context, c *CertificatePlan, o *Observed, steps []Step, opt PlanOptions, acts *activations) (done []string, err error) {
	steps = slices.DeleteFunc(slices.Clone(steps), func(s Step) bool { return s.Action != ActionDeploy })
	entries, err := m.hostEntries(ctx, c, o.Name)
	if err != nil {
		return nil, err
	}
	for i, s := range steps {
		d := &deployment{name: o.Name, target: s.Target, version: o.Version, entries: entries}
		last := i == len(steps)-1
		if !last {
			d.entries = nil
		}
		waits, err := m.deployOne(ctx, o, d, last, acts)
		if err != nil {
			return done, err
		}
		if !waits {
			done = append(done, s.Target)
		}
	}
	return done, nil
}

// hostEntries returns the due entries of the certificate on this host that led
// here, and makes sure that there is one. Others are met when their time comes.
func (m *Manager) hostEntries(ctx context.Context, c *CertificatePlan, name string) ([]string, error) {
	if len(c.metHost) == 0 {
		key := state.DueKey(state.HostQueue, m.now().Add(safetyMargin), name)
		c.metHost = append(c.metHost, key)
		if err := state.PutDue(ctx, m.Host, key); err != nil {
			return nil, err
		}
	}
	return slices.Clone(c.metHost), nil
}

// deployOne brings the version to one target. waits reports that the target
// took it but waits for the activation that ends the run.
func (m *Manager) deployOne(ctx context.Context, o *Observed, d *deployment, last bool, acts *activations) (waits bool, err error) {
	t, openErr := m.target(ctx, d.target)
	if d.rec, err = state.Load[inkan.Deployed](ctx, m.Host, state.DeployedKey(d.target, d.name)); err != nil {
		return false, state.DamagedHint(err)
	}
	before := d.rec.Value
	if l := before.Lease; l != nil && m.holderOf(d.rec.Key, l) == leaseHeld {
		return false, errBusy
	}
	d.options = before.Options
	if openErr == nil {
		d.options = t.Options
	}
	now := m.now()
	next := before
	if next.Want != o.Current.N || next.Options != d.options {
		next.Attempts, next.LastError, next.Options = 0, nil, d.options
	}
	next.Want, next.Status = o.Current.N, inkan.DeployPending
	next.Attempts++
	next.Next = now.Add(safetyMargin)
	lease, ended := m.newLease()
	defer ended()
	next.Lease = lease
	if err := d.rec.Save(ctx, m.Host, next); err != nil {
		if errors.Is(err, inkan.ErrConflict) {
			return false, errBusy
		}
		return false, err
	}
	if openErr != nil {
		return false, m.settle(ctx, d, inkan.Errorf(inkan.KindOf(openErr), fmt.Sprintf("certificate %s at target %s", d.name, d.target), "%w", openErr))
	}
	m.progress(d.name, "deploying to "+d.target)
	err = guarded("target "+d.target, func() (err error) {
		d.receipt, err = t.Deployer.Deploy(ctx, inkan.Deployment{Version: o.Version, Previous: m.previous(ctx, o, before), Target: d.target,
			Receipt: before.Receipt, Earlier: m.earlier(ctx, o, d.target), Attempt: next.Attempts, OpenKey: m.OpenKey})
		return err
	})
	if err == nil && len(d.receipt) > inkan.MaxReceipt {
		err = inkan.Errorf(inkan.Bug, "the receipt of target "+d.target, "it has %d bytes; at most %d are allowed", len(d.receipt), inkan.MaxReceipt)
	}
	act, _ := t.Deployer.(inkan.Activator)
	if err == nil && act != nil && act.ActivationKey() != "" {
		if last {
			acts.add(act, d)
			return true, nil
		}
		err = guarded("target "+d.target, func() error { return act.Activate(ctx) })
	}
	return false, m.settle(ctx, d, err)
}

// previous loads the version that the target accepted last; nil if there is
// none or it is gone.
func (m *Manager) previous(ctx context.Context, o *Observed, d inkan.Deployed) *inkan.Version {
	if d.Accepted == 0 || d.Version == "" {
		return nil
	}
	if o.Version != nil && o.Version.Dir() == d.Version {
		return o.Version
	}
	v, err := state.LoadVersionAt(ctx, m.Store, o.Name, d.Version, d.Accepted)
	if err != nil {
		return nil
	}
	return v
}

// earlier collects the receipts of the targets that come before this one.
func (m *Manager) earlier(ctx context.Context, o *Observed, target string) []inkan.TargetReceipt {
	var rs []inkan.TargetReceipt
	for _, t := range o.Targets {
		if t.Name == target {
			break
		}
		if d, err := state.Load[inkan.Deployed](ctx, m.Host, state.DeployedKey(t.Name, o.Name)); err == nil && d.Value.Receipt != nil {
			rs = append(rs, inkan.TargetReceipt{Target: t.Name, Receipt: d.Value.Receipt})
		}
	}
	return rs
}

// settle records how a deployment ended. Recording must not be lost to a
// cancellation.
func (m *Manager) settle(ctx context.Context, d *deployment, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	now := m.now()
	next := d.rec.Value
	token := next.Lease.Token
	next.Lease, next.At = nil, now
	e := inkan.Event{ID: fmt.Sprintf("%s-%s-%d-%d", d.version.ID, d.target, next.Want, next.Attempts), At: now, Name: d.name, N: next.Want, Target: d.target}
	if cause == nil {
		next.Status, next.Accepted, next.Version = inkan.DeployAccepted, next.Want, d.version.Dir()
		next.Receipt, next.Options, next.Attempts = d.receipt, d.options, 0
		next.Next, next.LastError = time.Time{}, nil
		e.Kind = inkan.EventDeployed
	} else {
		m.hasPanicked(d.name, cause)
		next.Status, next.LastError = inkan.DeployFailed, lastError(cause, now)
		next.Next = deployRetry(cause, next.Attempts, now)
		e.Kind, e.Message, e.NextTry = inkan.EventDeployFailed, next.LastError.Message, next.Next
		e.Hint = inkan.Printable(joinLines(next.LastError.Hints), 1024)
		key := state.DueKey(state.HostQueue, next.Next, d.name)
		if err := state.PutDue(ctx, m.Host, key); err != nil {
			return errors.Join(cause, err)
		}
	}
	if err := d.rec.Save(ctx, m.Host, next); err != nil {
		return errors.Join(cause, err)
	}
	m.forget(token)
	err := state.WriteEvent(ctx, m.Store, e)
	m.dropDue(ctx, m.Host, d.entries...)
	if err != nil {
		return errors.Join(cause, err)
	}
	return cause
}

// deployRetry is never "not until somebody changes something": a target may
// come back by itself.
func deployRetry(cause error, attempts int, now time.Time) time.Time {
	return NextTry(&inkan.Error{Kind: inkan.Temporary, Err: cause, RetryAfter: inkan.RetryAfterOf(cause)}, attempts, now)
}

// tidyHostDue deletes the host entries that led here when nothing is left to
// deploy before them, and keeps one in place for what waits. What others than
// this run deployed (done names its targets) may have been recorded by a process
// that died before the record was durable.
func (m *Manager) tidyHostDue(ctx context.Context, c *CertificatePlan, o *Observed, done []string) error {
	if len(c.metHost) == 0 {
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
	m.dropDue(ctx, m.Host, c.metHost...)
	return nil
}
