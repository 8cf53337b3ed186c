package engine

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/state"
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
	due, _, dueErr := state.ParseDue(st.Due, state.CertQueue)
	waiting := dueErr == nil && due.After(now) && !state.FarAhead(due, now) && !opt.Asked && !opt.Force
	if st.NotBefore.After(now) && !state.FarAhead(st.NotBefore, now) {
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
	switch {
	case o.Request.Unmanaged:
		return step(ActionWait, "it left the configuration file, so it is kept but not renewed")
	case o.foreign():
		return step(ActionWait, "somebody else renews it, so it is only watched")
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
		i := slices.IndexFunc(o.Version.Pairs, func(p inkan.Pair) bool { return p.KeyType == kt })
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
	if now.Before(leaf.NotAfter) && (!ari.Look.After(now) || state.FarAhead(ari.Look, now) || asked) {
		return ActionLook, "asking the CA when to renew", time.Time{}
	}
	return ActionWait, fmt.Sprintf("renewed at %s: %s", stamp(r.at), r.reason), earlier(r.at, ari.Look)
}

// foreign reports whether the version in force was brought by somebody else, who
// renews it too.
func (o *Observed) foreign() bool {
	return o.Version != nil && slices.ContainsFunc(o.Version.Pairs, func(p inkan.Pair) bool { return p.Source == inkan.SourceForeign })
}

func whatChanged(v *inkan.Version, p *inkan.Pair, req inkan.CertificateRequest) string {
	var words []string
	differ := func(sign string, in, notIn []inkan.Identifier) {
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
		case d.Want == o.Current.N && d.Status == inkan.DeployAccepted && d.Options == t.Options && !opt.Redeploy:
			continue
		case d.Want == o.Current.N && d.Status == inkan.DeployHeld && d.Options == t.Options && !opt.Redeploy:
			s = step(ActionWait, "target %s broke with this version and holds the one before; inkan deploy --retry tries again", t.Name)
		case d.Accepted != 0 && d.Accepted != o.Current.N && o.Version.ValidFrom().After(now) && !opt.Redeploy:
			s = step(ActionWait, "it is not valid before %s; target %s keeps the one before until then", stamp(o.Version.ValidFrom()), t.Name)
			s.At = o.Version.ValidFrom()
		case d.Want == o.Current.N && d.Status == inkan.DeployFailed && (d.Options == t.Options || t.Err != nil) && d.Next.After(now) && !state.FarAhead(d.Next, now) && !opt.Asked && !opt.Redeploy:
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
		case d.Status == inkan.DeployPending:
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
