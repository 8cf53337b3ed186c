package acme

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/inkan-acme/inkan"
)

// The states of RFC 8555 section 7.1.6.
const (
	statusPending     = "pending"
	statusReady       = "ready"
	statusProcessing  = "processing"
	statusValid       = "valid"
	statusDeactivated = "deactivated"
	statusInvalid     = "invalid"
)

// maxAuthzs bounds the authorizations of one order; inkan allows 1,000 names.
const maxAuthzs = 1000

// orderObject is an order (RFC 8555 section 7.1.3), checked.
type orderObject struct {
	Status         string             `json:"status"`
	Expires        string             `json:"expires"`
	Identifiers    []inkan.Identifier `json:"identifiers"`
	Authorizations []string           `json:"authorizations"`
	Finalize       string             `json:"finalize"`
	Certificate    string             `json:"certificate"`
	Error          json.RawMessage    `json:"error"`

	retryAfter time.Duration // of the answer; 0 if it had none
}

// parseOrder reads an order and checks every URL in it that the flow will ask.
func parseOrder(body []byte, h hosts) (*orderObject, error) {
	o := &orderObject{}
	if err := json.Unmarshal(body, o); err != nil {
		return nil, fmt.Errorf("the answer is not an order")
	}
	if len(o.Authorizations) > maxAuthzs {
		return nil, fmt.Errorf("the order has %d authorizations; at most %d are allowed", len(o.Authorizations), maxAuthzs)
	}
	var urls []string
	switch o.Status {
	case statusPending:
		if len(o.Authorizations) == 0 {
			return nil, fmt.Errorf("the order is pending but names no authorization")
		}
		urls = slices.Clone(o.Authorizations)
	case statusReady:
		urls = []string{o.Finalize}
	case statusValid:
		urls = []string{o.Certificate}
	case statusProcessing, statusInvalid:
	default:
		return nil, fmt.Errorf("the order has the unknown status %q", inkan.Printable(o.Status, 40))
	}
	for _, u := range urls {
		if err := h.check(u); err != nil {
			return nil, fmt.Errorf("the order names a bad URL: %w", err)
		}
	}
	slices.Sort(o.Authorizations)
	o.Authorizations = slices.Compact(o.Authorizations)
	return o, nil
}

// expires returns when the order expires; zero if the CA did not say.
func (o *orderObject) expires() time.Time {
	t, err := time.Parse(time.RFC3339, o.Expires)
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}

// authzObject is an authorization (RFC 8555 section 7.1.4).
type authzObject struct {
	Status     string            `json:"status"`
	Identifier inkan.Identifier  `json:"identifier"`
	Wildcard   bool              `json:"wildcard"`
	Challenges []challengeObject `json:"challenges"`

	url string
}

// challengeObject is a challenge (RFC 8555 section 8). Challenges of a type
// that is not known are kept for messages only.
type challengeObject struct {
	Type   string          `json:"type"`
	URL    string          `json:"url"`
	Status string          `json:"status"`
	Token  string          `json:"token"`
	Error  json.RawMessage `json:"error"`

	// Of dns-persist-01 (draft-ietf-acme-dns-persist-01 section 3.1). The draft
	// is about to rename the first.
	IssuerDomainNames    json.RawMessage `json:"issuer-domain-names"`
	NewIssuerDomainNames json.RawMessage `json:"issuerDomainNames"`
	AccountURI           json.RawMessage `json:"accounturi"`
}

func parseAuthz(body []byte, url string) (*authzObject, error) {
	a := &authzObject{url: url}
	if err := json.Unmarshal(body, a); err != nil {
		return nil, fmt.Errorf("the answer is not an authorization")
	}
	a.Identifier = canonical(a.Identifier)
	return a, nil
}

// name returns the identifier as it was ordered, among ids: with the "*." of a
// wildcard, also where the CA left out the flag.
func (a *authzObject) name(ids []inkan.Identifier) (inkan.Identifier, bool) {
	id, wild := a.Identifier, a.Identifier
	wild.Value = "*." + id.Value
	if !a.Wildcard && slices.Contains(ids, id) {
		return id, true
	}
	if id.Type == inkan.DNS && slices.Contains(ids, wild) {
		return wild, true
	}
	return id, false
}

// canonical returns the form that inkan uses, for comparisons: CAs may write
// names in capitals and addresses in another form.
func canonical(id inkan.Identifier) inkan.Identifier {
	switch id.Type {
	case inkan.DNS:
		id.Value = strings.ToLower(id.Value)
	case inkan.IP:
		if a, err := netip.ParseAddr(id.Value); err == nil {
			id.Value = a.String()
		}
	}
	return id
}

// sameSet reports whether both hold the same identifiers, in any order.
func sameSet(a, b []inkan.Identifier) bool {
	key := func(ids []inkan.Identifier) []string {
		var keys []string
		for _, id := range ids {
			id = canonical(id)
			keys = append(keys, id.Type+":"+id.Value)
		}
		slices.Sort(keys)
		return slices.Compact(keys)
	}
	return slices.Equal(key(a), key(b))
}
