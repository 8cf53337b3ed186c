package engine_test

import (
	"context"
	"strings"
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

// TestC30CallbacksOfTheProgram: what the program gives the Manager may panic or
// return nothing. The certificate fails, and who is to blame is told.
func TestC30CallbacksOfTheProgram(t *testing.T) {
	panics := func() { panic("out of its mind") }
	for what, c := range map[string]struct {
		change func(*engine.Manager)
		want   string
	}{
		"no Issuer": {func(m *engine.Manager) { m.Issuer = nil }, "Manager.Issuer is nil"},
		"Issuer panics": {func(m *engine.Manager) {
			m.Issuer = func(context.Context, string, string) (inkan.Issuer, error) { panics(); return nil, nil }
		}, "it panicked: out of its mind"},
		"Issuer returns nothing": {func(m *engine.Manager) {
			m.Issuer = func(context.Context, string, string) (inkan.Issuer, error) { return nil, nil }
		}, "the program returned nothing for it"},
		"Solver panics": {func(m *engine.Manager) {
			m.Solver = func(context.Context, string) (inkan.Solver, error) { panics(); return nil, nil }
		}, "it panicked: out of its mind"},
		"Target panics": {func(m *engine.Manager) {
			m.Target = func(context.Context, string) (*engine.Target, error) { panics(); return nil, nil }
		}, "it panicked: out of its mind"},
		"Progress panics": {func(m *engine.Manager) { m.Progress = func(engine.Progress) { panics() } }, ""},
	} {
		t.Run(what, func(t *testing.T) {
			w, m, _ := start(t)
			c.change(m)
			err := issue(t.Context(), m, w.req)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
