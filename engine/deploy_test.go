package engine_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/engine"
)

// fakeTarget records what reaches it and fails on demand.
type fakeTarget struct {
	name string
	log  *[]string
	fail error
	seen []inkan.Deployment
}

func (d *fakeTarget) Deploy(_ context.Context, dep inkan.Deployment) (inkan.Receipt, error) {
	*d.log = append(*d.log, "deploy "+d.name+" "+dep.Version.Name)
	d.seen = append(d.seen, dep)
	if d.fail != nil {
		return nil, d.fail
	}
	return inkan.Receipt(fmt.Sprintf(`{"put":%q}`, d.name)), nil
}

// reloading is a target that needs an activation.
type reloading struct {
	*fakeTarget
	key    string
	reload error
}

func (d *reloading) ActivationKey() string { return d.key }

func (d *reloading) Activate(context.Context) error {
	*d.log = append(*d.log, "activate "+d.key)
	return d.reload
}

// withTargets gives the process other targets than the model's.
func withTargets(m *engine.Manager, targets map[string]*engine.Target) {
	m.Target = func(_ context.Context, name string) (*engine.Target, error) {
		if t, ok := targets[name]; ok {
			return t, nil
		}
		return nil, fs.ErrNotExist
	}
}

func (w *world) deployed(m *engine.Manager, target string) inkan.Deployed {
	w.t.Helper()
	o := w.observed(m)
	i := slices.IndexFunc(o.Targets, func(t engine.ObservedTarget) bool { return t.Name == target })
	if i < 0 {
		w.t.Fatalf("no target %s", target)
	}
	return o.Targets[i].Deployed
}

// TestK01DeployFails: the certificate is kept, the state says so, the retry comes
// after 1, 10, 100 minutes, then daily, and is never forgotten.
func TestK01DeployFails(t *testing.T) {
	w, m, _ := start(t)
	ctx := t.Context()
	var log []string
	target := &fakeTarget{name: "there", log: &log, fail: inkan.Errorf(inkan.Rejected, "target there", "exit status 1").WithHint("read its log")}
	withTargets(m, map[string]*engine.Target{"there": {Deployer: target}})
	if err := issue(ctx, m, w.req); err == nil || !strings.Contains(err.Error(), "exit status 1") {
		t.Fatalf("got %v", err)
	}
	o := w.observed(m)
	if o.Version == nil || o.Current.N != 1 || o.State.Attempts != 0 || o.State.LastError != nil {
		t.Fatalf("the certificate suffered: %+v, %+v", o.Current, o.State)
	}
	d := w.deployed(m, "there")
	if d.Status != inkan.DeployFailed || d.Accepted != 0 || d.Want != 1 || d.Attempts != 1 || d.Lease != nil || d.LastError == nil || len(d.LastError.Hints) != 1 || d.Next.Sub(w.now()) != time.Minute {
		t.Errorf("after the first failure: %+v", d)
	}
	begin := w.now()
	var at []time.Duration
	for w.now().Sub(begin) < 4*day {
		n := len(target.seen)
		_ = renew(ctx, m)
		if len(target.seen) > n {
			at = append(at, w.now().Sub(begin).Truncate(time.Minute))
		}
		w.advance(time.Minute)
	}
	want := []time.Duration{time.Minute, 11 * time.Minute, 111 * time.Minute, 111*time.Minute + day, 111*time.Minute + 2*day, 111*time.Minute + 3*day}
	if diff := cmp.Diff(want, at); diff != "" {
		t.Errorf("retries (-want +got):\n%s", diff)
	}
	for i, dep := range target.seen {
		if dep.Attempt != i+1 || dep.Previous != nil || dep.Receipt != nil {
			t.Errorf("try %d: attempt %d, previous %v", i+1, dep.Attempt, dep.Previous)
		}
	}
	if n := w.ca.issued(); n != 1 {
		t.Errorf("%d certificates", n)
	}
	// Asked by a person it is tried at once; then it is over.
	target.fail = nil
	must(t, issue(ctx, m, w.req))
	d = w.deployed(m, "there")
	if d.Status != inkan.DeployAccepted || d.Accepted != 1 || d.Attempts != 0 || d.LastError != nil || string(d.Receipt) != `{"put":"there"}` {
		t.Errorf("after the success: %+v", d)
	}
	kinds := events(t, m)
	if n := len(slices.DeleteFunc(slices.Clone(kinds), func(k string) bool { return k != string(inkan.EventDeployFailed) })); n != len(target.seen)-1 || kinds[len(kinds)-1] != string(inkan.EventDeployed) {
		t.Errorf("events %v", kinds)
	}
	w.advance(2 * day)
	must(t, renew(ctx, m))
	if left := keysBelow(t, w.host, "due/"); left != nil {
		t.Errorf("entries of the host are left: %v", left)
	}
	w.calm(m, 1)
}

