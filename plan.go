package inkan

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Action is what a step does.
type Action string

// The actions.
const (
	ActionIssue  Action = "issue"  // the first certificate, or one that was asked differently
	ActionRenew  Action = "renew"  // the same again
	ActionResume Action = "resume" // go on with an order
	ActionLook   Action = "look"   // ask the CA for its advice (ARI)
	ActionDeploy Action = "deploy" // bring the version in force to a target
	ActionTidy   Action = "tidy"   // clean up what an order left
	ActionDelete Action = "delete" // finish a deletion
	ActionWait   Action = "wait"   // nothing now
)

// Step is one decision about one certificate, with its reason.
type Step struct {
	Name   string    `json:"name"`
	Action Action    `json:"action"`
	Target string    `json:"target,omitempty"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at,omitzero"` // of a wait: until when
	busy   bool      // a wait for another process
}

// PlanOptions says what somebody wants now.
type PlanOptions struct {
	// Names limits the plan to these certificates; nil plans what is due and
	// what was left unfinished.
	Names []string
	// All plans every recorded certificate.
	All bool
	// Asked: a person asks now, so a failed attempt is tried again without
	// waiting for its time. What a CA asked to wait for is waited for all the
	// same.
	Asked bool
	// Advice: the CA is asked when to renew although that look is not due,
	// unless there was one a minute ago.
	Advice bool
	// Force renews although nothing is due.
	Force bool
	// Redeploy deploys again what is in place, failed or held.
	Redeploy bool
	// DeployOnly leaves the CA alone.
	DeployOnly bool
}

// PlanCertificate decides what to do about one certificate. It is a pure
// function: it reads no clock and no Store.
func PlanCertificate(o *Observed, opt PlanOptions, now time.Time) []Step {
	step := func(a Action, format string, args ...any) Step {
		return Step{Name: o.Name, Action: a, Reason: fmt.Sprintf(format, args...)}
	}
	if o.HeldBy != nil {
		s := step(ActionWait, "another process works on it%s", ownerWords(*o.HeldBy))
		s.busy = true
		return []Step{s}
	}
	if o.RequestErr != nil {
		return []Step{step(ActionWait, "%s", o.RequestErr)}
	}
	if o.Request == nil {
		if len(o.Orders) > 0 {
			return []Step{step(ActionTidy, "an order was left without a request")}
		}
		return []Step{step(ActionWait, "nobody asked for this certificate")}
	}
	if o.Request.Deleted {
		if len(o.Current.Pairs) > 0 || len(o.Orders) > 0 || o.State.Due != "" {
			return []Step{step(ActionDelete, "its deletion was not finished")}
		}
		return []Step{step(ActionWait, "deleted")}
	}
	var steps []Step
	if !opt.DeployOnly {
		if s := planIssue(o, opt, now, step); s.Action != ActionWait {
			// What is issued is deployed afterwards, planned again.
			return []Step{s}
		} else {
			steps = append(steps, s)
		}
	}
	return append(planDeploy(o, opt, now, step), steps...)
}

type stepper func(a Action, format string, args ...any) Step

func planIssue(o *Observed, opt PlanOptions, now time.Time, step stepper) Step {
	st := o.State
	due, _, dueErr := parseDue(st.Due, certQueue)
	waiting := dueErr == nil && due.After(now) && !farAhead(due, now) && !opt.Asked && !opt.Force
	if st.NotBefore.After(now) && !farAhead(st.NotBefore, now) {
		s := step(ActionWait, "the CA asked to wait until %s", stamp(st.NotBefore))
		s.At = st.NotBefore
		return s
	}
	if st.Running != "" && o.Abandoned {
		return step(ActionResume, "the process that worked on its order died")
	}
	if st.Attempts >= MaxAttempts && !opt.Asked && !opt.Force && (st.Running != "" || neededNow(o, opt, now)) {
		return step(ActionWait, "it failed %d times in a row and is tried again only when somebody asks: inkan renew --name %s%s", st.Attempts, o.Name, lastErrorWords(st))
	}
	if st.Running != "" {
		if waiting {
			s := step(ActionWait, "its order goes on then%s", lastErrorWords(st))
			s.At = due
			return s
		}
		return step(ActionResume, "its order is not finished")
	}
	if o.Request.Unmanaged {
		return step(ActionWait, "it left the configuration file, so it is kept but not renewed")
	}
	action, reason, at := needIssue(o, opt, now)
	if action == ActionWait {
		s := step(ActionWait, "%s", reason)
		s.At = at
		if len(o.Orders) > 0 {
			return step(ActionTidy, "a finished order left traces")
		}
		return s
	}
	if waiting && st.LastError != nil {
		s := step(ActionWait, "%s; the next try is then%s", reason, lastErrorWords(st))
		s.At = due
		return s
	}
	if ca, until := leftAlone(o, st, now); action != ActionLook && !until.IsZero() {
		s := step(ActionWait, "%s; %s asked to wait until %s", reason, ca, stamp(until))
		s.At = until
		return s
	}
	return step(action, "%s", reason)
}

