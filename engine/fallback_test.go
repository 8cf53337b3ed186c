package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/engine"
)

// pickyCAs are several CAs of the world, each with a mood.
type pickyCAs struct {
	w     *world
	mood  map[string]func(inkan.IssueRequest, inkan.OrderRecord) error // nil error: it issues
	asked []string                                                     // the CA of each call
	names []int                                                        // how many names each order had
}

func (p *pickyCAs) manager(g *gate) *engine.Manager {
	m := p.w.process(g)
	m.Issuer = func(_ context.Context, ca, _ string) (inkan.Issuer, error) {
		return issuerFunc(func(ctx context.Context, r inkan.IssueRequest) (*inkan.Issued, error) {
			rec, err := r.Journal.Load(ctx)
			if err != nil {
				return nil, err
			}
			p.asked = append(p.asked, ca)
			p.names = append(p.names, len(rec.Identifiers))
			if mood := p.mood[ca]; mood != nil {
				if err := mood(r, rec); err != nil {
					return nil, err
				}
			}
			return modelIssuer{p.w.ca, g}.Issue(ctx, r)
		}), nil
	}
	return m
}

func startPicky(t *testing.T) (*pickyCAs, *engine.Manager) {
	p := &pickyCAs{w: newWorld(t), mood: map[string]func(inkan.IssueRequest, inkan.OrderRecord) error{}}
	p.w.req.CAs = []string{"first", "second"}
	return p, p.manager(&gate{})
}

func (p *pickyCAs) took(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(p.asked, want) {
		t.Errorf("asked %v, want %v", p.asked, want)
	}
	p.asked = nil
}

func down(inkan.IssueRequest, inkan.OrderRecord) error {
	return inkan.Errorf(inkan.Temporary, "directory at first", "status 503")
}

// Without a certificate there is no slack: the next CA is asked at once, and a
// pause begins only when all have failed.
func TestFailoverWithoutCertificate(t *testing.T) {
	p, m := startPicky(t)
	p.mood["first"], p.mood["second"] = down, down
	err := issue(t.Context(), m, p.w.req)
	if err == nil || strings.Count(err.Error(), "status 503") != 2 {
		t.Errorf("the error tells of both: %v", err)
	}
	p.took(t, "first", "second")
	st := p.w.observed(m).State
	if st.Attempts != 1 || len(st.FailedCAs) != 0 {
		t.Errorf("%d attempts, failed %v; one round is one attempt", st.Attempts, st.FailedCAs)
	}
	must(t, renew(t.Context(), m))
	p.took(t) // a pause
	delete(p.mood, "second")
	p.w.advance(time.Minute)
	must(t, renew(t.Context(), m))
	p.took(t, "first", "second")
	p.w.check("after the failover", 1, 1, 1)
	if ca := p.w.observed(m).Version.Pairs[0].CA; ca != "second" {
		t.Errorf("issued by %s", ca)
	}
}

// What decides between CAs is the slack that is left, not the count of errors:
// half of the time between renewal and expiry belongs to the first.
func TestFailoverBySlack(t *testing.T) {
	p, m := startPicky(t)
	must(t, issue(t.Context(), m, p.w.req))
	p.took(t, "first")
	p.mood["first"] = down
	o := p.w.observed(m)
	at, _ := o.Renewal(p.w.now())
	end := o.Version.Pairs[0].Leaf.NotAfter
	p.w.advance(at.Sub(p.w.now()) + time.Minute)
	half := at.Add(end.Sub(at) / 2)
	for p.w.now().Before(half) {
		_ = renew(t.Context(), m)
		if n := p.w.observed(m).Current.N; n != 1 {
			t.Fatalf("renewed by %v with %v of slack", p.asked, end.Sub(p.w.now()))
		}
		p.w.advance(6 * time.Hour)
	}
	if len(p.asked) < 10 || slices.Contains(p.asked, "second") {
		t.Errorf("in the first half asked %v", p.asked)
	}
	p.asked = nil
	p.w.advance(24 * time.Hour)
	must(t, renew(t.Context(), m))
	p.took(t, "first", "second")
	p.w.check("after the failover", 2, 2, 2)
	// The next renewal begins with the user's first choice again.
	delete(p.mood, "first")
	at, _ = p.w.observed(m).Renewal(p.w.now())
	p.w.advance(at.Sub(p.w.now()) + time.Minute)
	must(t, renew(t.Context(), m))
	p.took(t, "first")
}

