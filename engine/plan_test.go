package engine

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/state"
	"github.com/inkan-acme/inkan/internal/testkit"
)

// planned is a certificate in the middle of its life: 90 days, issued 20 days
// ago, looked at by ARI an hour ago, deployed to one target.
func planned(t *testing.T) *Observed {
	t.Helper()
	req := inkan.CertificateRequest{Name: "site", Identifiers: testkit.IDs("a.example", "b.example"), CAs: []string{"le"}, Account: "default", KeyTypes: []inkan.KeyType{inkan.ECDSAP256}, Targets: []string{"web"}}
	leaf := lived(90 * day)
	leaf.NotBefore, leaf.NotAfter = chainNow.Add(-20*day), chainNow.Add(70*day)
	leaf.Raw = []byte("leaf")
	v := &inkan.Version{Name: req.Name, N: 4, Seq: 3, ID: "id", Identifiers: req.Identifiers,
		Pairs: []inkan.Pair{{KeyType: inkan.ECDSAP256, Leaf: leaf, OrderHash: req.OrderHash("le", inkan.ECDSAP256), CA: "le", Account: "default", Source: "issued"}}}
	return &Observed{Name: req.Name, Request: &inkan.RequestRecord{CertificateRequest: req, Origin: inkan.OriginCLI},
		State:   inkan.State{Due: state.DueKey(state.CertQueue, chainNow.Add(5*time.Hour), req.Name), ARI: inkan.ARIState{N: 4, Looked: chainNow.Add(-time.Hour), Look: chainNow.Add(5 * time.Hour)}},
		Current: inkan.Current{N: 4, Seq: 3, Top: 3, ID: "id", At: chainNow.Add(-20 * day), Pairs: map[inkan.KeyType]inkan.PairSum{inkan.ECDSAP256: {Cert: "x"}}},
		Version: v,
		Targets: []ObservedTarget{{Name: "web", Here: true, Options: "o1", Deployed: inkan.Deployed{Want: 4, Accepted: 4, Status: inkan.DeployAccepted, Options: "o1"}}}}
}

// planOf plans what is observed, with the due entry that its state names.
func planOf(o *Observed, opt PlanOptions, now time.Time) []Step {
	read := *o
	read.Due, _, _ = state.ParseDue(o.State.Due, state.CertQueue)
	return PlanCertificate(&read, opt, now)
}

func lines(steps []Step) []string {
	var out []string
	for _, s := range steps {
		line := string(s.Action)
		if s.Target != "" {
			line += " @" + s.Target
		}
		line += ": " + s.Reason
		if s.Then != "" {
			line += "; " + s.Then
		}
		if !s.At.IsZero() {
			line += fmt.Sprintf(" [+%v]", s.At.Sub(chainNow).Truncate(time.Minute))
		}
		out = append(out, line)
	}
	return out
}

