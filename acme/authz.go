package acme

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/guard"
)

// maxParallel bounds the requests of one order that are under way at once.
const maxParallel = 100

// authorize shows control over every identifier whose authorization is pending,
// and returns the order when it is no longer pending.
func (o *order) authorize(ctx context.Context, obj *orderObject) (*orderObject, error) {
	authzs, err := o.readAuthzs(ctx, obj.Authorizations)
	if err != nil {
		return nil, err
	}
	for {
		if slices.ContainsFunc(authzs, (*authzObject).failed) {
			return nil, o.deadFor(ctx, obj, authzs)
		}
		seen, err := o.proveFirst(ctx, authzs)
		if err == nil {
			return o.poll(ctx, o.c.op("order"), obj, seen)
		}
		if !o.fallBack(ctx, err) {
			return nil, err
		}
		// The CA may have looked at what other solvers showed.
		if authzs, err = o.readAuthzs(ctx, obj.Authorizations); err != nil {
			return nil, err
		}
	}
}

// proveFirst shows and answers the first choice for every name.
func (o *order) proveFirst(ctx context.Context, authzs []*authzObject) ([]<-chan struct{}, error) {
	var err error
	if o.tasks, err = o.choose(authzs); err != nil {
		return nil, err
	}
	var ids []inkan.Identifier
	for _, t := range o.tasks {
		ids = append(ids, t.Identifier)
	}
	if err := o.checkFailures(ctx, ids, o.replaces != ""); err != nil {
		return nil, err
	}
	if err := o.journalChallenges(ctx, o.tasks); err != nil {
		return nil, err
	}
	o.startCSR(ctx) // beside the validation
	if len(o.tasks) == 0 {
		return nil, nil
	}
	seen, err := o.prove(ctx, o.tasks)
	if err == nil {
		o.progress("validating")
	}
	return seen, err
}

// failed reports whether the authorization can never become valid.
func (a *authzObject) failed() bool { return a.Status != statusPending && a.Status != statusValid }

