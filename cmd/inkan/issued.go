package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"github.com/inkan-acme/inkan"
)

// sayIssued ends with what somebody needs to know: the paths, the expiry and
// how renewal happens.
func (a *app) sayIssued(ctx context.Context, m *inkan.Manager, r *inkan.Result) {
	if r.Version == nil {
		return
	}
	now := time.Now()
	leaf := r.Version.Pairs[0].Leaf
	if !r.Issued && len(r.Deployed) == 0 {
		a.say("%s: nothing to do; the certificate in force is valid until %s", r.Name, instant(leaf.NotAfter, now))
		for _, s := range r.Waits {
			a.say("  %s", s.Reason)
		}
		return
	}
	a.say("%s %s", a.paint(green, "certificate"), a.paint(bold, r.Name))
	a.say("  valid until  %s", instant(leaf.NotAfter, now))
	o, err := m.Observe(ctx, r.Name)
	if err != nil {
		a.logger().Warn("the certificate could not be read again", "error", err)
		return
	}
	for _, t := range o.Targets {
		var receipt inkan.FilesReceipt
		if json.Unmarshal(t.Deployed.Receipt, &receipt) != nil || receipt.Dir == "" {
			continue
		}
		for _, f := range []struct{ what, file string }{{"certificate  ", "fullchain.pem"}, {"private key  ", "privkey.pem"}} {
			path := filepath.Join(receipt.Dir, f.file)
			if _, err := os.Stat(path); err == nil {
				a.say("  %s%s", f.what, path)
			}
		}
	}
	if !r.Next.IsZero() {
		a.say("  next look    %s", instant(r.Next, now))
	}
	a.say("  renewal      inkan renew, from a timer (packaging/ has one for systemd and for cron)")
}