func TestPlanCertificate(t *testing.T) {
	asked, advice, force := PlanOptions{ByPerson: true}, PlanOptions{ByPerson: true, AskAdvice: true}, PlanOptions{Renew: true}
	renewal := "renewed at 2026-12-10 16:02 UTC: a third of its life is left"
	calm := "wait: " + renewal + " [+5h0m0s]"
	window := func(o *Observed, start, end, pick time.Time) {
		o.State.ARI.Start, o.State.ARI.End, o.State.ARI.Pick = start, end, pick
	}
	failed := func(o *Observed) {
		o.State.Attempts, o.State.LastError = 2, &inkan.LastError{Kind: inkan.Temporary, Message: "order: 503 of ca.example"}
		o.State.Due = state.DueKey(state.CertQueue, chainNow.Add(10*time.Minute), o.Name)
	}
	second := func(o *Observed, d inkan.Deployed) {
		o.Request.Targets = append(o.Request.Targets, "mail")
		o.Targets = append(o.Targets, ObservedTarget{Name: "mail", Here: true, Options: "o2", Deployed: d})
	}
	for _, c := range []struct {
		what string
		edit func(o *Observed)
		opt  PlanOptions
		want []string
	}{
		{"nothing to do", nil, PlanOptions{}, []string{calm}},
		{"nothing to do, asked", nil, asked, []string{calm}},
		{"nothing to do, asked for advice", nil, advice, []string{"look: asking the CA when to renew"}},
		{"asked for advice, issued just now", func(o *Observed) { o.State.ARI.Looked, o.Current.At = time.Time{}, chainNow }, advice, []string{"look: asking the CA when to renew"}},
		{"asked for advice twice in a minute", func(o *Observed) { o.State.ARI.Looked = chainNow.Add(-30 * time.Second) }, advice, []string{calm}},
		{"first issue", func(o *Observed) { o.Current, o.Version, o.State = inkan.Current{}, nil, inkan.State{} }, PlanOptions{}, []string{"issue: there is no certificate yet"}},
		{"deleted and back", func(o *Observed) { o.Current, o.Version = inkan.Current{N: 5, Top: 3}, nil }, PlanOptions{}, []string{"issue: there is no certificate yet"}},
		{"D07 damaged", func(o *Observed) {
			o.Version, o.VersionErr = nil, &inkan.DamagedError{Key: "v/x", Reason: "its checksum does not fit"}
		}, PlanOptions{},
			[]string{"issue: the certificate in force cannot be read: the stored value v/x is damaged: its checksum does not fit"}},
		{"other names", func(o *Observed) { o.Request.Identifiers = testkit.IDs("a.example", "*.c.example") }, PlanOptions{}, []string{"issue: other names are wanted (+*.c.example -b.example)"}},
		{"many other names", func(o *Observed) {
			o.Request.Identifiers = testkit.IDs("1.example", "2.example", "3.example", "4.example", "5.example", "6.example", "7.example")
		}, PlanOptions{}, []string{"issue: other names are wanted (+1.example +2.example +3.example +4.example +5.example +6.example and 3 more)"}},
		{"the same names in another order", func(o *Observed) { o.Request.Identifiers = testkit.IDs("b.example", "a.example") }, PlanOptions{}, []string{calm}},
		{"another CA", func(o *Observed) { o.Request.CAs = []string{"zerossl"} }, PlanOptions{}, []string{"issue: another CA is wanted (zerossl)"}},
		{"a CA to fall back on, in front", func(o *Observed) { o.Request.CAs = []string{"zerossl", "le"} }, PlanOptions{}, []string{calm}},
		{"another account", func(o *Observed) { o.Request.Account = "ops" }, PlanOptions{}, []string{"issue: another account is wanted (ops)"}},
		{"another profile", func(o *Observed) { o.Request.Profile = "short" }, PlanOptions{}, []string{"issue: its profile, lifetime, key policy or CSR was changed"}},
		{"another key type", func(o *Observed) { o.Request.KeyTypes = []inkan.KeyType{inkan.RSA2048} }, PlanOptions{}, []string{"issue: a key of type rsa-2048 is wanted"}},
		{"another validation and chain: nothing", func(o *Observed) {
			o.Request.Validations = []inkan.Validation{{Type: inkan.DNS01, Solver: "x"}}
			o.Request.PreferredChain = "X"
		}, PlanOptions{}, []string{calm}},

		{"renewal due", func(o *Observed) {
			o.Version.Pairs[0].Leaf.NotBefore, o.Version.Pairs[0].Leaf.NotAfter = chainNow.Add(-61*day), chainNow.Add(29*day)
		}, PlanOptions{}, []string{"renew: valid until 2026-11-30 12:00 UTC, and a third of its life is left"}},
		{"expired", func(o *Observed) {
			o.Version.Pairs[0].Leaf.NotBefore, o.Version.Pairs[0].Leaf.NotAfter = chainNow.Add(-91*day), chainNow.Add(-day)
		}, PlanOptions{}, []string{"renew: valid until 2026-10-31 12:00 UTC, and a third of its life is left"}},
		{"forced", nil, force, []string{"renew: asked for by --force"}},
		{"forced after a revocation", func(o *Observed) { o.State.Revoked = []string{o.Version.Pairs[0].Fingerprint().String()} }, force, []string{"renew: asked for by --force"}},
		{"revoked", func(o *Observed) { o.State.Revoked = []string{o.Version.Pairs[0].Fingerprint().String()} }, asked, []string{"wait: it was revoked; inkan renew --name site --force issues it again, inkan delete site removes it"}},
		{"another one was revoked", func(o *Observed) { o.State.Revoked = []string{"ff"} }, PlanOptions{}, []string{calm}},

		{"ARI look due", func(o *Observed) { o.State.ARI.Look = chainNow }, PlanOptions{}, []string{"look: asking the CA when to renew"}},
		{"never looked, published long ago", func(o *Observed) { o.State.ARI = inkan.ARIState{} }, PlanOptions{}, []string{"look: asking the CA when to renew"}},
		{"never looked, published just now", func(o *Observed) { o.State.ARI = inkan.ARIState{}; o.Current.At = chainNow }, PlanOptions{}, []string{"wait: " + renewal + " [+3h56m0s]"}},
		{"the advice for an older version counts no more", func(o *Observed) {
			window(o, chainNow.Add(-2*day), chainNow.Add(-day), chainNow.Add(-36*time.Hour))
			o.State.ARI.N = 3
			o.Current.At = chainNow
		}, PlanOptions{}, []string{"wait: " + renewal + " [+3h56m0s]"}},
		{"ARI pick ahead", func(o *Observed) { window(o, chainNow.Add(day), chainNow.Add(3*day), chainNow.Add(2*day)) }, PlanOptions{},
			[]string{"wait: renewed at 2026-11-03 12:00 UTC: the CA suggests 2026-11-02 12:00 UTC to 2026-11-04 12:00 UTC [+5h0m0s]"}},
		{"ARI pick passed", func(o *Observed) { window(o, chainNow.Add(-2*day), chainNow.Add(-day), chainNow.Add(-36*time.Hour)) }, PlanOptions{},
			[]string{"renew: the CA suggests 2026-10-30 12:00 UTC to 2026-10-31 12:00 UTC"}},
		{"A12 renewed for it today", func(o *Observed) {
			window(o, chainNow.Add(-2*day), chainNow.Add(-day), chainNow.Add(-36*time.Hour))
			o.State.Renewals = []time.Time{chainNow.Add(-time.Hour)}
		}, PlanOptions{}, []string{"wait: renewed at 2026-11-02 11:00 UTC: the CA suggests it again, but once a day and twice a week is enough [+5h0m0s]"}},
		{"A12 but its life ends", func(o *Observed) {
			o.Version.Pairs[0].Leaf.NotBefore, o.Version.Pairs[0].Leaf.NotAfter = chainNow.Add(-59*day-5*time.Hour), chainNow.Add(31*day-5*time.Hour)
			window(o, chainNow.Add(-2*day), chainNow.Add(-day), chainNow.Add(-36*time.Hour))
			o.State.Renewals = []time.Time{chainNow.Add(-10 * time.Hour)}
		}, PlanOptions{}, []string{"renew: valid until 2026-12-02 07:00 UTC, and a third of its life is left"}},
		{"A11 due when it came, an hour ago", func(o *Observed) {
			o.Version.Pairs[0].Leaf.NotBefore, o.Version.Pairs[0].Leaf.NotAfter = chainNow.Add(-61*day), chainNow.Add(29*day)
			o.State.Renewals = []time.Time{chainNow.Add(-time.Hour)}
		}, PlanOptions{}, []string{"wait: renewed at 2026-11-15 23:30 UTC: it was due already when the last renewal brought it, and half of its life is left [+5h0m0s]"}},
		{"A11 half of it has passed", func(o *Observed) {
			o.Version.Pairs[0].Leaf.NotBefore, o.Version.Pairs[0].Leaf.NotAfter = chainNow.Add(-75*day), chainNow.Add(14*day)
			o.State.Renewals = []time.Time{chainNow.Add(-15 * day)}
		}, PlanOptions{}, []string{"renew: valid until 2026-11-15 12:00 UTC, and it was due already when the last renewal brought it, and half of its life is left"}},
		{"A12 far window", func(o *Observed) {
			window(o, chainNow.Add(3650*day), chainNow.Add(3651*day), chainNow.Add(3650*day))
		}, PlanOptions{}, []string{calm}},

		{"waiting after a failure", func(o *Observed) { failed(o); o.Request.CAs = []string{"zerossl"} }, PlanOptions{},
			[]string{"wait: another CA is wanted (zerossl): order: 503 of ca.example; the next try is [+10m0s]"}},
		{"asked after a failure", func(o *Observed) { failed(o); o.Request.CAs = []string{"zerossl"} }, asked, []string{"issue: another CA is wanted (zerossl)"}},
		{"forced after a failure", failed, force, []string{"renew: asked for by --force"}},
		{"the time after a failure has come", func(o *Observed) {
			failed(o)
			o.State.Due = state.DueKey(state.CertQueue, chainNow, o.Name)
			o.Request.CAs = []string{"zerossl"}
		}, PlanOptions{}, []string{"issue: another CA is wanted (zerossl)"}},
		{"A04 Retry-After holds for everybody", func(o *Observed) { failed(o); o.State.NotBefore = chainNow.Add(time.Hour) }, PlanOptions{ByPerson: true, Renew: true},
			[]string{"wait: the CA must not be asked before 2026-11-01 13:00 UTC [+1h0m0s]"}},
		{"A04 and its order", func(o *Observed) {
			o.State.Running = "x"
			o.State.NotBefore = chainNow.Add(time.Hour)
			o.Abandoned = true
		}, asked,
			[]string{"wait: the CA must not be asked before 2026-11-01 13:00 UTC [+1h0m0s]"}},

		{"running, lease dead", func(o *Observed) { o.State.Running, o.Abandoned = "x", true }, PlanOptions{}, []string{"resume: the process that worked on its order died"}},
		{"running, lease of another", func(o *Observed) {
			o.State.Running, o.HeldBy = "x", &inkan.Owner{Host: "web1\n", PID: 7}
		}, PlanOptions{ByPerson: true, Renew: true}, []string{`wait: another process works on it (process 7 on web1\u000a)`}},
		{"running, lease of nobody known", func(o *Observed) { o.State.Running, o.HeldBy = "x", &inkan.Owner{} }, PlanOptions{}, []string{"wait: another process works on it"}},
		{"running, waits", func(o *Observed) { failed(o); o.State.Running = "x" }, PlanOptions{}, []string{"wait: its order is not finished: order: 503 of ca.example; its order goes on [+10m0s]"}},
		{"running, waits, asked", func(o *Observed) { failed(o); o.State.Running = "x" }, asked, []string{"resume: its order is not finished"}},
		{"running, due", func(o *Observed) {
			o.State.Running = "x"
			o.State.Due = state.DueKey(state.CertQueue, chainNow, o.Name)
		}, PlanOptions{}, []string{"resume: its order is not finished"}},
		{"traces of an order", func(o *Observed) { o.Orders = []inkan.OrderRecord{{Attempt: "y"}} }, PlanOptions{}, []string{"tidy: a finished order left traces"}},

		{"unmanaged", func(o *Observed) { o.Request.Unmanaged = true }, force, []string{"wait: it left the configuration file, so it is kept but not renewed"}},
		{"unmanaged in the middle of an order", func(o *Observed) { o.Request.Unmanaged = true; o.State.Running, o.Abandoned = "x", true }, PlanOptions{},
			[]string{"resume: the process that worked on its order died"}},
		{"deleted", func(o *Observed) {
			o.Request.Deleted = true
			o.Current, o.Version, o.State = inkan.Current{N: 5, Top: 3}, nil, inkan.State{}
		}, force, []string{"wait: deleted"}},
		{"deleted half", func(o *Observed) { o.Request.Deleted = true }, PlanOptions{}, []string{"delete: its deletion was not finished"}},
		{"deleted, an order is left", func(o *Observed) {
			o.Request.Deleted = true
			o.Current, o.Version, o.State, o.Orders = inkan.Current{}, nil, inkan.State{}, []inkan.OrderRecord{{}}
		}, PlanOptions{}, []string{"delete: its deletion was not finished"}},
		{"unknown", func(o *Observed) { o.Request = nil }, PlanOptions{}, []string{"wait: nobody asked for this certificate"}},
		{"unknown with an order", func(o *Observed) { o.Request, o.Orders = nil, []inkan.OrderRecord{{}} }, PlanOptions{}, []string{"tidy: an order was left without a request"}},

		{"not deployed yet", func(o *Observed) { o.Targets[0].Deployed = inkan.Deployed{} }, PlanOptions{}, []string{"deploy @web: not at target web yet", calm}},
		{"older version deployed", func(o *Observed) { o.Targets[0].Deployed.Want, o.Targets[0].Deployed.Accepted = 3, 3 }, PlanOptions{}, []string{"deploy @web: target web has an older version", calm}},
		{"K09 deployment interrupted", func(o *Observed) { o.Targets[0].Deployed.Status = inkan.DeployPending }, PlanOptions{}, []string{"deploy @web: the deployment to target web was interrupted", calm}},
		{"K01 failed, waiting", func(o *Observed) {
			d := &o.Targets[0].Deployed
			d.Status, d.Attempts, d.Next = inkan.DeployFailed, 1, chainNow.Add(time.Minute)
		}, PlanOptions{}, []string{"wait @web: target web failed once; the next try is [+1m0s]", calm}},
		{"K01 failed, asked", func(o *Observed) {
			o.State.ARI.Looked = chainNow
			d := &o.Targets[0].Deployed
			d.Status, d.Attempts, d.Next = inkan.DeployFailed, 3, chainNow.Add(time.Minute)
		}, asked, []string{"deploy @web: target web failed 3 times", calm}},
		{"K01 failed, its time has come", func(o *Observed) {
			d := &o.Targets[0].Deployed
			d.Status, d.Attempts, d.Next = inkan.DeployFailed, 2, chainNow
		}, PlanOptions{}, []string{"deploy @web: target web failed 2 times", calm}},
		{"options changed", func(o *Observed) { o.Targets[0].Options = "o9" }, PlanOptions{}, []string{"deploy @web: the options of target web changed", calm}},
		{"redeploy", nil, PlanOptions{Redeploy: true, DeployOnly: true}, []string{"deploy @web: asked for at target web"}},
		{"a target of another machine", func(o *Observed) { o.Targets[0] = ObservedTarget{Name: "web"} }, PlanOptions{}, []string{calm}},
		{"no version to deploy", func(o *Observed) { o.Version, o.Targets[0].Deployed = nil, inkan.Deployed{} }, PlanOptions{DeployOnly: true}, nil},
		{"two targets, both new", func(o *Observed) { o.Targets[0].Deployed = inkan.Deployed{}; second(o, inkan.Deployed{}) }, PlanOptions{},
			[]string{"deploy @web: not at target web yet", "deploy @mail: not at target mail yet", calm}},
		{"two targets, the first waits: the second too", func(o *Observed) {
			d := &o.Targets[0].Deployed
			d.Status, d.Attempts, d.Next = inkan.DeployFailed, 2, chainNow.Add(time.Minute)
			second(o, inkan.Deployed{})
		}, PlanOptions{}, []string{"wait @web: target web failed 2 times; the next try is [+1m0s]", calm}},
		{"two targets, the first is done", func(o *Observed) { second(o, inkan.Deployed{}) }, PlanOptions{}, []string{"deploy @mail: not at target mail yet", calm}},
		{"issuing comes before deploying", func(o *Observed) { o.Targets[0].Deployed = inkan.Deployed{}; o.Request.Profile = "x" }, PlanOptions{},
			[]string{"issue: its profile, lifetime, key policy or CSR was changed"}},
		{"issuing waits, deploying does not", func(o *Observed) {
			o.Targets[0].Deployed = inkan.Deployed{}
			o.State.NotBefore = chainNow.Add(time.Hour)
		}, PlanOptions{},
			[]string{"deploy @web: not at target web yet", "wait: the CA must not be asked before 2026-11-01 13:00 UTC [+1h0m0s]"}},
	} {
		o := planned(t)
		if c.edit != nil {
			c.edit(o)
		}
		before := fmt.Sprintf("%+v", *o)
		steps := planOf(o, c.opt, chainNow)
		if diff := cmp.Diff(c.want, lines(steps)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.what, diff)
		}
		if after := fmt.Sprintf("%+v", *o); after != before {
			t.Errorf("%s: planning changed what was observed", c.what)
		}
		if again := planOf(o, c.opt, chainNow); !slices.Equal(lines(again), lines(steps)) {
			t.Errorf("%s: another plan at the second look", c.what)
		}
		for _, s := range steps {
			if s.Name != o.Name || s.Reason == "" || strings.ContainsFunc(s.Reason, hidden) {
				t.Errorf("%s: the step %+v", c.what, s)
			}
		}
	}
}

