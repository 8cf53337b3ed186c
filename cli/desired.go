package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/config"
	"github.com/inkan-acme/inkan/engine"
)

// What apply does to the records.
const (
	changeCreate   = "create"
	changeTakeOver = "take over"
	changeChange   = "change"
	changeUnmanage = "unmanage"
)

// change is one difference between the configuration file and what is
// recorded.
type change struct {
	Name   string `json:"name"`
	Action string `json:"action"`
	Detail string `json:"detail"`

	request *inkan.CertificateRequest // nil for unmanage
}

// compare finds what apply would change. A record that cannot be read is an
// error of its own; the others are compared all the same.
func (a *app) compare(ctx context.Context, m *engine.Manager, cfg *config.Config) ([]change, error) {
	source, shared, err := a.Source()
	if err != nil {
		return nil, err
	}
	var changes []change
	var failed error
	wanted := map[string]bool{}
	for i := range cfg.Certificates {
		req := &cfg.Certificates[i]
		wanted[req.Name] = true
		rec, err := m.Request(ctx, req.Name)
		c := change{Name: req.Name, request: req}
		switch {
		case errors.Is(err, engine.ErrUnsoundRequest):
			c.Action, c.Detail = changeChange, "what is recorded cannot be followed"
		case errors.Is(err, fs.ErrNotExist):
			c.Action, c.Detail = changeCreate, strings.Join(values(req.Identifiers), " ")
		case err != nil:
			failed = also(failed, failure{name: req.Name, err: err})
			continue
		case rec.Origin != inkan.OriginConfig:
			c.Action, c.Detail = changeTakeOver, "it was recorded by the command line; from now on the configuration file rules it"
			if d := difference(&rec.CertificateRequest, req); d != "" {
				c.Detail += "; " + d
			}
		case rec.Source != source && !rec.Unmanaged:
			c.Action, c.Detail = changeTakeOver, ruledBy(rec.Source)
			if d := difference(&rec.CertificateRequest, req); d != "" {
				c.Detail += "; " + d
			}
		case rec.Unmanaged:
			c.Action, c.Detail = changeTakeOver, "it had left the configuration file and is back"
			if d := difference(&rec.CertificateRequest, req); d != "" {
				c.Detail += "; " + d
			}
		case difference(&rec.CertificateRequest, req) != "":
			c.Action, c.Detail = changeChange, difference(&rec.CertificateRequest, req)
		default:
			continue
		}
		changes = append(changes, c)
	}
	recorded, err := m.Requests(ctx)
	if failed == nil {
		for _, err := range joined(err) {
			if e, ok := errors.AsType[*inkan.Error](err); ok && errors.Is(err, engine.ErrUnsoundRequest) && wanted[strings.TrimPrefix(e.Op, "certificate ")] {
				continue // this apply mends it
			}
			failed = also(failed, failure{err: err})
		}
	}
	for _, rec := range recorded {
		ours := rec.Source == source || rec.Source == "" && !shared
		if rec.Origin == inkan.OriginConfig && ours && !rec.Unmanaged && !wanted[rec.Name] {
			changes = append(changes, change{Name: rec.Name, Action: changeUnmanage,
				Detail: "it left the configuration file; it is kept but no longer renewed (inkan delete removes it)"})
		}
	}
	return changes, failed
}

// ruledBy tells which configuration recorded a request before this one.
func ruledBy(source string) string {
	if source == "" {
		return "an older inkan recorded it; from now on it belongs to this configuration file"
	}
	return "the configuration " + inkan.Printable(source, 100) + " recorded it; from now on this one rules it"
}

// joined takes apart what errors.Join made.
func joined(err error) []error {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		return many.Unwrap()
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

// difference tells how two requests differ, in words; "" if they do not.
func difference(was, is *inkan.CertificateRequest) string {
	var words []string
	differ := func(what string, a, b any) {
		x, errX := json.Marshal(a)
		y, errY := json.Marshal(b)
		if errX == nil && errY == nil && (bytes.Equal(x, y) || empty(x) && empty(y)) {
			return
		}
		words = append(words, what)
	}
	var names []string
	for _, id := range missing(is.Identifiers, was.Identifiers) {
		names = append(names, "+"+id)
	}
	for _, id := range missing(was.Identifiers, is.Identifiers) {
		names = append(names, "-"+id)
	}
	if len(names) > 0 {
		words = append(words, "names "+strings.Join(names, " "))
	} else {
		differ("order of the names", was.Identifiers, is.Identifiers)
	}
	differ(fmt.Sprintf("CA %s instead of %s", strings.Join(is.CAs, ", "), strings.Join(was.CAs, ", ")), was.CAs, is.CAs)
	differ("account "+is.Account, was.Account, is.Account)
	differ("key type "+joinWords(is.KeyTypes), was.KeyTypes, is.KeyTypes)
	differ("key policy", policy(was.Key), policy(is.Key))
	differ("profile", []any{was.Profile, was.RequireProfile}, []any{is.Profile, is.RequireProfile})
	differ("lifetime", was.Lifetime, is.Lifetime)
	differ("certificate signing request", was.CSR, is.CSR)
	differ("preferred chain", was.PreferredChain, is.PreferredChain)
	differ("names the CA refuses", was.AllowSubset, is.AllowSubset)
	differ("validation", was.Validations, is.Validations)
	differ("targets "+targetsOf(is), was.Targets, is.Targets)
	return strings.Join(words, ", ")
}

// empty reports whether JSON is a list of nothing: what was recorded as no list
// is read back as null.
func empty(data []byte) bool { return string(data) == "null" || string(data) == "[]" }

func policy(k inkan.KeyPolicy) inkan.KeyPolicy {
	if k.Mode == "" {
		k.Mode = inkan.KeyNew
	}
	return k
}

func targetsOf(r *inkan.CertificateRequest) string {
	if len(r.Targets) == 0 {
		return "none"
	}
	return strings.Join(r.Targets, " ")
}

// asDesired returns what would be observed once c was recorded: for the plan.
func (a *app) asDesired(ctx context.Context, m *engine.Manager, c change) (*engine.Observed, error) {
	o, err := m.Observe(ctx, c.Name)
	if errors.Is(err, fs.ErrNotExist) {
		o, err = &engine.Observed{Name: c.Name}, nil
	}
	if err != nil {
		return nil, err
	}
	next := inkan.RequestRecord{Origin: inkan.OriginConfig}
	if c.request == nil {
		next = *o.Request
		next.Unmanaged = true
	} else {
		next.CertificateRequest = *c.request
	}
	had := o.Targets
	o.Request, o.RequestErr, o.Targets = &next, nil, nil
	for _, name := range next.Targets {
		if i := slices.IndexFunc(had, func(t engine.ObservedTarget) bool { return t.Name == name }); i >= 0 {
			o.Targets = append(o.Targets, had[i])
			continue
		}
		t := engine.ObservedTarget{Name: name}
		switch target, err := a.Target(ctx, name); {
		case err == nil:
			t.Here, t.Options = true, target.Options
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
		o.Targets = append(o.Targets, t)
	}
	return o, nil
}
