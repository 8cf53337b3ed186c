package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/internal/term"
)

// The words for the state of a certificate, one at a time: the first that
// holds, in this order.
const (
	statusDamaged   = "damaged"        // a stored value cannot be read
	statusWorking   = "working"        // a process works on it now
	statusRevoked   = "revoked"        // at the CA
	statusExpired   = "expired"        //
	statusUnmanaged = "unmanaged"      // left the configuration file: served, not renewed
	statusFailing   = "failing"        // the last attempt, or a deployment, failed
	statusNone      = "no certificate" // none was issued yet
	statusHeld      = "held"           // a target broke with it and keeps the one before
	statusDue       = "due"            // the next renew gets a new one
	statusDeploying = "deploying"      // not at every target yet
	statusOK        = "ok"
)

// statusColour says which colour a word has.
func statusColour(word string) string {
	switch word {
	case statusOK:
		return term.Green
	case statusDamaged, statusExpired, statusFailing, statusRevoked:
		return term.Red
	case statusUnmanaged:
		return term.Dim
	}
	return term.Yellow
}

// summary is what list tells about one certificate, in JSON and in the table.
type summary struct {
	Name        string           `json:"name"`
	Status      string           `json:"status"`
	Identifiers []string         `json:"identifiers"`
	NotBefore   time.Time        `json:"not_before,omitzero"`
	NotAfter    time.Time        `json:"not_after,omitzero"`
	CA          string           `json:"ca,omitempty"`
	KeyType     inkan.KeyType    `json:"key_type,omitempty"`
	Serial      string           `json:"serial,omitempty"`
	Fingerprint string           `json:"fingerprint,omitempty"`
	Paths       []string         `json:"paths"`
	Renews      time.Time        `json:"renews,omitzero"` // when a new one is asked for
	Next        time.Time        `json:"next,omitzero"`   // when something happens next: that, or another try
	Reason      string           `json:"reason,omitempty"`
	LastError   *inkan.LastError `json:"last_error,omitempty"`

	ids []inkan.Identifier
	why string // of Renews
	err error  // what is damaged
}

// summarise tells about what was observed.
func (a *app) summarise(ctx context.Context, o *engine.Observed, now time.Time) summary {
	s := summary{Name: o.Name, Paths: []string{}, LastError: o.State.LastError}
	s.Status, s.Reason, s.Next = statusOf(o, now)
	s.Reason = a.InWords(ctx, s.Reason)
	s.Renews, s.why = renewalOf(o, now)
	if o.Request != nil {
		s.ids, s.CA, s.KeyType = o.Request.Identifiers, o.Request.CAs[0], o.Request.KeyTypes[0]
	}
	if o.Version != nil {
		p := &o.Version.Pairs[0]
		s.ids, s.CA, s.KeyType = o.Version.Identifiers, p.CA, p.KeyType
		s.NotBefore, s.NotAfter = p.Leaf.NotBefore, p.Leaf.NotAfter
		s.Serial, s.Fingerprint = fmt.Sprintf("%x", p.Leaf.SerialNumber), p.Fingerprint().String()
	}
	for _, t := range o.Targets {
		if s.LastError == nil {
			s.LastError = t.Deployed.LastError
		}
		s.Paths = append(s.Paths, pathsOf(t.Deployed.Receipt)...)
	}
	s.Identifiers = values(s.ids)
	return s
}

// pathsOf returns the files that a receipt speaks of and that are there.
func pathsOf(r inkan.Receipt) []string {
	var files inkan.FilesReceipt
	if json.Unmarshal(r, &files) != nil || files.Dir == "" {
		return nil
	}
	var paths []string
	for _, name := range []string{"fullchain.pem", "cert.pem", "chain.pem", "privkey.pem", "combined.pem"} {
		path := filepath.Join(files.Dir, name)
		if _, err := os.Stat(path); err == nil {
			paths = append(paths, path)
		}
	}
	return paths
}

