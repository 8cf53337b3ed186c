package engine

import (
	"context"
	"crypto/x509"
	"errors"
	"slices"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/state"
)

// attempt carries one certificate from its lease to its publication: rows 2 to
// 16 of the commit protocol in docs/architecture.md. The row numbers stand in
// the comments.
type attempt struct {
	m    *Manager
	c    *CertificatePlan
	name string
	o    *Observed
	req  inkan.CertificateRequest

	mu      chan struct{} // holds one while state is in use: the heartbeat writes too, and must not wait behind a Store that hangs
	state   state.Record[inkan.State]
	token   string
	known   []string // due entries that this run may delete at its end
	ourDue  []string // those that this run put into state
	id      string
	renewal bool
	resumed bool
	asked   bool        // the CA of the order was asked, or could not be
	told    inkan.Event // of the publication; the zero value if there was none

	journals []*state.Journal
	stray    []*state.Journal // journals that state does not name
}

// safetyMargin is how soon a certificate is looked at again when the process
// that works on it dies.
const safetyMargin = 15 * time.Minute

// undoTimeout bounds what is done after a cancellation: it must be finished or
// journalled before the process goes.
const undoTimeout = 30 * time.Second

// attempt does what the step says and reports whether a version was published.
func (m *Manager) attempt(ctx context.Context, c *CertificatePlan, o *Observed, s Step) (published bool, err error) {
	a := &attempt{m: m, mu: make(chan struct{}, 1), c: c, name: o.Name, o: o, req: o.Request.CertificateRequest, state: o.state,
		known: slices.Clone(c.met), id: o.State.Running, renewal: s.Action == ActionRenew, resumed: s.Action == ActionResume}
	lease, done := m.newLease()
	defer done()
	if err := a.begin(ctx, lease); err != nil {
		return false, err
	}
	stop := a.heartbeat(ctx)
	defer stop()
	if len(a.journals) == 0 {
		// Row 14 was reached: all that is left is the end.
		return false, a.finish(ctx, false)
	}
	if a.resumed {
		if err := a.adopt(ctx); err != nil {
			return false, a.failed(ctx, err)
		}
	}
	if rec := a.journals[0].Record(); a.resumed && !rec.Finalizing && !a.wanted(rec) {
		// The request was changed before anything was finalized.
		return false, a.close(ctx, nil, a.m.now())
	}
	published, err = a.order(ctx)
	if err != nil {
		return published, a.failed(ctx, err)
	}
	return published, a.finish(ctx, published)
}

// adopt writes the journals of a dead process again before anything is built on
// them: it may have died before its last words were durable.
func (a *attempt) adopt(ctx context.Context) error {
	for _, j := range a.journals {
		if err := j.Update(ctx, func(*inkan.OrderRecord) {}); err != nil {
			return err
		}
	}
	return nil
}

func (a *attempt) wanted(rec inkan.OrderRecord) bool {
	return slices.ContainsFunc(a.req.CAs, func(ca string) bool { return a.req.Ask(ca, rec.KeyType) == rec.Ask })
}

// begin does rows 2 to 4: a safety entry, the journals, the lease.
func (a *attempt) begin(ctx context.Context, lease *inkan.Lease) error {
	now := a.m.now()
	safety := state.DueKey(state.CertQueue, now.Add(safetyMargin), a.name) // row 2
	if err := state.PutDue(ctx, a.m.Store, safety); err != nil {
		return err
	}
	for _, j := range a.o.journals {
		if a.id != "" && j.Record().Attempt == a.id {
			a.journals = append(a.journals, j)
		} else {
			a.stray = append(a.stray, j)
		}
	}
	fresh := a.id == ""
	if fresh { // row 3
		a.id = state.NewID()
		ca, _ := nextCA(a.o, a.state.Value, now)
		for _, kt := range a.req.KeyTypes {
			j := state.NewJournal(a.m.Store, inkan.OrderRecord{Name: a.name, Attempt: a.id, KeyType: kt, Base: a.o.Current.N,
				Ask: a.req.Ask(ca, kt), CA: ca, Account: a.req.Account, Identifiers: wantedNow(a.req, a.state.Value), Created: now})
			if err := j.Create(ctx); err != nil {
				return err
			}
			a.journals = append(a.journals, j)
		}
	}
	st := a.state.Value // row 4
	if st.Due != "" {
		a.known = append(a.known, st.Due)
	}
	a.token = lease.Token
	st.Due, st.Running, st.Lease = safety, a.id, lease
	err := a.state.Save(ctx, a.m.Store, st)
	if err == nil {
		a.ourDue = append(a.ourDue, safety)
		for _, j := range a.stray {
			if err := a.m.cleanUp(ctx, j); err != nil {
				a.m.log().LogAttrs(ctx, logDecision, "leftover of an order stays", logName(a.name), logError(err))
			}
		}
		return nil
	}
	if !errors.Is(err, inkan.ErrConflict) {
		return err
	}
	// Nobody else knows what we created here.
	if fresh {
		for _, j := range a.journals {
			err = errors.Join(err, a.m.Store.Delete(ctx, j.Key()))
		}
	}
	if err := a.m.Store.Delete(ctx, safety); err != nil {
		return err
	}
	return errBusy
}

