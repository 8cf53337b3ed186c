package acme

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"

	"github.com/go-jose/go-jose/v4"

	"github.com/inkan-acme/inkan"
)

// The problem types of RFC 8555 section 6.7 and its extensions that mean
// something to the flow.
const (
	accountDoesNotExist     = "accountDoesNotExist"
	alreadyReplaced         = "alreadyReplaced" // RFC 9773
	alreadyRevoked          = "alreadyRevoked"
	badCSR                  = "badCSR"
	badNonce                = "badNonce"
	badPublicKey            = "badPublicKey"
	badRevocationReason     = "badRevocationReason"
	badSignatureAlgorithm   = "badSignatureAlgorithm"
	caaProblem              = "caa"
	connectionProblem       = "connection"
	dnsProblem              = "dns"
	externalAccountRequired = "externalAccountRequired"
	incorrectResponse       = "incorrectResponse"
	invalidContact          = "invalidContact"
	invalidProfile          = "invalidProfile" // draft-ietf-acme-profiles
	malformed               = "malformed"
	orderNotReady           = "orderNotReady"
	rateLimited             = "rateLimited"
	rejectedIdentifier      = "rejectedIdentifier"
	serverInternal          = "serverInternal"
	tlsProblem              = "tls"
	unauthorized            = "unauthorized"
	unsupportedContact      = "unsupportedContact"
	unsupportedIdentifier   = "unsupportedIdentifier"
	userActionRequired      = "userActionRequired"
)

// refused is the one place that turns a problem of the CA into an error: its
// kind decides when the work is tried again, its hint tells a person what to do.
func (c *Client) refused(op string, p *Problem) error {
	kind, hint := c.judge(p)
	var cause error = p
	if p.Status >= 500 {
		cause = marked{p, inkan.ErrNoService}
	}
	e := inkan.Errorf(kind, op, "%w", cause)
	if p.Status != 0 && p.Type == "" {
		e = inkan.Errorf(kind, op, "status %d: %w", p.Status, cause)
	}
	if hint != "" {
		e = e.WithHint("%s", hint)
	}
	if p.RetryAfter > 0 {
		e = e.After(c.engineNow().Add(p.RetryAfter))
	}
	return e
}

func (c *Client) judge(p *Problem) (inkan.Kind, string) {
	switch p.Type {
	case rateLimited:
		return inkan.RateLimited, ""
	case badNonce, serverInternal, orderNotReady:
		return inkan.Temporary, ""
	case accountDoesNotExist:
		return inkan.Operator, "the CA no longer knows the account " + c.config.Account +
			"; no new one is made automatically, because CAA records and limits may depend on the old one: restore the account key, or register again on purpose"
	case userActionRequired:
		return inkan.Operator, "the CA wants somebody to act first, mostly to agree to new terms: open " + c.instance(p)
	case externalAccountRequired:
		return inkan.Operator, eabHint
	case invalidContact, unsupportedContact:
		return inkan.Operator, "change the contact address of the account"
	case badRevocationReason:
		return inkan.Operator, "choose another revocation reason"
	case unauthorized:
		return inkan.Operator, "the account may be deactivated, paused or not allowed to do this: look at what the CA says about it"
	case rejectedIdentifier:
		return inkan.Rejected, "the CA does not issue for this name; remove it from the certificate or use another CA"
	case unsupportedIdentifier:
		return inkan.Rejected, "the CA does not issue for this kind of name; use another CA or, for an IP address, a profile that has them"
	case badCSR:
		return inkan.Rejected, "the CA does not take this key type or certificate request; try another key type"
	case badPublicKey, badSignatureAlgorithm:
		return inkan.Rejected, "the CA does not take this type of account key; choose another one for a new account"
	case invalidProfile:
		return inkan.Rejected, "choose a profile that the CA offers"
	case caaProblem:
		return inkan.Rejected, "the CAA records of the name forbid this CA (or this account or method); change them or use another CA"
	}
	switch {
	case p.Status == http.StatusTooManyRequests:
		return inkan.RateLimited, ""
	case p.Status >= 500, p.Status == http.StatusRequestTimeout:
		return inkan.Temporary, ""
	case p.Type == "" || p.Type == "about:blank":
		// Not an ACME answer at all: a proxy, a load balancer, a moved endpoint.
		return inkan.Temporary, ""
	}
	return inkan.Rejected, ""
}

const hostHint = "if the CA really uses this host, allow it in the CA's settings (allow_other_hosts); if not, somebody intercepts the connection"

const eabHint = "get a key id and an HMAC key from the CA's account page and set both for this CA (external account binding)"

// instance returns the URL that a userActionRequired problem points to.
func (c *Client) instance(p *Problem) string {
	if _, err := parseHTTPS(p.Instance); err == nil {
		return inkan.Printable(p.Instance, 300)
	}
	return "the CA's website"
}

// problemOf returns the CA's problem in err, or nil.
func problemOf(err error) *Problem {
	p, _ := errors.AsType[*Problem](err)
	return p
}

// isProblem reports whether err is a problem of one of the types.
func isProblem(err error, types ...string) bool {
	p := problemOf(err)
	return p != nil && p.is(types...)
}

// notFound reports whether err is the CA's word that the thing asked for does
// not exist.
func notFound(err error) bool {
	p := problemOf(err)
	return p != nil && (p.Status == http.StatusNotFound || p.Status == http.StatusGone)
}

// untrusted reports whether err says that the server's certificate is not to
// be trusted.
func untrusted(err error) bool {
	_, ok := errors.AsType[*tls.CertificateVerificationError](err)
	if !ok {
		_, ok = errors.AsType[x509.UnknownAuthorityError](err)
	}
	return ok
}

// algorithms returns the names of the EAB algorithms for messages.
func algorithms() string {
	return string(jose.HS256) + ", " + string(jose.HS384) + ", " + string(jose.HS512)
}

// marked is an error that errors.Is also takes for another one, such as
// [inkan.ErrOurSide]; its text stays the same.
type marked struct {
	error
	as error
}

func (m marked) Unwrap() error { return m.error }

// Is implements the interface of errors.Is.
func (m marked) Is(target error) bool { return target == m.as }
