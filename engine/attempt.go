package engine

import (
	"context"
	"crypto/x509"
	"errors"
	"slices"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/guard"
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

	id      string
	renewal bool
	resumed bool
	asked   bool // the CA is being asked: a failure now is its own or that of reaching it

	// mu guards state; it is a channel because waiting for it must end with ctx:
	// the heartbeat writes too, and may hang in a Store.
	mu        chan struct{}
	state     state.Record[inkan.State]
	disturbed bool // somebody else wrote state since o was read
	token     string

	dueBefore []string // due entries that led here or were in force: deleted at the end
	dueOurs   []string // due entries that this attempt put into force

	journals []*state.Journal
	stray    []*state.Journal // journals that state does not name
	left     []*state.Journal // of those, and ours: what could not be removed

	current state.Record[inkan.Current] // as published
	version *inkan.Version              // as published; nil if nothing was, or it was published before a crash
	told    inkan.Event                 // of the publication
}

// safetyMargin is how soon a certificate is looked at again when the process
// that works on it dies.
const safetyMargin = 15 * time.Minute

// undoTimeout bounds what is done after a cancellation: it must be finished or
// journalled before the process goes.
const undoTimeout = 30 * time.Second

// attempt does what the step says.
func (m *Manager) attempt(ctx context.Context, c *CertificatePlan, o *Observed, s Step) outcome {
	a := &attempt{m: m, mu: make(chan struct{}, 1), c: c, name: o.Name, o: o, req: o.Request.CertificateRequest, state: o.state, current: o.current,
		dueBefore: slices.Clone(c.due), id: o.State.Running, renewal: s.Action == ActionRenew, resumed: s.Action == ActionResume}
	lease, done := m.lease()
	defer done()
	if busy, err := a.begin(ctx, lease); busy || err != nil {
		return outcome{busy: busy, err: err}
	}
	stop := a.heartbeat(ctx)
	defer stop()
	if len(a.journals) == 0 {
		return a.succeed(ctx, false) // row 14 was reached: all that is left is the end
	}
	if a.resumed {
		if err := a.adopt(ctx); err != nil {
			return a.fail(ctx, err, false)
		}
	}
	if rec := a.journals[0].Record(); a.resumed && !rec.Finalizing && !a.wanted(rec) {
		// The request was changed before anything was finalized.
		return a.outcomeOf(a.abandon(ctx, nil, a.m.now()))
	}
	published, err := a.order(ctx)
	if err != nil {
		return a.fail(ctx, err, published)
	}
	return a.succeed(ctx, published)
}

// adopt writes the journals of a dead process again before anything relies on
// them: that process may have died before its last write was durable.
func (a *attempt) adopt(ctx context.Context) error {
	for _, j := range a.journals {
		if err := j.Update(ctx, func(*inkan.OrderRecord) {}); err != nil {
			return err
		}
	}
	return nil
}

func (a *attempt) wanted(rec inkan.OrderRecord) bool {
	return slices.ContainsFunc(a.req.CAs, func(ca string) bool { return a.req.OrderHash(ca, rec.KeyType) == rec.OrderHash })
}

// begin does rows 2 to 4: a safety entry, the journals, the lease. busy reports
// that another process was faster; then begin has deleted what it wrote.
func (a *attempt) begin(ctx context.Context, lease *inkan.Lease) (busy bool, err error) {
	now := a.m.now()
	safety := state.DueKey(state.CertQueue, now.Add(safetyMargin), a.name) // row 2
	if err := state.PutDue(ctx, a.m.Store, safety); err != nil {
		return false, err
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
			rec := inkan.OrderRecord{Name: a.name, Attempt: a.id, KeyType: kt, Base: a.o.Current.N,
				OrderHash: a.req.OrderHash(ca, kt), CA: ca, Account: a.req.Account, Identifiers: wantedNow(a.req, a.state.Value), Created: now}
			a.prepareKey(ctx, &rec)
			j := state.NewJournal(a.m.Store, rec)
			if err := j.Create(ctx); err != nil {
				return false, err
			}
			a.journals = append(a.journals, j)
		}
	}
	st := a.state.Value // row 4
	if st.Due != "" {
		a.dueBefore = append(a.dueBefore, st.Due)
	}
	a.token = lease.Token
	st.Due, st.Running, st.Lease = safety, a.id, lease
	err = a.state.Save(ctx, a.m.Store, st)
	switch {
	case err == nil:
		a.dueOurs = append(a.dueOurs, safety)
		a.removeStray(ctx)
		return false, nil
	case !errors.Is(err, inkan.ErrConflict):
		return false, err
	}
	// Nobody else knows what we created here.
	if fresh {
		for _, j := range a.journals {
			err = a.m.Store.Delete(ctx, j.Key())
			if err != nil {
				return true, err
			}
		}
	}
	return true, a.m.Store.Delete(ctx, safety)
}

// removeStray cleans up after orders that state does not name.
func (a *attempt) removeStray(ctx context.Context) {
	for _, j := range a.stray {
		if err := a.m.removeOrder(ctx, j); err != nil {
			a.m.log().LogAttrs(ctx, logDecision, "leftover of an order stays", logName(a.name), logError(err))
			a.left = append(a.left, j)
		}
	}
}

// lastState returns the state as we last wrote it.
func (a *attempt) lastState() inkan.State { return a.lastRecord().Value }

func (a *attempt) lastRecord() state.Record[inkan.State] {
	a.mu <- struct{}{}
	defer func() { <-a.mu }()
	return a.state
}

