package engine_test

import (
	"context"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/engine"
)

// panicking is a target that panics in one of its methods.
type panicking struct {
	*reloading
	in string
}

func (d *panicking) Deploy(ctx context.Context, dep inkan.Deployment) (inkan.Receipt, error) {
	if d.in == "Deploy" {
		panic("out of its mind")
	}
	return d.reloading.Deploy(ctx, dep)
}

func (d *panicking) Activate(ctx context.Context) error {
	if d.in == "Activate" {
		panic("out of its mind")
	}
	return d.reloading.Activate(ctx)
}

// TestC30PanicInDeployer: a target that panics fails, is on record with a kind
// that says whose fault it is, and is tried again when its time has come.
func TestC30PanicInDeployer(t *testing.T) {
	for _, in := range []string{"Deploy", "Activate"} {
		t.Run(in, func(t *testing.T) {
			w, m, _ := start(t)
			var log []string
			target := &panicking{&reloading{fakeTarget: &fakeTarget{name: "there", log: &log}, key: "k"}, in}
			withTargets(m, map[string]*engine.Target{"there": {Deployer: target}})
			if err := issue(t.Context(), m, w.req); inkan.KindOf(err) != inkan.Bug {
				t.Fatalf("got %v", err)
			}
			d := w.deployed(m, "there")
			if d.Status != inkan.DeployFailed || d.LastError == nil || d.LastError.Kind != inkan.Bug || d.Lease != nil || !d.Next.After(w.now()) {
				t.Errorf("after the panic: %+v", d)
			}
			if o := w.observed(m); o.Version == nil || o.State.LastError != nil {
				t.Errorf("the certificate suffered: %+v", o.State)
			}
			target.in = ""
			w.advance(d.Next.Sub(w.now()) + time.Second)
			must(t, renew(t.Context(), m))
			if d := w.deployed(m, "there"); d.Status != inkan.DeployAccepted {
				t.Errorf("afterwards: %+v", d)
			}
		})
	}
}