// TestPlanErrors: a certificate that cannot be planned does not stop the others.
func TestPlanErrors(t *testing.T) {
	ctx := t.Context()
	s := testkit.New()
	m := &Manager{Store: s, Now: func() time.Time { return chainNow }}
	for _, n := range []string{"a.example", "b.example", "c.example"} {
		if _, err := m.Record(ctx, inkan.CertificateRequest{Name: n, Identifiers: testkit.IDs(n), CAs: []string{"le"}, Account: "default", KeyTypes: []inkan.KeyType{inkan.ECDSAP256}}, inkan.OriginCLI); err != nil {
			t.Fatal(err)
		}
	}
	s.Set(state.StateKey("b.example"), []byte("{damaged"))
	s.Set(state.CertQueue+"20200101/00/0000-../etc-01234567", nil)
	for what, opt := range map[string]PlanOptions{"due": {}, "all": {Scope: All()}, "named": {Scope: Named("a.example", "b.example", "c.example", "none")}} {
		p, err := m.Plan(ctx, opt)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range p.Certificates {
			switch c.Name {
			case "a.example", "c.example":
				if c.Err != nil || len(c.Steps) != 1 || c.Steps[0].Action != ActionIssue || !c.Actions() {
					t.Errorf("%s: %+v", what, c)
				}
			case "b.example":
				if d, ok := errors.AsType[*inkan.DamagedError](c.Err); !ok || d.Key != "state/b.example" || inkan.KindOf(c.Err) != inkan.Operator || len(inkan.HintsOf(c.Err)) == 0 {
					t.Errorf("%s: b.example: %v", what, c.Err)
				}
			case "none":
				if inkan.KindOf(c.Err) != inkan.Operator {
					t.Errorf("%s: none: %v", what, c.Err)
				}
			default:
				t.Errorf("%s: %q was planned", what, c.Name)
			}
		}
	}
	if _, err := m.Plan(ctx, PlanOptions{Scope: Named("../x")}); err == nil {
		t.Error("a bad name was planned")
	}
}