// TestK05Order: targets come in the order of the request; a failure stops the
// later ones; the receipts of the earlier ones are at hand.
func TestK05Order(t *testing.T) {
	w, m, _ := start(t)
	ctx := t.Context()
	var log []string
	one, two, three := &fakeTarget{name: "one", log: &log}, &fakeTarget{name: "two", log: &log, fail: errors.New("no")}, &fakeTarget{name: "three", log: &log}
	targets := map[string]*engine.Target{"one": {Deployer: one, Options: "o"}, "two": {Deployer: two}, "three": {Deployer: three}}
	withTargets(m, targets)
	w.req.Targets = []string{"one", "elsewhere", "two", "three"}
	if err := issue(ctx, m, w.req); err == nil {
		t.Fatal("no error")
	}
	if diff := cmp.Diff([]string{"deploy one example.com", "deploy two example.com"}, log); diff != "" {
		t.Errorf("with a failure in the middle:\n%s", diff)
	}
	two.fail, log = nil, nil
	w.advance(2 * time.Minute)
	must(t, renew(ctx, m))
	if diff := cmp.Diff([]string{"deploy two example.com", "deploy three example.com"}, log); diff != "" {
		t.Errorf("afterwards:\n%s", diff)
	}
	want := []inkan.TargetReceipt{{Target: "one", Receipt: inkan.Receipt(`{"put":"one"}`)}, {Target: "two", Receipt: inkan.Receipt(`{"put":"two"}`)}}
	if diff := cmp.Diff(want, three.seen[0].Earlier); diff != "" {
		t.Errorf("the earlier receipts:\n%s", diff)
	}
	// A renewal hands over what was there before.
	log = nil
	w.advance(61 * day)
	must(t, renew(ctx, m))
	if len(log) != 3 || three.seen[1].Previous == nil || three.seen[1].Previous.N != 1 || three.seen[1].Version.N != 2 || string(three.seen[1].Receipt) != `{"put":"three"}` {
		t.Errorf("%v, %+v", log, three.seen[1])
	}
	// Changed options of one target deploy there only.
	log = nil
	targets["one"].Options = "other"
	must(t, issue(ctx, m, w.req))
	if diff := cmp.Diff([]string{"deploy one example.com"}, log); diff != "" {
		t.Errorf("changed options:\n%s", diff)
	}
	if d := w.deployed(m, "one"); d.Options != "other" || d.Accepted != 2 {
		t.Errorf("%+v", d)
	}
	w.calm(m, 1)
}

// TestActivateOnce: one activation for all certificates of a run, after the last
// of them; its failure is the failure of all.
func TestActivateOnce(t *testing.T) {
	w, m, _ := start(t)
	ctx := t.Context()
	var log []string
	target := &reloading{fakeTarget: &fakeTarget{name: "there", log: &log}, key: "nginx", reload: errors.New("nginx -t failed")}
	withTargets(m, map[string]*engine.Target{"there": {Deployer: target}})
	m.Workers = 1
	var names []string
	for i := range 10 {
		w.req.Name = fmt.Sprintf("c%d", i)
		names = append(names, w.req.Name)
		_, err := m.Record(ctx, w.req, inkan.OriginConfig)
		must(t, err)
	}
	run := func() *engine.Report {
		p, err := m.Plan(ctx, engine.PlanOptions{Scope: engine.Named(names...), ByPerson: true})
		must(t, err)
		return m.Run(ctx, p)
	}
	check := func(what string, wantErr bool, status string) {
		t.Helper()
		report := run()
		if len(log) != 11 || log[10] != "activate nginx" {
			t.Errorf("%s: %v", what, log)
		}
		log = nil
		for _, r := range report.Results {
			if (r.Err != nil) != wantErr || wantErr == slices.Contains(r.Deployed, "there") {
				t.Errorf("%s: %s: deployed %v, %v", what, r.Name, r.Deployed, r.Err)
			}
			o, err := m.Observe(ctx, r.Name)
			must(t, err)
			if d := o.Targets[0].Deployed; d.Status != status || d.Lease != nil {
				t.Errorf("%s: %s: %+v", what, r.Name, d)
			}
		}
	}
	check("failing reload", true, inkan.DeployFailed)
	target.reload = nil
	check("good reload", false, inkan.DeployAccepted)
	if run(); len(log) != 0 {
		t.Errorf("again: %v", log)
	}
	if left := keysBelow(t, w.host, "due/"); len(left) != 10 { // the retries of the first round
		t.Errorf("%d entries of the host", len(left))
	}
	w.advance(2 * time.Minute)
	must(t, renew(ctx, m))
	if left := keysBelow(t, w.host, "due/"); len(left) != 0 || len(log) != 0 {
		t.Errorf("entries %v, calls %v", left, log)
	}
}

