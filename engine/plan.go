package engine

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/inkan-acme/inkan"
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
	// Then says what happens at At, where Reason does not: "the next try is", "its
	// order goes on". Whoever prints the step appends the instant.
	Then string `json:"then,omitempty"`

	busy bool // a wait for another process
}

// PlanOptions says which certificates are meant, who asks, and what is done to
// them besides what is due. The zero value is what a timer does.
type PlanOptions struct {
	Scope Scope

	// ByPerson: a person asks now, so a failed attempt is tried again without
	// waiting for its time. What a CA asked to wait for is waited for all the same.
	ByPerson bool

	// Renew renews although nothing is due.
	Renew bool
	// AskAdvice asks the CA when to renew although that look is not due, unless
	// there was one a minute ago.
	AskAdvice bool
	// Redeploy deploys again what is in place or failed.
	Redeploy bool
	// DeployOnly leaves the CA alone.
	DeployOnly bool
}

// Scope says which certificates a plan is for. The zero value is [Due].
type Scope struct {
	all   bool
	names []string // nil: those that are due
}

// Due is the scope of what is due and of what was left unfinished.
func Due() Scope { return Scope{} }

// All is the scope of every recorded certificate.
func All() Scope { return Scope{all: true} }

// Named is the scope of these certificates, whether or not they are due.
func Named(names ...string) Scope { return Scope{names: append([]string{}, names...)} }

// IsDue reports whether s is [Due].
func (s Scope) IsDue() bool { return !s.all && s.names == nil }

// PlanCertificate decides what to do about one certificate. It is a pure
// function: it reads no clock and no Store.
func PlanCertificate(o *Observed, opt PlanOptions, now time.Time) []Step {
	d := decision{o, opt, now}
	switch {
	case o.HeldBy != nil:
		s := d.step(ActionWait, "another process works on it%s", ownerWords(*o.HeldBy))
		s.busy = true
		return []Step{s}
	case o.RequestErr != nil:
		return []Step{d.step(ActionWait, "%s", o.RequestErr)}
	case o.Request == nil && len(o.Orders) > 0:
		return []Step{d.step(ActionTidy, "an order was left without a request")}
	case o.Request == nil:
		return []Step{d.step(ActionWait, "nobody asked for this certificate")}
	case o.Request.Deleted && (len(o.Current.Pairs) > 0 || len(o.Orders) > 0 || o.State.Due != ""):
		return []Step{d.step(ActionDelete, "its deletion was not finished")}
	case o.Request.Deleted:
		return []Step{d.step(ActionWait, "deleted")}
	case opt.DeployOnly:
		return d.planDeploy()
	}
	issue := d.planIssue()
	if issue.Action != ActionWait {
		return []Step{issue} // what is issued is deployed afterwards, planned again
	}
	return append(d.planDeploy(), issue)
}

// decision is what the steps of one certificate are decided by.
type decision struct {
	o   *Observed
	opt PlanOptions
	now time.Time
}

func (d decision) step(a Action, format string, args ...any) Step {
	return Step{Name: d.o.Name, Action: a, Reason: fmt.Sprintf(format, args...)}
}

// wait is a step that does nothing until an instant.
func (d decision) wait(at time.Time, then, format string, args ...any) Step {
	s := d.step(ActionWait, format, args...)
	s.At, s.Then = at, then
	return s
}

// binding reports whether an instant in the Store is still to be waited for.
func (d decision) binding(at time.Time) bool { return at.After(d.now) && !farAhead(at, d.now) }

const nextTry = "the next try is" // see Step.Then