// A CA that may have issued is not left: its order is finished.
func TestFailoverNeverLeavesAFinalizedOrder(t *testing.T) {
	p, m := startPicky(t)
	broken := true
	p.mood["first"] = func(r inkan.IssueRequest, rec inkan.OrderRecord) error {
		if !broken {
			return nil
		}
		must(t, r.Journal.Update(t.Context(), func(o *inkan.OrderRecord) { o.OrderURL, o.Finalizing = "order-0", true }))
		p.w.ca.orders["order-0"] = &modelOrder{validated: true}
		return inkan.Errorf(inkan.Temporary, "finalize at first", "connection reset")
	}
	if err := issue(t.Context(), m, p.w.req); err == nil {
		t.Fatal("no error")
	}
	p.took(t, "first")
	broken = false
	p.w.advance(time.Hour)
	must(t, renew(t.Context(), m))
	p.took(t, "first")
	p.w.check("finished", 1, 1, 1)
}

// What fails on this side is no reason to ask another CA.
func TestFailoverNotForOurOwnFaults(t *testing.T) {
	p, m := startPicky(t)
	p.mood["first"] = func(inkan.IssueRequest, inkan.OrderRecord) error {
		return inkan.Errorf(inkan.Operator, "solver dns", "%w", errors.Join(inkan.ErrOurSide, errors.New("wrong credentials")))
	}
	if err := issue(t.Context(), m, p.w.req); err == nil {
		t.Fatal("no error")
	}
	p.took(t, "first")
}

// refusing makes a CA refuse every proof by the solver.
func refusing(solver string) func(inkan.IssueRequest, inkan.OrderRecord) error {
	return func(r inkan.IssueRequest, rec inkan.OrderRecord) error {
		var refused []inkan.Refusal
		for _, id := range rec.Identifiers {
			if w := inkan.Ways(r.Request.Validations, r.Refusals, id)[0]; w.Solver == solver {
				refused = append(refused, inkan.Refusal{Identifier: id, Type: w.Type, Solver: w.Solver})
			}
		}
		if refused == nil {
			return nil
		}
		return inkan.Errorf(inkan.Rejected, "order", "%w", &inkan.RefusedError{Refusals: refused, Err: inkan.ErrOrderDead})
	}
}

// A way that the CA refused gives way to the next at once, is tried last from
// then on, and first again after a month.
func TestFallBackToAnotherWay(t *testing.T) {
	p, m := startPicky(t)
	p.w.req.CAs = []string{"first"}
	p.w.req.Validations = []inkan.Validation{{Type: inkan.HTTP01, Solver: "web"}, {Type: inkan.DNS01, Solver: "model"}}
	p.mood["first"] = refusing("web")
	must(t, issue(t.Context(), m, p.w.req))
	p.took(t, "first", "first")
	p.w.check("by the second way", 1, 1, 1)
	if kinds := events(t, m); !slices.Contains(kinds, "failed") {
		t.Errorf("events %v tell nothing of the failure", kinds)
	}
	st := p.w.observed(m).State
	if len(st.Refusals) != 2 || st.LastError != nil {
		t.Errorf("refusals %v, last error %v", st.Refusals, st.LastError)
	}
	p.w.advance(time.Hour)
	must(t, force(t.Context(), m, p.w.req.Name))
	p.took(t, "first") // the way that works comes first
	p.w.advance(31 * day)
	must(t, force(t.Context(), m, p.w.req.Name))
	p.took(t, "first", "first")
}