// MaxAttempts is how often in a row a certificate may fail until it waits for
// a person: months, and far below the 1,152 failures after which Let's Encrypt
// pauses a name until somebody unpauses it there.
const MaxAttempts = 100

func neededNow(o *Observed, opt PlanOptions, now time.Time) bool {
	action, _, _ := needIssue(o, opt, now)
	return action == ActionIssue || action == ActionRenew
}

// needIssue tells whether a new certificate is wanted; if not, when.
func needIssue(o *Observed, opt PlanOptions, now time.Time) (Action, string, time.Time) {
	switch {
	case len(o.Current.Pairs) == 0:
		return ActionIssue, "there is no certificate yet", time.Time{}
	case o.Version == nil:
		return ActionIssue, fmt.Sprintf("the certificate in force cannot be read: %v", o.VersionErr), time.Time{}
	}
	req := o.Request.CertificateRequest
	for _, kt := range req.KeyTypes {
		i := slices.IndexFunc(o.Version.Pairs, func(p Pair) bool { return p.KeyType == kt })
		if i < 0 {
			return ActionIssue, fmt.Sprintf("a key of type %s is wanted", kt), time.Time{}
		}
		p := &o.Version.Pairs[i]
		if !slices.ContainsFunc(req.CAs, func(ca string) bool { return p.Ask == req.Ask(ca, kt) }) {
			return ActionIssue, whatChanged(o.Version, p, req), time.Time{}
		}
	}
	if opt.Force {
		return ActionRenew, "asked for by --force", time.Time{}
	}
	if o.revoked() {
		return ActionWait, "it was revoked; issue it again with --force or delete it", time.Time{}
	}
	leaf, ari := o.firstToExpire(), o.advice()
	r := o.renewal(now)
	if !r.at.After(now) {
		why := r.reason
		if !r.byCA {
			why = fmt.Sprintf("valid until %s, and %s", stamp(leaf.NotAfter), strings.TrimSuffix(r.reason, " then"))
		}
		return ActionRenew, why, time.Time{}
	}
	asked := opt.Advice && !ari.Looked.Add(ariLookMin).After(now)
	if now.Before(leaf.NotAfter) && (!ari.Look.After(now) || farAhead(ari.Look, now) || asked) {
		return ActionLook, "asking the CA when to renew", time.Time{}
	}
	return ActionWait, fmt.Sprintf("renewed at %s: %s", stamp(r.at), r.reason), earlier(r.at, ari.Look)
}

// Renewal tells when the version in force will be renewed and why then; zero if
// it will not be, because there is none, it was revoked or is no longer managed.
func (o *Observed) Renewal(now time.Time) (at time.Time, reason string) {
	if o.Version == nil || o.Request == nil || o.Request.Deleted || o.Request.Unmanaged || o.revoked() {
		return time.Time{}, ""
	}
	r := o.renewal(now)
	return r.at, r.reason
}

// renewal decides when to renew the version in force.
func (o *Observed) renewal(now time.Time) renewal {
	leaf := o.firstToExpire()
	r := whenToRenew(o.Name, leaf, o.advice())
	if !r.byCA {
		return notAtOnce(r, leaf, o.State.Renewals)
	}
	if r.at.After(now) {
		return r
	}
	at := afterRenewals(r.at, o.State.Renewals)
	if !at.After(now) {
		return r
	}
	r = notAtOnce(whenToRenew(o.Name, leaf, ARIState{}), leaf, o.State.Renewals)
	if at.Before(r.at) {
		r = renewal{at, "the CA suggests it again, but once a day and twice a week is enough", false}
	}
	return r
}

// advice is what the CA last said about the version in force.
func (o *Observed) advice() ARIState {
	if o.State.ARI.N == o.Current.N {
		return o.State.ARI
	}
	return ARIState{N: o.Current.N, Look: firstLook(o)}
}

func (o *Observed) firstToExpire() *x509.Certificate {
	leaf := o.Version.Pairs[0].Leaf
	for i := range o.Version.Pairs {
		if o.Version.Pairs[i].Leaf.NotAfter.Before(leaf.NotAfter) {
			leaf = o.Version.Pairs[i].Leaf
		}
	}
	return leaf
}

