package engine

import (
	"slices"
	"time"

	"github.com/inkan-acme/inkan"
)

// StatusWord says in one word how a certificate is.
type StatusWord string

// The words. The first that holds is the one that is told.
const (
	StatusDamaged   StatusWord = "damaged"        // a stored value cannot be read
	StatusWorking   StatusWord = "working"        // a process works on it now
	StatusRevoked   StatusWord = "revoked"        // at the CA
	StatusExpired   StatusWord = "expired"        //
	StatusUnmanaged StatusWord = "unmanaged"      // left the configuration file: served, not renewed
	StatusFailing   StatusWord = "failing"        // the last attempt, or a deployment, failed
	StatusNone      StatusWord = "no certificate" // none was issued yet
	StatusDue       StatusWord = "due"            // the next run gets a new one
	StatusDeploying StatusWord = "deploying"      // not at every target yet
	StatusOK        StatusWord = "ok"
)

// Status is how a certificate is, why, and what comes next.
type Status struct {
	Word   StatusWord
	Reason string
	At     time.Time // see [Step]
	Then   string    // see [Step]; "" if Reason says all
	Next   time.Time // when something happens by itself: a renewal, a look, another try
}

// Status tells how the certificate is at an instant. It decides nothing: what it
// says is what [PlanCertificate] would do, and what was recorded.
func (o *Observed) Status(now time.Time) Status {
	steps := PlanCertificate(o.unadvised(now), PlanOptions{}, now)
	s := Status{Next: o.nextStep(steps, now)}
	for _, step := range steps {
		if s.Reason == "" || step.Action != ActionWait {
			s.Reason, s.At, s.Then = step.Reason, step.At, step.Then
		}
	}
	will := func(as ...Action) bool {
		return slices.ContainsFunc(steps, func(s Step) bool { return slices.Contains(as, s.Action) })
	}
	var (
		expired   = o.Version != nil && !o.Version.Pairs[0].Leaf.NotAfter.After(now)
		left      = o.Request == nil || o.Request.Unmanaged
		exhausted = o.State.Attempts >= MaxAttempts
		failure   = o.State.LastError
	)
	refusal, again := o.targetFailure()
	switch {
	case o.RequestErr != nil:
		return Status{Word: StatusDamaged, Reason: o.RequestErr.Error()}
	case o.VersionErr != nil:
		return s.because(StatusDamaged, o.VersionErr.Error())
	case o.HeldBy != nil:
		s.Word = StatusWorking
	case o.Revoked():
		s.Word = StatusRevoked
	case expired && exhausted:
		s.Word, s.Next = StatusExpired, time.Time{}
	case expired && failure != nil:
		return s.because(StatusExpired, failure.Message)
	case expired:
		return s.because(StatusExpired, "")
	case left:
		s.Word = StatusUnmanaged
	case exhausted: // the reason says that somebody must ask
		s.Word, s.Next = StatusFailing, time.Time{}
	case failure != nil:
		return s.because(StatusFailing, failure.Message)
	case o.Version == nil:
		s.Word = StatusNone
	case refusal != "":
		if !again.IsZero() {
			s.Next = again
		}
		return s.because(StatusFailing, refusal)
	case will(ActionIssue, ActionRenew, ActionResume):
		s.Word = StatusDue
	case will(ActionDeploy):
		s.Word = StatusDeploying
	default:
		s.Word = StatusOK
	}
	return s
}

// because is s with another reason than that of the plan.
func (s Status) because(word StatusWord, reason string) Status {
	return Status{Word: word, Reason: reason, Next: s.Next}
}

// targetFailure tells why a target of this machine lacks the version in force,
// and when it is tried again; "" if none failed.
func (o *Observed) targetFailure() (why string, next time.Time) {
	for _, t := range o.Targets {
		d := t.Deployed
		if t.Here && d.Status == inkan.DeployFailed && d.Want == o.Current.N && d.LastError != nil {
			return d.LastError.Message, d.Next
		}
	}
	for _, t := range o.Targets {
		if t.Err != nil {
			return t.Err.Error(), time.Time{}
		}
	}
	return "", time.Time{}
}

// NextCertificate is the step that gets the next certificate, apart from
// deployments, and when that is; zero if none is planned.
func (o *Observed) NextCertificate(now time.Time) (time.Time, Step) {
	return o.nextCertificate(PlanCertificate(o.unadvised(now), PlanOptions{}, now), now)
}

// nextCertificate is NextCertificate for what is planned: the step about the
// certificate itself is the last.
func (o *Observed) nextCertificate(steps []Step, now time.Time) (time.Time, Step) {
	s := steps[len(steps)-1]
	switch {
	case s.Action == ActionIssue || s.Action == ActionRenew || s.Action == ActionResume:
		return now, s
	case o.Version == nil, s.Then != "": // it waits for another try
		return s.At, s
	}
	at, _ := o.Renewal(now)
	return at.Truncate(time.Second), s
}

// nextStep is when the next certificate is asked for, or a target is tried
// again before that.
func (o *Observed) nextStep(steps []Step, now time.Time) time.Time {
	next, _ := o.nextCertificate(steps, now)
	ofTargets := slices.DeleteFunc(slices.Clone(steps), func(s Step) bool { return s.Target == "" })
	return earliest(append(ofTargets, Step{At: next}))
}

// unadvised returns o with the next look at the CA's advice put off, so that the
// renewal itself is planned.
func (o *Observed) unadvised(now time.Time) *Observed {
	c := *o
	if c.State.ARI.N != c.Current.N {
		c.State.ARI = inkan.ARIState{N: c.Current.N}
	}
	c.State.ARI.Look = now.Add(time.Hour)
	return &c
}