func TestAsk(t *testing.T) {
	base := inkan.CertificateRequest{Name: "a", Identifiers: testkit.IDs("a.example", "b.example"), CAs: []string{"le"}, Account: "default", KeyTypes: []inkan.KeyType{inkan.ECDSAP256}}
	ask := base.OrderHash("le", inkan.ECDSAP256)
	for what, c := range map[string]struct {
		edit func(r *inkan.CertificateRequest)
		same bool
	}{
		"order of names": {func(r *inkan.CertificateRequest) { r.Identifiers = testkit.IDs("b.example", "a.example") }, true},
		"validation": {func(r *inkan.CertificateRequest) {
			r.Validations = []inkan.Validation{{Type: inkan.DNS01, Solver: "x"}}
		}, true},
		"targets":      {func(r *inkan.CertificateRequest) { r.Targets = []string{"x"} }, true},
		"chain":        {func(r *inkan.CertificateRequest) { r.PreferredChain = "x" }, true},
		"default mode": {func(r *inkan.CertificateRequest) { r.Key.Mode = inkan.KeyNew }, true},
		"name":         {func(r *inkan.CertificateRequest) { r.Name = "b" }, true},
		"account":      {func(r *inkan.CertificateRequest) { r.Account = "x" }, false},
		"identifiers":  {func(r *inkan.CertificateRequest) { r.Identifiers = r.Identifiers[:1] }, false},
		"profile":      {func(r *inkan.CertificateRequest) { r.Profile = "x" }, false},
		"require":      {func(r *inkan.CertificateRequest) { r.Profile, r.RequireProfile = "x", true }, false},
		"lifetime":     {func(r *inkan.CertificateRequest) { r.Lifetime = time.Hour }, false},
		"reuse":        {func(r *inkan.CertificateRequest) { r.Key.Mode = inkan.KeyReuse }, false},
		"given":        {func(r *inkan.CertificateRequest) { r.Key.Given = "ff" }, false},
		"CSR":          {func(r *inkan.CertificateRequest) { r.CSR = []byte("x") }, false},
	} {
		r := base
		c.edit(&r)
		if got := r.OrderHash("le", inkan.ECDSAP256) == ask; got != c.same {
			t.Errorf("%s: the same ask %v, want %v", what, got, c.same)
		}
	}
	if base.OrderHash("other", inkan.ECDSAP256) == ask || base.OrderHash("le", inkan.RSA2048) == ask {
		t.Error("CA or key type are not in the ask")
	}
}