// TestActivateEarlier: what a later target of the certificate builds on is
// activated before it.
func TestActivateEarlier(t *testing.T) {
	w, m, _ := start(t)
	var log []string
	first := &reloading{fakeTarget: &fakeTarget{name: "first", log: &log}, key: "a"}
	last := &reloading{fakeTarget: &fakeTarget{name: "last", log: &log}, key: "b"}
	withTargets(m, map[string]*engine.Target{"first": {Deployer: first}, "last": {Deployer: last}})
	w.req.Targets = []string{"first", "last"}
	must(t, issue(t.Context(), m, w.req))
	if diff := cmp.Diff([]string{"deploy first example.com", "activate a", "deploy last example.com", "activate b"}, log); diff != "" {
		t.Error(diff)
	}
	for _, target := range w.req.Targets {
		if d := w.deployed(m, target); d.Status != inkan.DeployAccepted {
			t.Errorf("%s: %+v", target, d)
		}
	}
}

// TestK09KilledBeforeActivation: an entry of the host leads back to what was not
// activated.
func TestK09KilledBeforeActivation(t *testing.T) {
	w, m, g := start(t)
	ctx := t.Context()
	var log []string
	target := &reloading{fakeTarget: &fakeTarget{name: "there", log: &log}, key: "nginx"}
	withTargets(m, map[string]*engine.Target{"there": {Deployer: killedAt{target, g}}})
	_ = issue(ctx, m, w.req)
	w.bury(m)
	m = w.process(&gate{})
	withTargets(m, map[string]*engine.Target{"there": {Deployer: target}})
	w.advance(20 * time.Minute)
	must(t, renew(ctx, m))
	if d := w.deployed(m, "there"); d.Status != inkan.DeployAccepted || log[len(log)-1] != "activate nginx" {
		t.Errorf("%+v after %v", d, log)
	}
	if left := keysBelow(t, w.host, "due/"); left != nil {
		t.Errorf("entries of the host are left: %v", left)
	}
	w.calm(m, 1)
}

// killedAt dies when it is to activate.
type killedAt struct {
	*reloading
	g *gate
}

func (k killedAt) Activate(context.Context) error {
	k.g.mu.Lock()
	defer k.g.mu.Unlock()
	k.g.dead = true
	return errKilled
}

// TestReceiptTooLong: a contract that is broken is a failure, not a record of any
// size.
func TestReceiptTooLong(t *testing.T) {
	w, m, _ := start(t)
	withTargets(m, map[string]*engine.Target{"there": {Deployer: bigReceipt{}}})
	if err := issue(t.Context(), m, w.req); !errors.Is(err, inkan.Bug) {
		t.Errorf("got %v", err)
	}
	if d := w.deployed(m, "there"); d.Status != inkan.DeployFailed || d.Receipt != nil {
		t.Errorf("%+v", d)
	}
}

type bigReceipt struct{}

func (bigReceipt) Deploy(context.Context, inkan.Deployment) (inkan.Receipt, error) {
	return inkan.Receipt(`"` + strings.Repeat("x", inkan.MaxReceipt) + `"`), nil
}

// badReceipt is a target whose receipt is not JSON.
type badReceipt struct{ *fakeTarget }

func (d *badReceipt) Deploy(ctx context.Context, dep inkan.Deployment) (inkan.Receipt, error) {
	_, err := d.fakeTarget.Deploy(ctx, dep)
	return inkan.Receipt("put there"), err
}

// TestReceiptNotJSON: the target failed, and is told by its name.
func TestReceiptNotJSON(t *testing.T) {
	w, m, _ := start(t)
	withTargets(m, map[string]*engine.Target{"there": {Deployer: &badReceipt{&fakeTarget{name: "there", log: &[]string{}}}}})
	err := issue(t.Context(), m, w.req)
	if inkan.KindOf(err) != inkan.Bug || !strings.Contains(err.Error(), "the receipt of target there: it is not JSON") {
		t.Errorf("got %v", err)
	}
	if d := w.deployed(m, "there"); d.Status != inkan.DeployFailed || d.LastError == nil {
		t.Errorf("on record: %+v", d)
	}
}

// interruptible is a target in which the program is asked to end.
type interruptible struct {
	*fakeTarget
	end context.CancelFunc
}

func (d *interruptible) Deploy(ctx context.Context, dep inkan.Deployment) (inkan.Receipt, error) {
	if d.end != nil {
		d.end()
		return nil, ctx.Err()
	}
	return d.fakeTarget.Deploy(ctx, dep)
}