func force(ctx context.Context, m *engine.Manager, name string) error {
	plan, err := m.Plan(ctx, engine.PlanOptions{Scope: engine.Named(name), Renew: true})
	if err != nil {
		return err
	}
	return m.Run(ctx, plan).Err()
}

// At most two authorizations of a name fail in an hour without a person.
func TestAtMostTwoRefusalsAnHour(t *testing.T) {
	p, m := startPicky(t)
	p.w.req.Identifiers = p.w.req.Identifiers[:1]
	p.w.req.Validations = nil
	for i := range 5 {
		p.w.req.Validations = append(p.w.req.Validations, inkan.Validation{Type: inkan.HTTP01, Solver: fmt.Sprint("web", i)})
	}
	p.w.req.Validations = append(p.w.req.Validations, inkan.Validation{Type: inkan.HTTP01, Solver: "model"})
	var when []time.Time
	p.mood["first"] = func(r inkan.IssueRequest, rec inkan.OrderRecord) error {
		w := inkan.Ways(r.Request.Validations, r.Refusals, rec.Identifiers[0])[0]
		if w.Solver == "model" {
			return nil
		}
		when = append(when, p.w.now())
		return refusing(w.Solver)(r, rec)
	}
	p.mood["second"] = p.mood["first"]
	if err := issue(t.Context(), m, p.w.req); err == nil {
		t.Fatal("no error")
	}
	for i := 0; p.w.observed(m).Version == nil; i++ {
		if i == 600 {
			t.Fatal("no certificate after ten hours")
		}
		p.w.advance(time.Minute)
		_ = renew(t.Context(), m)
	}
	for i := range when[2:] {
		if d := when[i+2].Sub(when[i]); d < time.Hour {
			t.Errorf("three refusals within %v", d)
		}
	}
	if len(when) != 5 {
		t.Errorf("%d refusals, want one for each way: %v", len(when), when)
	}
}

// Names that the CA refuses are left out, if that is allowed, and asked for
// again at the next renewal.
func TestSubset(t *testing.T) {
	for _, allow := range []bool{false, true} {
		t.Run(fmt.Sprint(allow), func(t *testing.T) {
			p, m := startPicky(t)
			p.w.req.CAs, p.w.req.AllowSubset = []string{"first"}, allow
			bad := p.w.req.Identifiers[1]
			refuse := true
			p.mood["first"] = func(r inkan.IssueRequest, rec inkan.OrderRecord) error {
				if !refuse || !slices.Contains(rec.Identifiers, bad) {
					return nil
				}
				return inkan.Errorf(inkan.Rejected, "new order", "%w", &inkan.RefusedError{Refusals: []inkan.Refusal{{Identifier: bad}}, Err: errors.New("forbidden by policy")})
			}
			err := issue(t.Context(), m, p.w.req)
			if !allow {
				if err == nil || p.w.ca.issued() != 0 {
					t.Errorf("issued %d: %v", p.w.ca.issued(), err)
				}
				return
			}
			must(t, err)
			p.w.check("without one name", 1, 1, 1)
			if !slices.Equal(p.names, []int{2, 1}) {
				t.Errorf("orders of %v names", p.names)
			}
			must(t, renew(t.Context(), m)) // nothing is due because of it
			if len(p.names) != 2 {
				t.Errorf("%d orders", len(p.names))
			}
			refuse = false
			must(t, force(t.Context(), m, p.w.req.Name))
			if ids := p.w.observed(m).Version.Identifiers; len(ids) != 2 {
				t.Errorf("the next one has %v", ids)
			}
		})
	}
}