// lastState returns the state as we last wrote it.
func (a *attempt) lastState() inkan.State {
	a.mu <- struct{}{}
	defer func() { <-a.mu }()
	return a.state.Value
}

// casState changes state while we hold the lease. A conflict is harmless when
// the lease is still ours: somebody recorded a request. Their due entry then
// stays in force.
func (a *attempt) casState(ctx context.Context, change func(*inkan.State)) error {
	select {
	case a.mu <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-a.mu }()
	for {
		st := a.state.Value
		foreign := st.Due != "" && !slices.Contains(a.ourDue, st.Due)
		due := st.Due
		change(&st)
		if foreign {
			st.Due = due
		}
		err := a.state.Save(ctx, a.m.Store, st)
		if !errors.Is(err, inkan.ErrConflict) {
			return err
		}
		again, err := state.Load[inkan.State](ctx, a.m.Store, a.state.Key)
		if err != nil {
			return err
		}
		if again.Value.Lease == nil || again.Value.Lease.Token != a.token {
			return errBusy
		}
		a.state = again
	}
}

// heartbeat moves the counter of the lease until stop is called.
func (a *attempt) heartbeat(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		t := time.NewTicker(leaseHeartbeat)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
			}
			err := a.casState(ctx, func(st *inkan.State) {
				if st.Lease != nil {
					l := *st.Lease
					l.Counter++
					st.Lease = &l
				}
			})
			if err != nil && ctx.Err() == nil {
				a.m.log().LogAttrs(ctx, logDecision, "the lease could not be renewed", logName(a.name), logError(err))
			}
		}
	}()
	return func() { cancel(); <-done }
}

// order does rows 5 to 13 for every pair and publishes them together.
func (a *attempt) order(ctx context.Context) (published bool, err error) {
	if a.resumed {
		cur, err := state.Load[inkan.Current](ctx, a.m.Store, state.CurrentKey(a.name))
		if err != nil {
			return false, err
		}
		if cur.Value.ID == a.id {
			if err := state.Confirm(ctx, a.m.Store, cur.Key); err != nil {
				return false, err
			}
			return true, a.announce(ctx, cur.Value)
		}
		if cur.Value.N != a.journals[0].Record().Base {
			return false, a.superseded(ctx)
		}
	}
	pairs := map[inkan.KeyType]inkan.PairSum{}
	for _, j := range a.journals {
		sum, err := a.pair(ctx, j)
		if err != nil {
			return false, err
		}
		pairs[j.Record().KeyType] = sum
	}
	return a.publish(ctx, pairs)
}

