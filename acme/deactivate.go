package acme

import (
	"context"
	"time"

	"github.com/inkan-acme/inkan"
)

// Deactivate ends the account for good (RFC 8555 section 7.3.6). The record is
// marked before the CA is asked, so that nothing more is ordered with the
// account even if the reply is lost. Only a refusal that proves that the account
// is still valid removes the mark. A repeated call asks the CA again.
func (c *Client) Deactivate(ctx context.Context) (AccountInfo, error) {
	unlock, err := c.lock(ctx)
	if err != nil {
		return AccountInfo{}, interrupted(ctx, c.accountName(), err)
	}
	defer unlock()
	rec, err := c.existing(ctx)
	if err != nil {
		return AccountInfo{}, err
	}
	if _, err := c.directoryFrom(ctx, rec); err != nil {
		return AccountInfo{}, err
	}
	if rec.Next != nil {
		if rec, err = c.settle(ctx, rec); err != nil {
			return AccountInfo{}, err
		}
	}
	a, err := c.open(ctx, rec)
	if err != nil {
		return AccountInfo{}, err
	}
	again, now := !rec.Deactivated.IsZero(), c.now()
	err = c.accounts.Update(ctx, func(r *inkan.AccountRecord) {
		if r.Deactivated.IsZero() {
			r.Deactivated = now
		}
		rec = *r
	})
	if err != nil {
		return AccountInfo{}, c.storeError(ctx, c.accountName(), "noting that it is deactivated", err)
	}
	c.account.Store(nil)
	id := a.identity
	id.pinned = true
	_, err = c.post(ctx, epOther, c.op("account deactivation"), a.kid, id, mustJSON(map[string]string{"status": statusDeactivated}))
	switch {
	case err == nil, again && isProblem(err, unauthorized, accountDoesNotExist):
	case problemOf(err) == nil, inkan.KindOf(err) == inkan.Temporary, again && !c.lives(ctx, rec):
		return AccountInfo{}, withHint(err, "it is marked as deactivated here; inkan account deactivate asks the CA again")
	default:
		return AccountInfo{}, c.reactivate(ctx, err)
	}
	info, err := c.describe(rec, a, nil)
	info.Status = statusDeactivated
	return info, err
}

// lives reports whether the CA says that it still serves the account. A refusal
// of a repeated request proves nothing: the CA may have carried out the first
// one, whose reply was lost.
func (c *Client) lives(ctx context.Context, rec inkan.AccountRecord) bool {
	known, err := c.knows(ctx, rec.Key)
	return err == nil && known
}

// reactivate removes the mark after a refusal, which it returns.
func (c *Client) reactivate(ctx context.Context, why error) error {
	err := c.accounts.Update(context.WithoutCancel(ctx), func(r *inkan.AccountRecord) { r.Deactivated = time.Time{} })
	if err != nil {
		return c.storeError(ctx, c.accountName(), "noting that it is not deactivated", err)
	}
	return why
}

// mayServe returns nil unless the account was deactivated from here.
func (c *Client) mayServe(rec inkan.AccountRecord) error {
	if rec.Deactivated.IsZero() {
		return nil
	}
	return inkan.Errorf(inkan.Operator, c.accountName(), "it was deactivated on %s and can no longer be used", rec.Deactivated.UTC().Format("2006-01-02")).
		WithHint("register another one under another name (--account NAME), or a new one under this name with: inkan account register --recover")
}

// forgetDeactivated makes room for a new account, with a new key, in the place
// of a deactivated one.
func (c *Client) forgetDeactivated(ctx context.Context, dir *directory, rec inkan.AccountRecord, opts RegisterOptions) (inkan.AccountRecord, error) {
	if rec.Deactivated.IsZero() {
		return rec, nil
	}
	if err := c.mayRegister(dir, opts); err != nil {
		return rec, err
	}
	was := rec.Deactivated
	err := c.accounts.Update(ctx, func(r *inkan.AccountRecord) {
		if r.Deactivated.Equal(was) {
			*r = inkan.AccountRecord{Directory: r.Directory, DirectoryAt: r.DirectoryAt}
		}
		rec = *r
	})
	if err != nil {
		return rec, c.storeError(ctx, c.accountName(), "making room for a new one", err)
	}
	return rec, nil
}
