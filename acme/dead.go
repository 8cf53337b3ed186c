package acme

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/inkan-acme/inkan"
)

// dead explains an invalid order: it asks the authorizations for the reasons
// (reliability A06).
func (o *order) dead(ctx context.Context, obj *orderObject) error {
	authzs, err := o.readAuthzs(ctx, obj.Authorizations)
	if err != nil {
		o.c.log.DebugContext(ctx, "the reasons of the CA were not read", "name", o.rec.Name, "error", err)
		authzs = nil
	}
	return o.deadFor(ctx, obj, authzs)
}

// deadFor returns the error of an order that can no longer be completed, with
// what the CA said of every name that failed, and settles its limits.
func (o *order) deadFor(ctx context.Context, obj *orderObject, authzs []*authzObject) error {
	var reasons, hints []string
	var failed []inkan.Identifier
	for _, a := range authzs {
		if a == nil || !a.failed() {
			continue
		}
		id, _ := a.name(o.ids)
		reason, p := a.reason(id)
		reasons = append(reasons, reason)
		if p != nil {
			if h := validationHint(p, a.failedType()); h != "" && !slices.Contains(hints, h) {
				hints = append(hints, h)
			}
		}
		if a.Status == statusInvalid {
			failed = append(failed, inkan.Identifier{Type: id.Type, Value: id.Base()})
		}
	}
	slices.Sort(reasons)
	text := fmt.Sprintf("the order is %s", obj.Status)
	if len(reasons) > 0 {
		text = fmt.Sprintf("validation failed for %d of %d names: %s", len(reasons), len(o.ids), strings.Join(reasons, "; "))
	}
	if p := parseProblem(obj.Error); p != nil && !strings.Contains(text, p.Error()) {
		text += ": " + p.Error()
		if _, h := o.c.judge(p); h != "" && len(reasons) == 0 {
			hints = append(hints, h)
		}
	}
	settle, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	o.countFailures(settle, failed)
	o.giveBack(settle)
	return inkan.Errorf(inkan.Rejected, o.c.op("order"), "%s: %w", inkan.Printable(text, 8*maxShown), &inkan.RefusedError{Refusals: o.refusals(authzs), Err: inkan.ErrOrderDead}).
		WithHint("%s", strings.Join(hints, "\n"))
}

// reason says why the authorization is not valid; the problem may be nil.
func (a *authzObject) reason(id inkan.Identifier) (string, *Problem) {
	for _, ch := range a.Challenges {
		if p := parseProblem(ch.Error); p != nil {
			return fmt.Sprintf("%s (%s): %s", inkan.Printable(id.Value, 260), inkan.Printable(ch.Type, 40), p.Error()), p
		}
	}
	return fmt.Sprintf("%s: the authorization is %s", inkan.Printable(id.Value, 260), inkan.Printable(a.Status, 40)), nil
}

// failedType returns the type of the challenge that failed.
func (a *authzObject) failedType() string {
	for _, ch := range a.Challenges {
		if ch.Status == statusInvalid || parseProblem(ch.Error) != nil {
			return ch.Type
		}
	}
	return ""
}

// validationHint says what to do about a failed validation.
func validationHint(p *Problem, challenge string) string {
	switch {
	case p.is(caaProblem):
		return "allow this CA in the CAA records of the name"
	case p.is(dnsProblem):
		return "check that the name resolves for everybody on the internet, and that its DNSSEC is in order"
	case p.is(connectionProblem) && challenge == inkan.HTTP01:
		return "the CA must reach port 80 of every address that the name has (A and AAAA): check DNS, firewall and that the server runs"
	case p.is(connectionProblem, tlsProblem) && challenge == inkan.TLSALPN01:
		return "the CA must reach port 443 of every address that the name has (A and AAAA), and nothing in front may end its TLS"
	case p.is(unauthorized, incorrectResponse) && challenge == inkan.HTTP01:
		return "another server or another directory answered: check that the name points here and that /.well-known/acme-challenge/ is served from the webroot"
	case p.is(unauthorized, incorrectResponse) && challenge == inkan.DNS01:
		return "the CA saw another TXT value: check that the zone is served by the DNS host that was changed"
	}
	return ""
}