// planIssue decides what is done about the certificate itself.
func (d decision) planIssue() Step {
	o, st := d.o, d.o.State
	asked := d.opt.ByPerson || d.opt.Renew
	need, reason, at := needIssue(o, d.opt, d.now)
	needed := need == ActionIssue || need == ActionRenew
	notYet := d.binding(o.Due) && !asked
	exhausted := st.Attempts >= MaxAttempts && !asked
	ordering := st.Running != ""
	ca, until := leftAlone(o, st, d.now)

	switch {
	case d.binding(st.NotBefore):
		return d.wait(st.NotBefore, "", "the CA must not be asked before %s", stamp(st.NotBefore))
	case ordering && o.Abandoned:
		return d.step(ActionResume, "the process that worked on its order died")
	case exhausted && (ordering || needed):
		return d.step(ActionWait, "it failed %d times in a row and is tried again only when somebody asks: inkan renew --name %s%s", st.Attempts, o.Name, lastErrorWords(st))
	case ordering && notYet:
		return d.wait(o.Due, "its order goes on", "its order is not finished%s", lastErrorWords(st))
	case ordering:
		return d.step(ActionResume, "its order is not finished")
	case o.Request.Unmanaged:
		return d.step(ActionWait, "it left the configuration file, so it is kept but not renewed")
	case o.foreign():
		return d.step(ActionWait, "somebody else renews it, so it is only watched")
	case need == ActionWait && len(o.Orders) > 0:
		return d.step(ActionTidy, "a finished order left traces")
	case need == ActionWait:
		return d.wait(at, "", "%s", reason)
	case notYet && st.LastError != nil:
		return d.wait(o.Due, nextTry, "%s%s", reason, lastErrorWords(st))
	case needed && !until.IsZero():
		return d.wait(until, "", "%s; %s asked to wait until %s", reason, ca, stamp(until))
	}
	return d.step(need, "%s", reason)
}

// MaxAttempts is how often in a row a certificate may fail until it waits for
// a person: months, and far below the 1,152 failures after which Let's Encrypt
// pauses a name until somebody unpauses it there.
const MaxAttempts = 100

// needIssue tells whether a new certificate is wanted; if not, when.
func needIssue(o *Observed, opt PlanOptions, now time.Time) (Action, string, time.Time) {
	var none time.Time
	switch {
	case len(o.Current.Pairs) == 0:
		return ActionIssue, "there is no certificate yet", none
	case o.Version == nil:
		return ActionIssue, fmt.Sprintf("the certificate in force cannot be read: %v", o.VersionErr), none
	}
	if change := whatChanged(o.Version, o.Request.CertificateRequest); change != "" {
		return ActionIssue, change, none
	}
	leaf, ari := o.firstToExpire(), o.advice()
	r := o.renewal(now)
	lookDue := !ari.Look.After(now) || farAhead(ari.Look, now)
	lookAsked := opt.AskAdvice && !ari.Looked.Add(ariLookMin).After(now)

	switch {
	case opt.Renew:
		return ActionRenew, "asked for by --force", none
	case o.Revoked():
		return ActionWait, fmt.Sprintf("it was revoked; inkan renew --name %s --force issues it again, inkan delete %s removes it", o.Name, o.Name), none
	case !r.at.After(now) && r.byCA:
		return ActionRenew, r.reason, none
	case !r.at.After(now):
		return ActionRenew, fmt.Sprintf("valid until %s, and %s", stamp(leaf.NotAfter), r.reason), none
	case now.Before(leaf.NotAfter) && (lookDue || lookAsked):
		return ActionLook, "asking the CA when to renew", none
	}
	return ActionWait, fmt.Sprintf("renewed at %s: %s", stamp(r.at), r.reason), earlier(r.at, ari.Look)
}

// whatChanged tells what the request asks for that the version does not answer;
// "" if it answers it.
func whatChanged(v *inkan.Version, req inkan.CertificateRequest) string {
	for _, kt := range req.KeyTypes {
		i := slices.IndexFunc(v.Pairs, func(p inkan.Pair) bool { return p.KeyType == kt })
		if i < 0 {
			return fmt.Sprintf("a key of type %s is wanted", kt)
		}
		p := &v.Pairs[i]
		if !slices.ContainsFunc(req.CAs, func(ca string) bool { return p.OrderHash == req.OrderHash(ca, kt) }) {
			return difference(v, p, req)
		}
	}
	return ""
}