func TestRequestCheck(t *testing.T) {
	good := inkan.CertificateRequest{Name: "a", Identifiers: testkit.IDs("a.example"), CAs: []string{"le"}, Account: "default", KeyTypes: []inkan.KeyType{inkan.ECDSAP256},
		Validations: []inkan.Validation{{Type: inkan.HTTP01, Solver: "web"}}, Targets: []string{"t"}}
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for what, edit := range map[string]func(r *inkan.CertificateRequest){
		"a bad name":     func(r *inkan.CertificateRequest) { r.Name = "../x" },
		"no identifiers": func(r *inkan.CertificateRequest) { r.Identifiers = nil },
		"not canonical": func(r *inkan.CertificateRequest) {
			r.Identifiers = []inkan.Identifier{{Type: inkan.DNS, Value: "A.example"}}
		},
		"an IP as DNS": func(r *inkan.CertificateRequest) {
			r.Identifiers = []inkan.Identifier{{Type: inkan.DNS, Value: "192.0.2.1"}}
		},
		"no CA":                func(r *inkan.CertificateRequest) { r.CAs = nil },
		"a path as CA":         func(r *inkan.CertificateRequest) { r.CAs = []string{"a/b"} },
		"no account":           func(r *inkan.CertificateRequest) { r.Account = "" },
		"a command as target":  func(r *inkan.CertificateRequest) { r.Targets = []string{"$(id)"} },
		"no key type":          func(r *inkan.CertificateRequest) { r.KeyTypes = nil },
		"two key types":        func(r *inkan.CertificateRequest) { r.KeyTypes = []inkan.KeyType{inkan.ECDSAP256, inkan.RSA2048} },
		"unknown key type":     func(r *inkan.CertificateRequest) { r.KeyTypes = []inkan.KeyType{"dsa"} },
		"negative lifetime":    func(r *inkan.CertificateRequest) { r.Lifetime = -1 },
		"profile required":     func(r *inkan.CertificateRequest) { r.RequireProfile = true },
		"given without a hash": func(r *inkan.CertificateRequest) { r.Key.Mode = inkan.KeyGiven },
		"unknown key policy":   func(r *inkan.CertificateRequest) { r.Key.Mode = "x" },
		"validation, no type":  func(r *inkan.CertificateRequest) { r.Validations = []inkan.Validation{{Solver: "web"}} },
		"validation, a path": func(r *inkan.CertificateRequest) {
			r.Validations = []inkan.Validation{{Type: inkan.HTTP01, Solver: "/var/www"}}
		},
	} {
		r := good
		edit(&r)
		if err := r.Check(); err == nil || inkan.KindOf(err) != inkan.Operator {
			t.Errorf("%s: %v, want an error of kind operator", what, err)
		}
	}
}