// C-cases: killed at every point of a failover, the recovery ends with one
// certificate as always.
func TestModelKillDuringFailover(t *testing.T) {
	ctx := t.Context()
	script := func(p *pickyCAs, g *gate) error { return issue(ctx, p.manager(g), p.w.req) }
	prepare := func() *pickyCAs {
		p, _ := startPicky(t)
		p.mood["first"] = refusing("web")
		p.w.req.Validations = []inkan.Validation{{Type: inkan.HTTP01, Solver: "web"}, {Type: inkan.DNS01, Solver: "model"}}
		p.mood["second"] = down
		return p
	}
	g := &gate{}
	must(t, script(prepare(), g))
	for at := 1; at <= len(g.names); at++ {
		for _, after := range []bool{false, true} {
			p := prepare()
			killed := &gate{at: at, after: after}
			_ = script(p, killed)
			p.w.mu.Lock()
			clear(p.w.alive)
			p.w.mu.Unlock()
			what := fmt.Sprintf("killed at %d (%s, after: %v)", at, g.names[at-1], after)
			m := p.manager(&gate{})
			if _, err := m.Request(ctx, p.w.req.Name); err != nil {
				must(t, issue(ctx, m, p.w.req))
			} else if err := renew(ctx, m); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			p.w.check(what, 1, 1, 1+lostOrder(g.names, at))
		}
	}
}

// A way that stands before the one that was refused, but cannot be taken (the CA
// does not offer it, or its solver does not work), must not keep failures from
// counting: after one try of it the back-off begins.
func TestFallBackEndsWhereAWayCannotBeTaken(t *testing.T) {
	p, m := startPicky(t)
	p.w.req.CAs = []string{"first"}
	p.w.req.Validations = []inkan.Validation{{Type: inkan.DNS01, Solver: "model"}, {Type: inkan.HTTP01, Solver: "web"}}
	p.mood["first"] = func(_ inkan.IssueRequest, rec inkan.OrderRecord) error {
		var refused []inkan.Refusal
		for _, id := range rec.Identifiers {
			refused = append(refused, inkan.Refusal{Identifier: id, Type: inkan.HTTP01, Solver: "web"})
		}
		return inkan.Errorf(inkan.Rejected, "order", "%w", &inkan.RefusedError{Refusals: refused, Err: inkan.ErrOrderDead})
	}
	if err := issue(t.Context(), m, p.w.req); err == nil {
		t.Fatal("no error")
	}
	p.took(t, "first", "first")
	if n := p.w.observed(m).State.Attempts; n != 1 {
		t.Errorf("%d attempts, want 1", n)
	}
	for range 3 * 24 * 6 { // three days
		p.w.advance(10 * time.Minute)
		_ = renew(t.Context(), m)
	}
	if n := p.w.observed(m).State.Attempts; len(p.asked) > 6 || n != len(p.asked)+1 {
		t.Errorf("asked %d times in three days, %d attempts", len(p.asked), n)
	}
}

// Refusals of a clock that was a year ahead delay the next way by an hour, not
// by a year.
func TestRefusalsOfAClockAhead(t *testing.T) {
	p, m := startPicky(t)
	p.w.req.CAs, p.w.req.Identifiers = []string{"first"}, p.w.req.Identifiers[:1]
	p.w.req.Validations = []inkan.Validation{
		{Type: inkan.HTTP01, Solver: "web0"}, {Type: inkan.HTTP01, Solver: "web1"}, {Type: inkan.HTTP01, Solver: "web2"}, {Type: inkan.HTTP01, Solver: "model"},
	}
	p.mood["first"] = func(r inkan.IssueRequest, rec inkan.OrderRecord) error {
		if w := inkan.Ways(r.Request.Validations, r.Refusals, rec.Identifiers[0])[0]; w.Solver != "model" {
			return refusing(w.Solver)(r, rec)
		}
		return nil
	}
	p.w.advance(365 * day)
	if err := issue(t.Context(), m, p.w.req); err == nil {
		t.Fatal("no error")
	}
	p.took(t, "first", "first")
	p.w.advance(-365 * day)
	_ = renew(t.Context(), m)
	p.took(t, "first")
	if due, want := p.w.observed(m).State.Due, p.w.now().Add(time.Hour).UTC().Format("20060102/15/0405"); !strings.Contains(due, want) {
		t.Errorf("due at %s, want %s", due, want)
	}
	p.w.advance(time.Hour)
	must(t, renew(t.Context(), m))
	p.took(t, "first")
	p.w.check("by the last way", 1, 1, 1)
}

