package acme

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/inkan-acme/inkan"
)

type newOrderPayload struct {
	Identifiers []inkan.Identifier `json:"identifiers"`
	NotAfter    string             `json:"notAfter,omitempty"`
	Replaces    string             `json:"replaces,omitempty"` // RFC 9773 section 5
	Profile     string             `json:"profile,omitempty"`  // draft-ietf-acme-profiles
}

// create makes a new order and journals its URL. `replaces` and a preferred
// profile are hints: when the CA refuses the order, each is left out once.
func (o *order) create(ctx context.Context) (*orderObject, error) {
	o.progress("ordering")
	o.c.nonces.prefetch(ctx, 1)
	payload := newOrderPayload{Identifiers: o.ids}
	var err error
	if payload.Profile, err = o.profile(ctx); err != nil {
		return nil, err
	}
	if o.r.Request.Lifetime > 0 {
		payload.NotAfter = o.c.caNow().Add(o.r.Request.Lifetime).UTC().Truncate(time.Second).Format(time.RFC3339)
	}
	if o.r.Replaces != nil && o.dir.RenewalInfo != "" && !o.second {
		if payload.Replaces, err = CertID(o.r.Replaces); err != nil {
			o.c.log.DebugContext(ctx, "the order goes without replaces", "name", o.rec.Name, "error", err)
		}
	}
	for {
		obj, err := o.send(ctx, payload)
		switch {
		case err == nil:
			return obj, nil
		case payload.Replaces != "" && aboutOrder(err):
			// alreadyReplaced, another account's certificate, a CA that was
			// reset: whatever it is, the certificate matters more (A14, A15).
			o.c.log.DebugContext(ctx, "the order is tried again without replaces", "name", o.rec.Name, "error", err)
			payload.Replaces = ""
		case payload.Profile != "" && isProblem(err, invalidProfile):
			// The directory on record is old (A23).
			fresh, readErr := o.c.readDirectory(ctx)
			if o.r.Request.RequireProfile && readErr == nil {
				return nil, profileMissing(o.c.op("new order"), payload.Profile, fresh, err)
			}
			if o.r.Request.RequireProfile {
				return nil, err
			}
			payload.Profile = ""
		case payload.NotAfter != "" && isProblem(err, malformed):
			return nil, inkan.Errorf(inkan.Operator, o.c.op("new order"), "it does not accept the requested lifetime (notAfter %s): %w", payload.NotAfter, err).
				WithHint("leave the lifetime to the CA, or choose a profile with the lifetime you want")
		default:
			return nil, err
		}
	}
}

// createAgain is create after an order that was not ours. The journal forgets
// that order and the tokens it cost: the next one takes its own, once.
func (o *order) createAgain(ctx context.Context) (*orderObject, error) {
	if o.second {
		return nil, inkan.Errorf(inkan.Temporary, o.c.op("new order"), "it answered twice with a finished order for another key")
	}
	o.second = true
	err := o.journal(ctx, func(r *inkan.OrderRecord) {
		r.OrderURL, r.Expires, r.Replaces, r.Tokens = "", time.Time{}, "", nil
	})
	if err != nil {
		return nil, err
	}
	o.url, o.replaces, o.rec.Tokens = "", "", nil
	return o.create(ctx)
}

// aboutOrder reports whether err is a refusal of this very order, not of the
// account, the nonce or the rate.
func aboutOrder(err error) bool {
	p := problemOf(err)
	if p == nil || inkan.KindOf(err) == inkan.RateLimited || p.Status == http.StatusServiceUnavailable ||
		p.is(badNonce, accountDoesNotExist, userActionRequired, externalAccountRequired) {
		return false
	}
	return p.Status < 500 || p.Type != "" // without a type it is a broken gateway, not the CA's word
}

// send makes one newOrder request, within the limits, and journals the answer.
func (o *order) send(ctx context.Context, payload newOrderPayload) (*orderObject, error) {
	op := o.c.op("new order")
	if err := o.checkFailures(ctx, o.ids, payload.Replaces != ""); err != nil {
		return nil, err
	}
	taken, err := o.take(ctx, o.orderBuckets(payload.Replaces != ""))
	if err != nil {
		return nil, err
	}
	if n := len(o.ids); n > 1 {
		o.c.nonces.prefetch(ctx, n) // this request brings one back, so n for the authorizations
	}
	resp, err := o.c.postDirectory(ctx, epNewOrder, op, func(d *directory) string { return d.NewOrder }, o.acct.identity,
		func(string) ([]byte, error) { return mustJSON(payload), nil })
	if err != nil {
		o.orderRefused(ctx, err, taken)
		if p := problemOf(err); p != nil {
			if refused := o.refusalsIn(p); len(refused) > 0 {
				return nil, &inkan.RefusedError{Refusals: refused, Err: err}
			}
		}
		return nil, err
	}
	obj, err := o.parse(op, resp)
	if err != nil {
		return nil, err
	}
	url := resp.header.Get("Location")
	if err := o.c.hosts.check(url); err != nil {
		return nil, badAnswer(op, fmt.Errorf("the answer's Location: %w", err))
	}
	if len(obj.Identifiers) > 0 && !sameSet(obj.Identifiers, o.ids) {
		return nil, inkan.Errorf(inkan.Bug, op, "the order is for other names than were asked for")
	}
	o.url, o.replaces, o.finalized = url, payload.Replaces, false
	return obj, o.journal(ctx, func(r *inkan.OrderRecord) {
		r.OrderURL, r.Expires, r.Replaces, r.Finalizing = url, obj.expires(), payload.Replaces, false
	})
}

// profile returns the profile to ask for: the preferred one if the CA offers
// it. A required one that is not offered is an error before anything is
// ordered (reliability A23).
func (o *order) profile(ctx context.Context) (string, error) {
	name := o.r.Request.Profile
	if name == "" || o.dir.offers(name) {
		return name, nil
	}
	if !o.r.Request.RequireProfile {
		return "", nil
	}
	// The directory on record may be old.
	fresh, err := o.c.readDirectory(ctx)
	if err != nil {
		return "", err
	}
	if o.dir = fresh; fresh.offers(name) {
		return name, nil
	}
	return "", profileMissing(o.c.op("new order"), name, fresh, errNotOffered)
}

// errNotOffered is why no order was sent for a required profile.
var errNotOffered = errors.New("the directory does not list it")

// profileMissing is the error of a required profile that the CA does not have.
func profileMissing(op, name string, d *directory, why error) error {
	return inkan.Errorf(inkan.Rejected, op, "the required profile %s is not offered: %w", inkan.Printable(name, 80), why).
		WithHint("offered are: %s", d.profiles())
}

// renewsSameSet reports whether the order replaces a certificate for exactly
// the same names.
func (o *order) renewsSameSet() bool {
	return o.r.Replaces != nil && sameSet(leafIdentifiers(o.r.Replaces), o.ids)
}

// leafIdentifiers returns the identifiers of a certificate.
func leafIdentifiers(leaf *x509.Certificate) []inkan.Identifier {
	var ids []inkan.Identifier
	for _, name := range leaf.DNSNames {
		ids = append(ids, inkan.Identifier{Type: inkan.DNS, Value: name})
	}
	for _, ip := range leaf.IPAddresses {
		ids = append(ids, inkan.Identifier{Type: inkan.IP, Value: ip.String()})
	}
	return ids
}
