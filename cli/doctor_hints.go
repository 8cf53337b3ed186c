package cli

import (
	"context"
	"errors"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/doctor"
	"github.com/inkan-acme/inkan/engine"
)

// quickLook bounds what is added to the failures of one run.
const quickLook = 3 * time.Second

// withFindings adds to the error of a refused order what a quick look at the
// refused names finds in the DNS. It looks only after a failure, so that success
// is never slower, and only for public CAs, which see the same DNS as this
// machine. It looks until ctx ends. If it finds nothing and the error has no
// hint, the hint is to run inkan doctor.
func (a *app) withFindings(ctx context.Context, m *engine.Manager, name string, err error) (found error) {
	refused, ok := errors.AsType[*inkan.RefusedError](err)
	if !ok || ctx.Err() != nil {
		return err
	}
	defer func() {
		if len(inkan.HintsOf(found)) == 0 {
			found = inkan.Errorf(inkan.KindOf(err), "", "%w", found).WithHint("inkan doctor %s looks for the cause", name)
		}
	}()
	rec, recErr := m.Request(ctx, name)
	if recErr != nil || len(rec.CAs) == 0 {
		return err
	}
	ca, caErr := a.doctorCA(ctx, rec.CAs[0], rec.Account)
	if caErr != nil || !ca.Public {
		return err
	}
	return quickFindings(ctx, &doctor.Doctor{}, ca, &rec.CertificateRequest, refused, err)
}

// quickFindings is withFindings for a CA that is known.
func quickFindings(ctx context.Context, d *doctor.Doctor, ca *doctor.CA, req *inkan.CertificateRequest, refused *inkan.RefusedError, err error) error {
	var ids []inkan.Identifier
	for _, r := range refused.Refusals {
		ids = append(ids, r.Identifier)
	}
	hints := ""
	for _, f := range d.Quick(ctx, ca, req, ids) {
		if hints != "" {
			hints += "\n"
		}
		hints += f.Name + ": " + f.Seen + "; " + f.Do + " (" + f.ID + ")"
	}
	if hints == "" {
		return err
	}
	return inkan.Errorf(inkan.KindOf(err), "", "%w", err).WithHint("%s", hints)
}