// revoked reports whether we revoked what is in force.
func (o *Observed) revoked() bool {
	return slices.ContainsFunc(o.Version.Pairs, func(p Pair) bool {
		return slices.Contains(o.State.Revoked, p.Fingerprint().String())
	})
}

// firstLook spreads the first look at the CA's advice over the six hours after
// the publication, as CAs ask for the next one six hours later: what was issued
// together does not ask together for ever. Its hash is not that of the renewal
// instant: the two spreads would cancel each other out.
func firstLook(o *Observed) time.Time {
	const soonest = 30 * time.Minute
	return o.Current.At.Add(soonest + time.Duration(hashOf("look "+o.Name)%1000)*(ariLook-soonest)/1000)
}

func whatChanged(v *Version, p *Pair, req CertificateRequest) string {
	var words []string
	differ := func(sign string, in, notIn []Identifier) {
		var names []string
		for _, id := range in {
			if !slices.Contains(notIn, id) {
				names = append(names, sign+id.Value)
			}
		}
		slices.Sort(names)
		words = append(words, names...)
	}
	differ("+", req.Identifiers, v.Identifiers)
	differ("-", v.Identifiers, req.Identifiers)
	switch {
	case len(words) > 6:
		return fmt.Sprintf("other names are wanted (%s and %d more)", strings.Join(words[:6], " "), len(words)-6)
	case len(words) > 0:
		return fmt.Sprintf("other names are wanted (%s)", strings.Join(words, " "))
	case !slices.Contains(req.CAs, p.CA):
		return fmt.Sprintf("another CA is wanted (%s)", req.CAs[0])
	case p.Account != req.Account:
		return fmt.Sprintf("another account is wanted (%s)", req.Account)
	}
	return "its profile, lifetime, key policy or CSR was changed"
}

func planDeploy(o *Observed, opt PlanOptions, now time.Time, step stepper) []Step {
	if o.Version == nil {
		return nil
	}
	var steps []Step
	for _, t := range o.Targets {
		if !t.Here {
			continue
		}
		d := t.Deployed
		s := Step{}
		switch {
		case d.Want == o.Current.N && d.Status == DeployAccepted && d.Options == t.Options && !opt.Redeploy:
			continue
		case d.Want == o.Current.N && d.Status == DeployHeld && d.Options == t.Options && !opt.Redeploy:
			s = step(ActionWait, "target %s broke with this version and holds the one before; inkan deploy --retry tries again", t.Name)
		case d.Accepted != 0 && d.Accepted != o.Current.N && o.Version.validFrom().After(now) && !opt.Redeploy:
			s = step(ActionWait, "it is not valid before %s; target %s keeps the one before until then", stamp(o.Version.validFrom()), t.Name)
			s.At = o.Version.validFrom()
		case d.Want == o.Current.N && d.Status == DeployFailed && (d.Options == t.Options || t.Err != nil) && d.Next.After(now) && !farAhead(d.Next, now) && !opt.Asked && !opt.Redeploy:
			s = step(ActionWait, "target %s failed %s; the next try is then", t.Name, times(d.Attempts))
			s.At = d.Next
		case d.Accepted == 0:
			s = step(ActionDeploy, "not at target %s yet", t.Name)
		case d.Want != o.Current.N:
			s = step(ActionDeploy, "target %s has an older version", t.Name)
		case d.Options != t.Options:
			s = step(ActionDeploy, "the options of target %s changed", t.Name)
		case opt.Redeploy:
			s = step(ActionDeploy, "asked for at target %s", t.Name)
		case d.Status == DeployPending:
			s = step(ActionDeploy, "the deployment to target %s was interrupted", t.Name)
		default:
			s = step(ActionDeploy, "target %s failed %s", t.Name, times(d.Attempts))
		}
		s.Target = t.Name
		steps = append(steps, s)
		if s.Action == ActionWait {
			return steps // the first that fails stops the later ones
		}
	}
	return steps
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func lastErrorWords(st State) string {
	if st.LastError == nil {
		return ""
	}
	return ": " + st.LastError.Message
}

func ownerWords(o Owner) string {
	if o.PID == 0 {
		return ""
	}
	return fmt.Sprintf(" (process %d on %s)", o.PID, Printable(o.Host, 60))
}

// Plan is what would be done, certificate by certificate.
type Plan struct {
	At           time.Time
	Options      PlanOptions
	Certificates []CertificatePlan

	doubts []Pair // whose CAs may be asked whether the clock is right; one for each CA, a few at most
}

// maxDoubts bounds the CAs that are asked for the time.
const maxDoubts = 3

// byUrgency returns the indexes of the certificates in the order in which they
// are worked on: those without a certificate, then by expiry.
func (p *Plan) byUrgency() []int {
	order := make([]int, len(p.Certificates))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return p.Certificates[i].expires.Compare(p.Certificates[j].expires) })
	return order
}