// TestDeployInterrupted: who is asked to end in the middle of a deployment has
// not seen the target fail. The next run repeats it at once.
func TestDeployInterrupted(t *testing.T) {
	w, m, _ := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	target := &interruptible{&fakeTarget{name: "there", log: &[]string{}}, cancel}
	withTargets(m, map[string]*engine.Target{"there": {Deployer: target}})
	if err := issue(ctx, m, w.req); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if d := w.deployed(m, "there"); d.Status != inkan.DeployPending || d.LastError != nil || d.Lease != nil || d.Attempts != 0 {
		t.Errorf("on record: %+v", d)
	}
	if kinds := events(t, m); slices.Contains(kinds, string(inkan.EventDeployFailed)) {
		t.Errorf("events %v", kinds)
	}
	if s := w.observed(m).Status(w.now()); s.Word != engine.StatusDeploying {
		t.Errorf("status %+v", s)
	}
	target.end = nil
	must(t, renew(t.Context(), m))
	if d := w.deployed(m, "there"); d.Status != inkan.DeployAccepted {
		t.Errorf("after the next run: %+v", d)
	}
}

// TestTargetBroken: a target that cannot be opened is reported and does not touch
// the certificate.
func TestTargetBroken(t *testing.T) {
	w, m, _ := start(t)
	m.Target = func(context.Context, string) (*engine.Target, error) {
		return nil, inkan.Errorf(inkan.Operator, "target there", "unknown option colour")
	}
	if err := issue(t.Context(), m, w.req); !errors.Is(err, inkan.Operator) || !strings.Contains(err.Error(), "colour") {
		t.Errorf("got %v", err)
	}
	if o := w.observed(m); o.Version == nil || o.Targets[0].Err == nil {
		t.Errorf("version %v, target %+v", o.Version, o.Targets[0])
	}
}

// TestRedeploy: --retry deploys again what is in place, once.
func TestRedeploy(t *testing.T) {
	w, m, _ := start(t)
	ctx := t.Context()
	var log []string
	withTargets(m, map[string]*engine.Target{"there": {Deployer: &fakeTarget{name: "there", log: &log}}})
	must(t, issue(ctx, m, w.req))
	for range 2 {
		p, err := m.Plan(ctx, engine.PlanOptions{Scope: engine.Named(w.req.Name), Redeploy: true, DeployOnly: true})
		must(t, err)
		must(t, m.Run(ctx, p).Err())
	}
	if len(log) != 3 {
		t.Errorf("%v", log)
	}
	w.calm(m, 1)
}

// TestK01RetriesGrow: a target with options that fails for ever is tried after
// 1, 10 and 100 minutes, then daily, and at once when its options change.
func TestK01RetriesGrow(t *testing.T) {
	w := newWorld(t)
	m := w.process(&gate{})
	tries, options := 0, "first"
	m.Target = func(context.Context, string) (*engine.Target, error) {
		return &engine.Target{Options: options, Deployer: failingDeployer{&tries}}, nil
	}
	if err := issue(t.Context(), m, w.req); err == nil {
		t.Fatal("the deployment did not fail")
	}
	for i, want := range []time.Duration{time.Minute, 10 * time.Minute, 100 * time.Minute, 24 * time.Hour, 24 * time.Hour} {
		o, err := m.Observe(t.Context(), w.req.Name)
		if err != nil {
			t.Fatal(err)
		}
		d := o.Targets[0].Deployed
		if got := d.Next.Sub(w.now()); got != want {
			t.Fatalf("after %d failures the next try comes in %v, want %v", i+1, got, want)
		}
		w.advance(want - time.Second)
		before := tries
		if renew(t.Context(), m); tries != before {
			t.Fatalf("tried a second too early after %d failures", i+1)
		}
		w.advance(time.Second)
		if renew(t.Context(), m); tries != before+1 {
			t.Fatalf("not tried when its time came after %d failures", i+1)
		}
	}
	options = "second"
	before := tries
	p, err := m.Plan(t.Context(), engine.PlanOptions{Scope: engine.Named(w.req.Name)})
	if err != nil {
		t.Fatal(err)
	}
	if r := m.Run(t.Context(), p); tries != before+1 {
		t.Errorf("not tried at once with other options: %+v; planned %+v", r.Results, p.Certificates)
	}
}

// failingDeployer refuses everything and counts.
type failingDeployer struct{ tries *int }

func (d failingDeployer) Deploy(context.Context, inkan.Deployment) (inkan.Receipt, error) {
	*d.tries++
	return nil, errors.New("the target is down")
}
