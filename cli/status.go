package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/internal/term"
)

// statusColour says which colour a word has.
func statusColour(word engine.StatusWord) string {
	switch word {
	case engine.StatusOK:
		return term.Green
	case engine.StatusDamaged, engine.StatusExpired, engine.StatusFailing, engine.StatusRevoked:
		return term.Red
	case engine.StatusUnmanaged:
		return term.Dim
	}
	return term.Yellow
}

// summary is what list tells about one certificate, in JSON and in the table.
type summary struct {
	Name        string            `json:"name"`
	Status      engine.StatusWord `json:"status"`
	Identifiers []string          `json:"identifiers"`
	NotBefore   time.Time         `json:"not_before,omitzero"`
	NotAfter    time.Time         `json:"not_after,omitzero"`
	CA          string            `json:"ca,omitempty"`
	KeyType     inkan.KeyType     `json:"key_type,omitempty"`
	Serial      string            `json:"serial,omitempty"`
	Fingerprint string            `json:"fingerprint,omitempty"`
	Paths       []string          `json:"paths"`
	Renews      time.Time         `json:"renews,omitzero"` // when a new one is asked for
	Next        time.Time         `json:"next,omitzero"`   // when something happens next: that, or another try
	Reason      string            `json:"reason,omitempty"`
	LastError   *inkan.LastError  `json:"last_error,omitempty"`

	ids []inkan.Identifier
	why string // of Renews
	err error  // what is damaged
}

// summarise tells about what was observed.
func (a *app) summarise(ctx context.Context, o *engine.Observed, now time.Time) summary {
	s := summary{Name: o.Name, Paths: []string{}, LastError: o.State.LastError}
	how, reason := status(o, now)
	s.Status, s.Next, s.Reason = how.Word, how.Next, a.InWords(ctx, reason)
	s.Renews, s.why = renewal(o, now)
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

// status tells how a certificate is, with its reason in words.
func status(o *engine.Observed, now time.Time) (s engine.Status, reason string) {
	s = o.Status(now)
	reason = withTime(s.Reason, s.Then, s.At, now)
	if s.Word == engine.StatusExpired {
		expired := "it expired " + term.Instant(o.Version.Pairs[0].Leaf.NotAfter, now)
		reason = strings.TrimSuffix(expired+"; "+reason, "; ")
	}
	return s, reason
}

// renewal tells when the next certificate is asked for, and why then.
func renewal(o *engine.Observed, now time.Time) (at time.Time, why string) {
	at, step := o.NextCertificate(now)
	return at, stepWords(step, now)
}

// stepWords is the reason of a step, and what happens when.
func stepWords(s engine.Step, now time.Time) string { return withTime(s.Reason, s.Then, s.At, now) }

func withTime(reason, then string, at, now time.Time) string {
	if then == "" {
		return reason
	}
	return reason + "; " + then + " " + term.When(at, now)
}