// CertificatePlan holds the steps of one certificate.
type CertificatePlan struct {
	Name  string
	Steps []Step
	Err   error // why it cannot be planned; the others can

	met, metHost []string  // due entries that led here
	expires      time.Time // of the version in force; zero if there is none
	silent       string    // the CA that gave no service at the last try
	afterOutage  bool      // many others wait for that CA too
}

// Actions reports whether anything but waiting is to be done.
func (c *CertificatePlan) Actions() bool {
	return c.Err != nil || slices.ContainsFunc(c.Steps, func(s Step) bool { return s.Action != ActionWait })
}

// Plan reads the Store and decides. Without names it looks only at what is due
// and at unfinished orders, so its cost does not grow with the number of
// certificates.
func (m *Manager) Plan(ctx context.Context, opt PlanOptions) (*Plan, error) {
	p := &Plan{At: m.now(), Options: opt}
	index := map[string]int{}
	add := func(name string) *CertificatePlan {
		i, ok := index[name]
		if !ok {
			i = len(p.Certificates)
			index[name] = i
			p.Certificates = append(p.Certificates, CertificatePlan{Name: name})
		}
		return &p.Certificates[i]
	}
	switch {
	case opt.All:
		for key, err := range m.Store.List(ctx, requestPrefix, "") {
			if err != nil {
				return nil, fmt.Errorf("listing the certificates: %w", err)
			}
			add(strings.TrimPrefix(key, requestPrefix))
		}
	case opt.Names != nil:
		for _, n := range opt.Names {
			if err := CheckName(n); err != nil {
				return nil, err
			}
			add(n)
		}
	default:
		if err := m.planDue(ctx, p.At, add); err != nil {
			return nil, err
		}
	}
	for i := range p.Certificates {
		c := &p.Certificates[i]
		o, err := m.observe(ctx, c.Name)
		if err != nil {
			c.Err = err
			continue
		}
		if c.Err = o.RequestErr; c.Err != nil {
			continue
		}
		if opt.Names != nil && o.Request == nil {
			c.Err = Errorf(Operator, "certificate "+c.Name, "there is none of this name").WithHint("inkan list shows all of them")
			continue
		}
		c.Steps = PlanCertificate(o, opt, p.At)
		if last := o.State.LastError; last != nil {
			c.silent = last.NoService
		}
		if o.Version != nil {
			c.expires = o.Version.validUntil()
			p.noteDoubt(o)
		}
	}
	return p, nil
}

// herd is how many certificates that wait for one CA are too many for its first
// seconds after an outage.
const herd = 6

// noteOutage marks the certificates whose CA gave no service at their last try,
// where they are many.
func (p *Plan) noteOutage() {
	waiting := map[string]int{}
	for i := range p.Certificates {
		waiting[p.Certificates[i].silent]++
	}
	for i := range p.Certificates {
		c := &p.Certificates[i]
		c.afterOutage = c.silent != "" && waiting[c.silent] >= herd
	}
}

// noteDoubt remembers whom to ask for the time.
func (p *Plan) noteDoubt(o *Observed) {
	pair := o.Version.Pairs[0]
	if len(p.doubts) < maxDoubts && doubt(o, p.At) &&
		!slices.ContainsFunc(p.doubts, func(d Pair) bool { return d.CA == pair.CA }) {
		p.doubts = append(p.doubts, pair)
	}
}

// planDue adds what the heads of the due indexes and the unfinished orders
// name.
func (m *Manager) planDue(ctx context.Context, now time.Time, add func(string) *CertificatePlan) error {
	entries, err := dueUntil(ctx, m.Store, certQueue, now)
	if err != nil {
		return err
	}
	for _, e := range entries {
		c := add(e.name)
		c.met = append(c.met, e.key)
	}
	if m.Host != nil {
		if entries, err = dueUntil(ctx, m.Host, hostQueue, now); err != nil {
			return err
		}
		for _, e := range entries {
			c := add(e.name)
			c.metHost = append(c.metHost, e.key)
		}
	}
	names, err := namesWithOrders(ctx, m.Store)
	if err != nil {
		return err
	}
	for _, n := range names {
		add(n)
	}
	return nil
}

// errBusy reports that another process holds the lease.
var errBusy = errors.New("another process works on it")