// difference tells how a request differs from what a pair answers.
func difference(v *inkan.Version, p *inkan.Pair, req inkan.CertificateRequest) string {
	names := append(without("+", req.Identifiers, v.Identifiers), without("-", v.Identifiers, req.Identifiers)...)
	switch {
	case len(names) > 6:
		return fmt.Sprintf("other names are wanted (%s and %d more)", strings.Join(names[:6], " "), len(names)-6)
	case len(names) > 0:
		return fmt.Sprintf("other names are wanted (%s)", strings.Join(names, " "))
	case !slices.Contains(req.CAs, p.CA):
		return fmt.Sprintf("another CA is wanted (%s)", req.CAs[0])
	case p.Account != req.Account:
		return fmt.Sprintf("another account is wanted (%s)", req.Account)
	}
	return "its profile, lifetime, key policy or CSR was changed"
}

// without returns the ids that are not among others, sorted, each after the sign.
func without(sign string, ids, others []inkan.Identifier) []string {
	var names []string
	for _, id := range ids {
		if !slices.Contains(others, id) {
			names = append(names, sign+id.Value)
		}
	}
	slices.Sort(names)
	return names
}

// planDeploy decides what is done at each target of this machine, in order. The
// first target that has to wait holds up those behind it.
func (d decision) planDeploy() []Step {
	if d.o.Version == nil {
		return nil
	}
	var steps []Step
	for i := range d.o.Targets {
		t := &d.o.Targets[i]
		if !t.Here {
			continue
		}
		s, needed := d.planTarget(t)
		if !needed {
			continue
		}
		s.Target = t.Name
		steps = append(steps, s)
		if s.Action == ActionWait {
			break
		}
	}
	return steps
}

// planTarget decides what is done at one target; false if nothing is.
func (d decision) planTarget(t *ObservedTarget) (s Step, needed bool) {
	dep, again := t.Deployed, d.opt.Redeploy
	validFrom := d.o.Version.ValidFrom()
	inForce := dep.Want == d.o.Current.N                     // the record speaks of the version in force
	sameOptions := dep.Options == t.Options || t.Err != nil  // of a target that cannot be opened nothing is known
	inPlace := inForce && dep.Status == inkan.DeployAccepted // it has the version in force
	backingOff := inForce && dep.Status == inkan.DeployFailed && sameOptions && d.binding(dep.Next) && !d.opt.ByPerson

	switch {
	case inPlace && dep.Options == t.Options && !again:
		return Step{}, false
	case dep.Accepted != 0 && dep.Accepted != d.o.Current.N && validFrom.After(d.now) && !again:
		return d.wait(validFrom, "", "it is not valid before %s; target %s keeps the one before until then", stamp(validFrom), t.Name), true
	case backingOff && !again:
		return d.wait(dep.Next, nextTry, "target %s failed %s", t.Name, times(dep.Attempts)), true
	case dep.Accepted == 0:
		return d.step(ActionDeploy, "not at target %s yet", t.Name), true
	case !inForce:
		return d.step(ActionDeploy, "target %s has an older version", t.Name), true
	case dep.Options != t.Options:
		return d.step(ActionDeploy, "the options of target %s changed", t.Name), true
	case again:
		return d.step(ActionDeploy, "asked for at target %s", t.Name), true
	case dep.Status == inkan.DeployPending:
		return d.step(ActionDeploy, "the deployment to target %s was interrupted", t.Name), true
	}
	return d.step(ActionDeploy, "target %s failed %s", t.Name, times(dep.Attempts)), true
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func lastErrorWords(st inkan.State) string {
	if st.LastError == nil {
		return ""
	}
	return ": " + st.LastError.Message
}

func ownerWords(o inkan.Owner) string {
	if o.PID == 0 {
		return ""
	}
	return fmt.Sprintf(" (process %d on %s)", o.PID, inkan.Printable(o.Host, 60))
}
