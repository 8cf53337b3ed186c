package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/acme"
)

// clockWarns is the difference between clocks that people are told of.
const clockWarns = 5 * time.Minute

// authority is what was found out about one account at one CA.
type authority struct {
	name     string
	public   bool
	issuers  []string // the names by which CAA records know it
	profiles []string // nil if it was not asked
	asked    bool
	url      string // of the account; "" if there is none
	print    string // thumbprint of the account key; "" if there is none
	found    []Finding
}

// recorded is what the record tells of a CA without asking it.
func recorded(ctx context.Context, ca *CA) *authority {
	a := &authority{public: ca.Public, url: ca.Record.URL}
	var dir struct {
		Meta struct {
			CAA []string `json:"caaIdentities"`
		} `json:"meta"`
	}
	if json.Unmarshal(ca.Record.Directory, &dir) == nil {
		a.issuers = dir.Meta.CAA
	}
	if ca.Client != nil && ca.Record.Key != nil {
		a.print, _ = ca.Client.Thumbprint(ctx, ca.Record) // without one, less is compared
	}
	return a
}

// authority asks a CA for its directory and, if there is one, for the account.
func (x *examination) authority(ctx context.Context, name, account string) *authority {
	return x.authorities.get(name+"/"+account, func() *authority {
		about := name
		if account != "default" {
			about += ", account " + account
		}
		ca, err := x.CA(ctx, name, account)
		if err != nil {
			return &authority{name: about, found: []Finding{failure("ca-unusable", about, "", err)}}
		}
		a := recorded(ctx, ca)
		a.name = about
		caps, err := ca.Client.Capabilities(ctx)
		if err != nil {
			if !ended(ctx, err) {
				a.add(unreachable(about, ca, err))
			}
			return a
		}
		a.asked, a.issuers = true, caps.CAA
		for _, p := range caps.Profiles {
			a.profiles = append(a.profiles, p.Name)
		}
		x.clock(a, caps)
		x.account(ctx, a, ca, caps)
		return a
	})
}

func (a *authority) add(f Finding) { a.found = append(a.found, f) }

// unreachable tells why the CA's directory could not be read.
func unreachable(about string, ca *CA, err error) Finding {
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	_, invalid := errors.AsType[x509.CertificateInvalidError](err)
	_, wrongName := errors.AsType[x509.HostnameError](err)
	_, unverified := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case unknown, invalid, wrongName, unverified:
		return failure("ca-untrusted", about, "", err)
	case ca.Proxy != "":
		return findingOf("proxy-broken", about, err.Error(), "")
	}
	return failure("ca-unreachable", about, "", err)
}

func (x *examination) clock(a *authority, caps *acme.Capabilities) {
	if !caps.ClockKnow {
		return
	}
	x.mu.Lock()
	x.skew = caps.Clock
	x.mu.Unlock()
	if off := caps.Clock.Abs(); off > clockWarns {
		word := "behind"
		if caps.Clock < 0 {
			word = "ahead of"
		}
		seen := fmt.Sprintf("the clock of this machine is %v %s the CA's", off.Round(time.Minute), word)
		if off > inkan.MaxSkew {
			seen += "; decisions are made by the CA's"
		}
		a.add(findingOf("clock-off", a.name, seen, ""))
	}
}

// account looks after the account: that it is there and serves, or that it
// could be made.
func (x *examination) account(ctx context.Context, a *authority, ca *CA, caps *acme.Capabilities) {
	if ca.Record.Key == nil || ca.Record.URL == "" {
		switch {
		case caps.EABRequired && !ca.EAB:
			a.add(findingOf("eab-missing", a.name, "there is no account on record, and the CA's directory says externalAccountRequired", ""))
		case caps.Terms != "" && !ca.AgreeTerms:
			a.add(findingOf("account-missing", a.name, "there is no account on record, and nobody agreed to "+caps.Terms, ""))
		}
		return
	}
	_, err := ca.Client.ShowAccount(ctx)
	if err == nil || ended(ctx, err) {
		return
	}
	if p, ok := errors.AsType[*acme.Problem](err); ok && p.Type == "accountDoesNotExist" {
		a.add(findingOf("account-lost", a.name, err.Error(), ""))
		return
	}
	kind := "account-unusable"
	if k := inkan.KindOf(err); k == inkan.Temporary || k == inkan.RateLimited {
		kind = "ca-unreachable"
	}
	a.add(failure(kind, a.name, "", err))
}

// profile says whether the CA offers the profile that a request asks for.
func (a *authority) profile(req *inkan.CertificateRequest) []Finding {
	if req.Profile == "" || !a.asked || slices.Contains(a.profiles, req.Profile) {
		return nil
	}
	offered := "none"
	if len(a.profiles) > 0 {
		offered = strings.Join(a.profiles, ", ")
	}
	f := findingOf("profile-unknown", a.name, fmt.Sprintf("%s asks for the profile %s; offered are: %s", req.Name, req.Profile, offered), "")
	if req.RequireProfile {
		f.Severity = Error
	}
	return []Finding{f}
}
