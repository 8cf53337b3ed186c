package acme

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/inkan-acme/inkan"
)

// maxShown bounds what a person is shown of one answer in bytes.
const maxShown = 1 << 10

// maxSubproblems bounds the subproblems that are read.
const maxSubproblems = 100

// Problem is a problem document (RFC 7807) as RFC 8555 section 6.7 uses it, or
// what stands for one when the CA refused without saying why. Everything but
// Status and RetryAfter is the CA's word: [Problem.Error] makes it printable.
type Problem struct {
	Type        string // "rateLimited" for urn:ietf:params:acme:error:rateLimited; a foreign type is kept whole
	Detail      string
	Instance    string
	Identifier  inkan.Identifier // of a subproblem; zero if none
	Subproblems []Problem

	Status     int           // of the HTTP answer; 0 inside orders and challenges
	RetryAfter time.Duration // clamped to [1 s, 24 h]; 0 when the CA did not say
}

// errorNamespace is the prefix of the problem types of RFC 8555 section 6.7.
const errorNamespace = "urn:ietf:params:acme:error:"

// Error returns the type, the detail and the subproblems, fit for a terminal,
// at most 1 KiB.
func (p *Problem) Error() string {
	return inkan.Printable(p.text(), maxShown)
}

func (p *Problem) text() string {
	var parts []string
	if p.Identifier.Value != "" {
		parts = append(parts, p.Identifier.Value)
	}
	if p.Type != "" && p.Type != "about:blank" {
		parts = append(parts, p.Type)
	}
	if p.Detail != "" {
		parts = append(parts, p.Detail)
	}
	if len(parts) == 0 {
		parts = append(parts, statusText(p.Status)+" without a reason")
	}
	s := strings.Join(parts, ": ")
	if len(p.Subproblems) == 0 {
		return s
	}
	subs := make([]string, len(p.Subproblems))
	for i := range p.Subproblems {
		subs[i] = p.Subproblems[i].text()
	}
	return s + " (" + strings.Join(subs, "; ") + ")"
}

// is reports whether p is of one of the types of RFC 8555 section 6.7.
func (p *Problem) is(types ...string) bool {
	for _, t := range types {
		if p.Type == t {
			return true
		}
	}
	return false
}

// readProblem returns the problem of an answer that is no success. A body that
// is not a problem document is never shown.
func readProblem(r *response, now time.Time) *Problem {
	p := parseProblem(r.body)
	if p == nil {
		p = &Problem{}
	}
	p.Status = r.status
	p.RetryAfter = retryAfter(r.header, now)
	return p
}

// parseProblem reads a problem document and returns nil if data is none. A
// member of a wrong type counts as absent, so that a half-broken document
// still tells its type.
func parseProblem(data []byte) *Problem {
	var doc problemDocument
	if len(data) == 0 || json.Unmarshal(data, &doc) != nil || doc.Type == "" && doc.Detail == "" {
		return nil
	}
	p := doc.problem()
	var subs []json.RawMessage
	if json.Unmarshal(doc.Subproblems, &subs) == nil {
		for _, raw := range subs[:min(len(subs), maxSubproblems)] {
			var sub problemDocument
			if json.Unmarshal(raw, &sub) == nil {
				p.Subproblems = append(p.Subproblems, *sub.problem())
			}
		}
	}
	return p
}

type problemDocument struct {
	Type        laxString       `json:"type"`
	Detail      laxString       `json:"detail"`
	Instance    laxString       `json:"instance"`
	Identifier  json.RawMessage `json:"identifier"`
	Subproblems json.RawMessage `json:"subproblems"`
}

func (d *problemDocument) problem() *Problem {
	p := &Problem{
		Type:     strings.TrimPrefix(string(d.Type), errorNamespace),
		Detail:   string(d.Detail),
		Instance: string(d.Instance),
	}
	var id struct {
		Type  laxString `json:"type"`
		Value laxString `json:"value"`
	}
	if json.Unmarshal(d.Identifier, &id) == nil {
		p.Identifier = inkan.Identifier{Type: string(id.Type), Value: string(id.Value)}
	}
	return p
}

// laxString reads a JSON string and takes anything else for "".
type laxString string

func (s *laxString) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil {
		*s = laxString(text)
	}
	return nil
}

func statusText(status int) string {
	if t := http.StatusText(status); t != "" {
		return strings.ToLower(t)
	}
	return "a refusal"
}