func TestValidationMatches(t *testing.T) {
	for _, c := range []struct {
		match, id string
		want      bool
	}{
		{"", "a.example", true}, {"*", "*.a.example", true}, {"a.example", "a.example", true}, {"a.example", "b.a.example", false}, {"a.example", "*.a.example", false},
		{"*.a.example", "*.a.example", true}, {"*.a.example", "b.a.example", true}, {"*.a.example", "*.b.a.example", true}, {"*.a.example", "a.example", false},
		{"*.a.example", "ba.example", false}, {"*.a.example", "*.ba.example", false},
	} {
		if got := (inkan.Validation{Match: c.match}).Matches(testkit.IDs(c.id)[0]); got != c.want {
			t.Errorf("%q matches %s: %v, want %v", c.match, c.id, got, c.want)
		}
	}
}

// TestStatusNext: the next try of an order that goes on, or of a certificate that
// failed, is told, and not the renewal that would come weeks later.
func TestStatusNext(t *testing.T) {
	soon := chainNow.Add(time.Minute)
	o := planned(t)
	o.State.Running, o.Due = "x", soon
	o.State.Attempts, o.State.LastError = 1, &inkan.LastError{Kind: inkan.Temporary, Message: "finalize: 503 of ca.example"}
	if s := o.Status(chainNow); s.Word != StatusFailing || !s.Next.Equal(soon) {
		t.Errorf("with an order under way: %+v", s)
	}
	o.State.Running, o.Request.Profile = "", "other"
	if s := o.Status(chainNow); s.Word != StatusFailing || !s.Next.Equal(soon) {
		t.Errorf("with another profile wanted: %+v", s)
	}
	o = planned(t)
	at, _ := o.Renewal(chainNow)
	if s := o.Status(chainNow); s.Word != StatusOK || s.Next.Sub(at).Abs() > time.Second {
		t.Errorf("in force: %+v, want %v", s, at)
	}
}