// pair gets one certificate and stores it with its key: rows 5 to 11.
func (a *attempt) pair(ctx context.Context, j *state.Journal) (inkan.PairSum, error) {
	rec := j.Record()
	v := state.VersionID{Name: a.name, Seq: a.o.Current.Top + 1, ID: a.id}
	if rec.Finalizing {
		// A crash after row 11 leaves the pair complete.
		if p, err := state.LoadPair(ctx, a.m.Store, v, rec.KeyType); err == nil && (p.Key != nil || rec.Key == nil) {
			if err := state.Confirm(ctx, a.m.Store, v.Cert(rec.KeyType)); err != nil || rec.Key == nil {
				return p.Sum, err
			}
			return p.Sum, state.Confirm(ctx, a.m.Store, v.Key(rec.KeyType))
		}
	}
	if rec.OrderURL == "" {
		if err := a.m.checkSpace(ctx); err != nil {
			return inkan.PairSum{}, err
		}
	}
	solvers, err := a.solvers(ctx)
	if err != nil {
		return inkan.PairSum{}, err
	}
	a.asked = true
	issuer, err := a.m.Issuer(ctx, rec.CA, rec.Account)
	if err != nil {
		return inkan.PairSum{}, err
	}
	km := &keyMaker{a: a, j: j}
	st := a.lastState()
	var issued *inkan.Issued
	err = guarded("CA "+rec.CA, func() (err error) {
		issued, err = issuer.Issue(ctx, inkan.IssueRequest{
			Request: a.req, KeyType: rec.KeyType, CSR: km.csr, Solvers: solvers, Refusals: withRefusals(st.Refusals, nil, a.m.now()),
			Limiter: a.m.limits(), Journal: j, Replaces: a.replaces(rec), AfterOutage: a.c.afterOutage && st.LastError != nil && st.LastError.NoService == rec.CA,
			Progress: func(step string) { a.m.progress(a.name, step) },
		})
		return err
	})
	a.m.heed(rec.CA, issuer)
	if err != nil {
		return inkan.PairSum{}, err
	}
	a.asked = false
	a.m.progress(a.name, "storing")
	return a.store(ctx, j, v, issued)
}

// spaceHolds is how long an answer about free space serves.
const spaceHolds = time.Second

// checkSpace refuses to order what could not be kept (D03). Orders that begin
// within a second of each other share one answer: asking writes a trial file.
func (m *Manager) checkSpace(ctx context.Context) error {
	m.spaceMu.Lock()
	defer m.spaceMu.Unlock()
	if !m.spaceAt.IsZero() && time.Since(m.spaceAt) < spaceHolds {
		return nil
	}
	for _, s := range []inkan.Store{m.Store, m.Host} {
		if sc, ok := s.(inkan.SpaceChecker); ok {
			if err := sc.CheckSpace(ctx, 1<<20); err != nil {
				return err
			}
		}
	}
	m.spaceAt = time.Now()
	return nil
}

// solvers opens the solvers of the request. One that cannot be opened here is
// left out, so that another way serves, but not if all cannot.
func (a *attempt) solvers(ctx context.Context) (map[string]inkan.Solver, error) {
	solvers := map[string]inkan.Solver{}
	failed := map[string]bool{}
	var errs []error
	for _, v := range a.req.Validations {
		if solvers[v.Solver] != nil || failed[v.Solver] {
			continue
		}
		s, err := a.m.solver(ctx, v.Solver)
		if err != nil {
			failed[v.Solver] = true
			errs = append(errs, err)
			continue
		}
		solvers[v.Solver] = s
	}
	err := errors.Join(errs...)
	if len(errs) == 1 {
		err = errs[0]
	}
	if len(solvers) == 0 || err == nil {
		return solvers, err
	}
	a.m.log().Warn("a solver cannot be used; another way is tried", logName(a.name), logError(err))
	return solvers, nil
}

func (m *Manager) solver(ctx context.Context, name string) (inkan.Solver, error) {
	if m.Solver == nil {
		return nil, inkan.Errorf(inkan.Operator, "solver "+name, "this machine has none of this name")
	}
	return m.Solver(ctx, name)
}

// replaces returns the leaf that the order replaces: the one in force, if the
// same account at the same CA issued it for at least one of the names, whatever
// program asked for it then.
func (a *attempt) replaces(rec inkan.OrderRecord) *x509.Certificate {
	if a.o.Version == nil {
		return nil
	}
	for i := range a.o.Version.Pairs {
		p := &a.o.Version.Pairs[i]
		same := slices.ContainsFunc(a.o.Version.Identifiers, func(id inkan.Identifier) bool { return slices.Contains(rec.Identifiers, id) })
		if p.KeyType == rec.KeyType && p.CA == rec.CA && p.Account == rec.Account && p.Source != inkan.SourceForeign && same {
			return p.Leaf
		}
	}
	return nil
}
