package acme

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/inkan-acme/inkan"
)

// Capabilities is what a CA can do: what its directory says now, and what is
// published about it. All text from the CA has passed inkan.Printable.
type Capabilities struct {
	CA        string `json:"ca"`
	Title     string `json:"title,omitempty"` // of a built-in CA
	Directory string `json:"directory"`
	Source    string `json:"source,omitempty"` // of what is built in
	Staging   bool   `json:"staging,omitempty"`

	Asked     time.Time     `json:"asked"`
	RoundTrip time.Duration `json:"round_trip_ns"` // of a small request over a warm connection
	Clock     time.Duration `json:"clock_ns"`      // theirs minus ours; exact to about a second
	ClockKnow bool          `json:"clock_known"`

	RenewalInfo bool `json:"renewal_info"` // RFC 9773
	KeyChange   bool `json:"key_change"`   // RFC 8555 section 7.3.5
	Revocation  bool `json:"revocation"`
	NewAuthz    bool `json:"new_authz"`    // RFC 8555 section 7.4.1
	AutoRenewal bool `json:"auto_renewal"` // RFC 8739

	EABRequired bool      `json:"eab_required"`
	Terms       string    `json:"terms,omitempty"`
	Website     string    `json:"website,omitempty"`
	CAA         []string  `json:"caa_identities,omitempty"`
	Profiles    []Profile `json:"profiles,omitempty"`

	Facts  []Fact `json:"facts,omitempty"`
	Limits Limits `json:"limits,omitzero"`
}

// Profile is a certificate profile that the CA offers.
type Profile struct {
	Name string `json:"name"`
	Text string `json:"text,omitempty"`
}

// maxListed bounds how much of a list in the directory is told.
const maxListed = 50

// Capabilities reads the CA's directory afresh and asks for a nonce, to see how
// far away it is. It signs nothing, needs no account, and counts against no
// limit of issuance.
func (c *Client) Capabilities(ctx context.Context) (*Capabilities, error) {
	dir, err := c.readDirectory(ctx)
	if err != nil {
		return nil, err
	}
	out := &Capabilities{
		CA: c.name, Title: c.ca.Title, Directory: c.ca.Directory, Source: c.ca.Source, Staging: c.ca.Staging, Asked: c.now(),
		RenewalInfo: dir.RenewalInfo != "", KeyChange: dir.KeyChange != "", Revocation: dir.RevokeCert != "", NewAuthz: dir.NewAuthz != "",
		AutoRenewal: len(dir.Meta.AutoRenewal) > 0 && string(dir.Meta.AutoRenewal) != "null",
		EABRequired: dir.Meta.EABRequired || c.ca.EABRequired,
		Terms:       inkan.Printable(dir.Meta.Terms, 300), Website: inkan.Printable(string(dir.Meta.Website), 300),
		Facts: c.ca.Facts, Limits: c.ca.Limits,
	}
	var caa []laxString
	if json.Unmarshal(dir.Meta.CAA, &caa) == nil {
		for _, name := range caa[:min(len(caa), maxListed)] {
			out.CAA = append(out.CAA, inkan.Printable(string(name), 100))
		}
	}
	for name, text := range dir.Meta.Profiles {
		out.Profiles = append(out.Profiles, Profile{inkan.Printable(name, 100), inkan.Printable(text, 300)})
	}
	slices.SortFunc(out.Profiles, func(a, b Profile) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	out.Profiles = out.Profiles[:min(len(out.Profiles), maxListed)]

	start := time.Now()
	resp, err := c.send(ctx, epNewNonce, c.op("new nonce"), http.MethodHead, dir.NewNonce, nil)
	if err != nil {
		return nil, err
	}
	out.RoundTrip = time.Since(start)
	c.nonces.put(resp.nonce())
	out.Clock, out.ClockKnow = c.ClockSkew()
	return out, nil
}