// readAuthzs gets all authorizations at once, in the order of urls.
func (o *order) readAuthzs(ctx context.Context, urls []string) ([]*authzObject, error) {
	op := o.c.op("authorization")
	authzs := make([]*authzObject, len(urls))
	var g errgroup.Group
	g.SetLimit(maxParallel)
	for i, url := range urls {
		g.Go(func() error {
			resp, err := o.c.post(ctx, epOther, op, url, o.acct.identity, nil)
			if err != nil {
				return err
			}
			if authzs[i], err = parseAuthz(resp.body, url); err != nil {
				return inkan.Errorf(inkan.Temporary, op, "%w", err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return authzs, nil
}

// journalChallenges makes the challenges durable before anything is shown.
// What the journal has already, with its undo, stays. A proof that was made with
// an earlier key of the account is of no use any more and may stand where the
// new one belongs, so it is taken away.
func (o *order) journalChallenges(ctx context.Context, tasks []*task) error {
	var fresh []inkan.Challenge
	for _, t := range tasks {
		for _, c := range o.rec.Challenges {
			if c.URL == t.URL && c.Solver == t.Solver && c.KeyAuthorization != t.KeyAuthorization {
				if err := o.takeAway(ctx, c); err != nil {
					return err
				}
			}
		}
		i := slices.IndexFunc(o.rec.Challenges, func(c inkan.Challenge) bool { return sameChallenge(c, t.Challenge) })
		if i < 0 {
			fresh = append(fresh, t.Challenge)
			continue
		}
		t.Undo = o.rec.Challenges[i].Undo
	}
	if len(fresh) == 0 {
		return nil
	}
	return o.journalProofs(ctx, func(r *inkan.OrderRecord) {
		for _, c := range fresh {
			if !slices.ContainsFunc(r.Challenges, func(have inkan.Challenge) bool { return sameChallenge(have, c) }) {
				r.Challenges = append(r.Challenges, c)
			}
		}
	})
}

// takeAway removes a proof that is of no use any more.
func (o *order) takeAway(ctx context.Context, c inkan.Challenge) error {
	err := guard.Call("solver "+c.Solver, func() error { return o.r.Solvers[c.Solver].CleanUp(ctx, []inkan.Challenge{c}) })
	if err != nil {
		return solverError(ctx, c.Solver, "taking away the proof made with the account's earlier key", err)
	}
	return nil
}

// journalProofs changes the challenges in the journal and takes them into o.rec.
func (o *order) journalProofs(ctx context.Context, change func(*inkan.OrderRecord)) error {
	var list []inkan.Challenge
	err := o.journal(ctx, func(r *inkan.OrderRecord) {
		change(r)
		list = slices.Clone(r.Challenges)
	})
	if err == nil {
		o.rec.Challenges = list
	}
	return err
}

// sameChallenge reports whether a and b are one proof: the same challenge, shown
// by the same solver and made with the same account key.
func sameChallenge(a, b inkan.Challenge) bool {
	return a.URL == b.URL && a.Solver == b.Solver && a.Token == b.Token && a.Type == b.Type && a.Identifier == b.Identifier &&
		a.KeyAuthorization == b.KeyAuthorization
}

// prove presents all challenges, waits until the CA can see them and answers
// them. It returns channels that close when the CA has asked, if all solvers can
// tell.
func (o *order) prove(ctx context.Context, tasks []*task) ([]<-chan struct{}, error) {
	groups := map[string][]*task{}
	for _, t := range tasks {
		groups[t.Solver] = append(groups[t.Solver], t)
	}
	if err := o.present(ctx, groups); err != nil {
		return nil, err
	}
	var seen []<-chan struct{}
	witnessed := true
	for name, group := range groups {
		w, ok := o.r.Solvers[name].(inkan.Witness)
		for _, t := range group {
			if !ok || t.answered {
				witnessed = false
				continue
			}
			if ch := w.Seen(t.Challenge); ch != nil {
				seen = append(seen, ch)
			} else {
				witnessed = false
			}
		}
	}
	o.progress("waiting until the CA can see the proof")
	g, groupCtx := errgroup.WithContext(ctx)
	for name, group := range groups {
		g.Go(func() error {
			if w, ok := o.r.Solvers[name].(inkan.Waiter); ok {
				err := guard.Call("solver "+name, func() error { return w.Wait(groupCtx, challengesOf(group)) })
				if err != nil {
					return solverError(groupCtx, name, "waiting until the CA can see the proof", err)
				}
			}
			return o.answer(ctx, group)
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if !witnessed {
		return nil, nil
	}
	return seen, nil
}

// present shows the challenges of every solver at once and journals what the
// solvers want for clean-up, also when one of them fails.
func (o *order) present(ctx context.Context, groups map[string][]*task) error {
	o.progress("presenting the proof")
	undos := make(map[string][]inkan.Undo, len(groups))
	type result struct {
		solver string
		undo   []inkan.Undo
		err    error
	}
	results := make(chan result)
	for name, group := range groups {
		go func() {
			var undo []inkan.Undo
			err := guard.Call("solver "+name, func() (err error) {
				undo, err = o.r.Solvers[name].Present(ctx, challengesOf(group))
				return err
			})
			results <- result{name, undo, err}
		}()
	}
	var failed error
	for range groups {
		r := <-results
		if r.err != nil && failed == nil {
			failed = solverError(ctx, r.solver, "presenting the proof", r.err)
		}
		if r.err == nil && r.undo != nil {
			undos[r.solver] = r.undo
			if err := checkUndo(r.solver, r.undo, len(groups[r.solver])); err != nil {
				failed = err
				delete(undos, r.solver)
			}
		}
	}
	var changed []*task
	for name, undo := range undos {
		for i, t := range groups[name] {
			if len(undo[i]) > 0 && string(undo[i]) != string(t.Undo) {
				t.Undo = undo[i]
				changed = append(changed, t)
			}
		}
	}
	if len(changed) > 0 {
		err := o.journalProofs(context.WithoutCancel(ctx), func(r *inkan.OrderRecord) {
			for _, t := range changed {
				for i := range r.Challenges {
					// Another solver may have shown the same challenge before.
					if sameChallenge(r.Challenges[i], t.Challenge) {
						r.Challenges[i].Undo = t.Undo
					}
				}
			}
		})
		if err != nil {
			return err
		}
	}
	return failed
}

func checkUndo(solver string, undo []inkan.Undo, want int) error {
	if len(undo) != want {
		return inkan.Errorf(inkan.Bug, "solver "+solver, "it returned %d undos for %d challenges", len(undo), want)
	}
	for _, u := range undo {
		if len(u) > inkan.MaxUndo || len(u) > 0 && !json.Valid(u) {
			return inkan.Errorf(inkan.Bug, "solver "+solver, "its undo is larger than %d bytes or not JSON", inkan.MaxUndo)
		}
	}
	return nil
}

// answer tells the CA to look, for all challenges of a group at once (RFC 8555
// section 7.5.1).
func (o *order) answer(ctx context.Context, group []*task) error {
	var g errgroup.Group
	g.SetLimit(maxParallel)
	for _, t := range group {
		if t.answered {
			continue
		}
		g.Go(func() error {
			op := o.c.op(fmt.Sprintf("%s challenge for %s", t.Type, t.Identifier))
			_, err := o.c.post(ctx, epOther, op, t.URL, o.acct.identity, []byte("{}"))
			if inkan.KindOf(err) == inkan.Rejected && o.underWay(ctx, t) {
				return nil
			}
			return err
		})
	}
	return g.Wait()
}

// underWay reports whether the CA refused a challenge response only because it
// is validating already, or has done so: the request was duplicated in transit,
// or the reply to an earlier one was lost (B03).
// The order then tells how it went.
func (o *order) underWay(ctx context.Context, t *task) bool {
	authzs, err := o.readAuthzs(ctx, []string{t.Authz})
	if err != nil {
		return false
	}
	return authzs[0].Status != statusPending || slices.ContainsFunc(authzs[0].Challenges, func(ch challengeObject) bool {
		return ch.URL == t.URL && ch.Status != statusPending
	})
}

func challengesOf(group []*task) []inkan.Challenge {
	list := make([]inkan.Challenge, len(group))
	for i, t := range group {
		list[i] = t.Challenge
	}
	return list
}

// solverError is the error of a solver, which is this side's.
func solverError(ctx context.Context, name, what string, err error) error {
	op := "solver " + name
	if ctx.Err() != nil {
		return interrupted(ctx, op, err)
	}
	return inkan.Errorf(inkan.KindOf(err), op, "%w", &notShownError{marked{fmt.Errorf("%s: %w", what, err), inkan.ErrOurSide}, name})
}