// errLeaseLost reports that another process took the lease for dead and works on
// the certificate now. Only the attempt that lost it ever sees this error.
var errLeaseLost = errors.New("another process took over")

// casState changes state while we hold the lease. A conflict is harmless when
// the lease is still ours: somebody recorded a request. Their due entry then
// stays in force.
func (a *attempt) casState(ctx context.Context, change func(*inkan.State)) error {
	return a.casStateIf(ctx, func(st *inkan.State) bool { change(st); return true })
}

// casStateIf is casState, unless change says that there is nothing to write.
func (a *attempt) casStateIf(ctx context.Context, change func(*inkan.State) bool) error {
	select {
	case a.mu <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-a.mu }()
	for {
		st := a.state.Value
		foreign := st.Due != "" && !slices.Contains(a.dueOurs, st.Due)
		due := st.Due
		if !change(&st) {
			return nil
		}
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
			return errLeaseLost
		}
		a.state, a.disturbed = again, true
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
			err := a.casStateIf(ctx, func(st *inkan.State) bool {
				if st.Lease == nil {
					return false // it has just been given back
				}
				l := *st.Lease
				l.Counter++
				st.Lease = &l
				return true
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
		if a.current, err = state.Load[inkan.Current](ctx, a.m.Store, state.CurrentKey(a.name)); err != nil {
			return false, err
		}
		if a.current.Value.ID == a.id {
			if err := state.Confirm(ctx, a.m.Store, a.current.Key); err != nil {
				return false, err
			}
			return true, a.announceAgain(ctx)
		}
		if a.current.Value.N != a.journals[0].Record().Base {
			return false, a.superseded(ctx)
		}
	}
	var pairs []*state.Pair
	for _, j := range a.journals {
		p, err := a.pair(ctx, j)
		if err != nil {
			return false, err
		}
		pairs = append(pairs, p)
	}
	return a.publish(ctx, pairs)
}

// versionID names the version that the attempt makes.
func (a *attempt) versionID() state.VersionID {
	return state.VersionID{Name: a.name, Seq: a.o.Current.Top + 1, ID: a.id}
}

// pair gets one certificate and stores it with its key: rows 5 to 11.
func (a *attempt) pair(ctx context.Context, j *state.Journal) (*state.Pair, error) {
	rec := j.Record()
	if rec.Finalizing {
		if p, err := a.storedPair(ctx, rec); p != nil || err != nil {
			return p, err
		}
	}
	if rec.OrderURL == "" {
		if err := a.m.checkSpace(ctx); err != nil {
			return nil, err
		}
	}
	solvers, err := a.solvers(ctx)
	if err != nil {
		return nil, err
	}
	a.asked = true
	issuer, err := a.m.issuer(ctx, rec.CA, rec.Account)
	if err != nil {
		return nil, err
	}
	km := &keyMaker{a: a, j: j}
	st := a.lastState()
	var issued *inkan.Issued
	err = guard.Call("CA "+rec.CA, func() (err error) {
		issued, err = issuer.Issue(ctx, inkan.IssueRequest{
			Request: a.req, KeyType: rec.KeyType, CSR: km.csr, Solvers: solvers, Refusals: withRefusals(st.Refusals, nil, a.m.now()),
			Limiter: a.m.limits(), Journal: j, Replaces: a.replaces(rec), AfterOutage: a.c.afterOutage && st.LastError != nil && st.LastError.NoService == rec.CA,
			Progress: func(step string) { a.m.progress(a.name, step) },
		})
		return err
	})
	a.m.noteSkew(rec.CA, issuer)
	if err != nil {
		return nil, err
	}
	a.asked = false
	a.m.progress(a.name, "storing")
	return a.store(ctx, j, issued)
}

// storedPair returns the pair that a crashed process had stored; nil if it did not
// reach row 11.
func (a *attempt) storedPair(ctx context.Context, rec inkan.OrderRecord) (*state.Pair, error) {
	v := a.versionID()
	p, err := state.LoadPair(ctx, a.m.Store, v, rec.KeyType)
	if err != nil || p.Key == nil && rec.Key != nil {
		return nil, nil
	}
	if err := state.Confirm(ctx, a.m.Store, v.Cert(rec.KeyType)); err != nil || rec.Key == nil {
		return p, err
	}
	return p, state.Confirm(ctx, a.m.Store, v.Key(rec.KeyType))
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

// solvers opens the solvers of the request. One that cannot be opened is left out,
// so that another way is tried. If none can be opened, it returns an error.
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

// nothingReturned is the fault of a program whose function returns neither what it
// is asked for nor an error.
const nothingReturned = "the program returned nothing for it"

func (m *Manager) issuer(ctx context.Context, ca, account string) (inkan.Issuer, error) {
	if m.Issuer == nil {
		return nil, inkan.Errorf(inkan.Operator, "CA "+ca, "this program knows no CA: Manager.Issuer is nil")
	}
	return guard.Make("CA "+ca, nothingReturned, func() (inkan.Issuer, error) { return m.Issuer(ctx, ca, account) })
}

func (m *Manager) solver(ctx context.Context, name string) (inkan.Solver, error) {
	if m.Solver == nil {
		return nil, inkan.Errorf(inkan.Operator, "solver "+name, "this machine has none of this name")
	}
	return guard.Make("solver "+name, nothingReturned, func() (inkan.Solver, error) { return m.Solver(ctx, name) })
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