// statusOf finds the word for what was observed, why, and when something
// happens next.
func statusOf(o *engine.Observed, now time.Time) (word, reason string, next time.Time) {
	steps := engine.PlanCertificate(unadvised(o, now), engine.PlanOptions{}, now)
	next, _ = renewalOf(o, now)
	for _, s := range steps {
		if s.Target != "" && !s.At.IsZero() && (next.IsZero() || s.At.Before(next)) {
			next = s.At
		}
		if reason == "" || s.Action != engine.ActionWait {
			reason = stepWords(s, now)
		}
	}
	has := func(as ...engine.Action) bool {
		return slices.ContainsFunc(steps, func(s engine.Step) bool { return slices.Contains(as, s.Action) })
	}
	target := func(status string) *engine.ObservedTarget {
		i := slices.IndexFunc(o.Targets, func(t engine.ObservedTarget) bool {
			return t.Here && t.Deployed.Status == status && t.Deployed.Want == o.Current.N
		})
		if i < 0 {
			return nil
		}
		return &o.Targets[i]
	}
	switch {
	case o.RequestErr != nil:
		return statusDamaged, o.RequestErr.Error(), time.Time{}
	case o.VersionErr != nil:
		return statusDamaged, o.VersionErr.Error(), next
	case o.HeldBy != nil:
		return statusWorking, reason, next
	case revoked(o):
		return statusRevoked, reason, next
	case o.Version != nil && !o.Version.Pairs[0].Leaf.NotAfter.After(now):
		why := "it expired " + term.Instant(o.Version.Pairs[0].Leaf.NotAfter, now)
		switch {
		case o.State.Attempts >= engine.MaxAttempts:
			return statusExpired, why + "; " + reason, time.Time{}
		case o.State.LastError != nil:
			why += "; " + o.State.LastError.Message
		}
		return statusExpired, why, next
	case o.Request == nil || o.Request.Unmanaged:
		return statusUnmanaged, reason, next
	case o.State.Attempts >= engine.MaxAttempts:
		return statusFailing, reason, time.Time{} // it says that somebody must ask
	case o.State.LastError != nil:
		return statusFailing, o.State.LastError.Message, next
	case o.Version == nil:
		return statusNone, reason, next
	}
	if t := target(inkan.DeployFailed); t != nil && t.Deployed.LastError != nil {
		return statusFailing, t.Deployed.LastError.Message, t.Deployed.Next
	}
	for _, t := range o.Targets {
		if t.Err != nil {
			return statusFailing, t.Err.Error(), next
		}
	}
	switch {
	case target(inkan.DeployHeld) != nil:
		return statusHeld, reason, next
	case has(engine.ActionIssue, engine.ActionRenew, engine.ActionResume):
		return statusDue, reason, next
	case has(engine.ActionDeploy):
		return statusDeploying, reason, next
	}
	return statusOK, reason, next
}

// renewalOf tells when the next certificate is asked for and why then, apart
// from deployments; zero if that is not planned.
func renewalOf(o *engine.Observed, now time.Time) (at time.Time, why string) {
	alone := unadvised(o, now)
	alone.Targets = nil
	s := engine.PlanCertificate(alone, engine.PlanOptions{}, now)[0]
	switch s.Action {
	case engine.ActionIssue, engine.ActionRenew, engine.ActionResume:
		return now, s.Reason
	}
	if o.Version == nil {
		return s.At, stepWords(s, now)
	}
	at, _ = o.Renewal(now)
	return at.Truncate(time.Second), stepWords(s, now)
}

// stepWords is the reason of a step; where it says "then", the time.
func stepWords(s engine.Step, now time.Time) string {
	if s.At.IsZero() {
		return s.Reason
	}
	return strings.NewReplacer("the next try is then", "the next try is "+term.When(s.At, now), "its order goes on then", "its order goes on "+term.When(s.At, now)).Replace(s.Reason)
}

func revoked(o *engine.Observed) bool {
	return o.Version != nil && slices.ContainsFunc(o.Version.Pairs, func(p inkan.Pair) bool {
		return slices.Contains(o.State.Revoked, p.Fingerprint().String())
	})
}

// unadvised puts the next look at the CA's advice behind the moment t, so that
// what is planned then is the renewal itself.
func unadvised(o *engine.Observed, t time.Time) *engine.Observed {
	c := *o
	if c.State.ARI.N != c.Current.N {
		c.State.ARI = inkan.ARIState{N: c.Current.N}
	}
	c.State.ARI.Look = t.Add(time.Hour)
	return &c
}