// What the first CA asked for holds beyond the failure of the second: it is left
// alone for as long as it said, while the second is tried again.
func TestFailoverKeepsRetryAfter(t *testing.T) {
	p, m := startPicky(t)
	until := p.w.now().Add(12 * time.Hour)
	p.mood["first"] = func(inkan.IssueRequest, inkan.OrderRecord) error {
		return inkan.Errorf(inkan.RateLimited, "new account at first", "slowly").After(until)
	}
	p.mood["second"] = down
	if err := issue(t.Context(), m, p.w.req); err == nil {
		t.Fatal("no error")
	}
	p.took(t, "first", "second")
	for p.w.now().Add(10 * time.Minute).Before(until) {
		p.w.advance(10 * time.Minute)
		_ = renew(t.Context(), m)
	}
	p.took(t, "second", "second", "second")
	delete(p.mood, "first")
	p.w.advance(24 * time.Hour)
	must(t, renew(t.Context(), m))
	p.took(t, "first")
	if st := p.w.observed(m).State; len(st.RetryAfter) != 0 {
		t.Errorf("left: %v", st.RetryAfter)
	}
}

// A04: what the first CA asked for holds against --force too, when the second
// has issued and the slack allows no other than the first.
func TestA04ForceAfterFailover(t *testing.T) {
	p, m := startPicky(t)
	until := p.w.now().Add(12 * time.Hour)
	p.mood["first"] = func(inkan.IssueRequest, inkan.OrderRecord) error {
		return inkan.Errorf(inkan.RateLimited, "new account at first", "slowly").After(until)
	}
	must(t, issue(t.Context(), m, p.w.req))
	p.took(t, "first", "second")
	p.w.advance(time.Hour)
	plan, err := m.Plan(t.Context(), engine.PlanOptions{Scope: engine.Named(p.w.req.Name), Renew: true})
	must(t, err)
	must(t, m.Run(t.Context(), plan).Err())
	p.took(t)
	step := plan.Certificates[0].Steps[0]
	if step.Action != engine.ActionWait || !step.At.Equal(until) || !strings.Contains(step.Reason, "first asked to wait until") {
		t.Errorf("planned %v %q at %s, want to wait until %s", step.Action, step.Reason, step.At, until)
	}
	p.w.advance(11 * time.Hour)
	delete(p.mood, "first")
	must(t, force(t.Context(), m, p.w.req.Name))
	p.took(t, "first")
}

// A CA that refuses the names of a certificate one by one gets a few orders,
// then none until the pause is over.
func TestAlternativesEnd(t *testing.T) {
	p, m := startPicky(t)
	p.w.req.CAs, p.w.req.AllowSubset = []string{"first"}, true
	p.w.req.Identifiers = nil
	for i := range 50 {
		p.w.req.Identifiers = append(p.w.req.Identifiers, inkan.Identifier{Type: inkan.DNS, Value: fmt.Sprintf("n%02d.example.com", i)})
	}
	p.mood["first"] = func(_ inkan.IssueRequest, rec inkan.OrderRecord) error {
		return inkan.Errorf(inkan.Rejected, "new order", "%w", &inkan.RefusedError{Refusals: []inkan.Refusal{{Identifier: rec.Identifiers[0]}}, Err: errors.New("forbidden by policy")})
	}
	if err := issue(t.Context(), m, p.w.req); err == nil {
		t.Fatal("no error")
	}
	if n := len(p.asked); n > 9 {
		t.Errorf("%d orders at once", n)
	}
	if st := p.w.observed(m).State; st.Attempts != 1 || st.Alternatives != 0 || len(st.Without) != 0 {
		t.Errorf("after the round: %d attempts, %d alternatives, without %v", st.Attempts, st.Alternatives, st.Without)
	}
	p.asked = nil
	must(t, renew(t.Context(), m))
	p.took(t) // a pause
}
