package dns

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
)

// PorkbunConfig holds the options of [Porkbun].
type PorkbunConfig struct {
	_ struct{} `help:"writes TXT records at Porkbun"`

	Key      plug.Secret `json:"key" help:"the API key (pk1_...); API access must be on for the domain" required:"true"`
	Secret   plug.Secret `json:"secret" help:"the secret API key (sk1_...)" required:"true"`
	Endpoint string      `json:"endpoint" help:"where the API is" default:"https://api.porkbun.com/api/json/v3"`
}

// Porkbun is the DNS host Porkbun. Each record stands by itself, so several
// processes may work at one name. The least TTL is 600 seconds.
//
// Reference: https://porkbun.com/llms/dns and https://porkbun.com/api/json/v3/spec
// (v3.7, 2026-11).
func Porkbun(env plug.Env, c PorkbunConfig) (inkan.DNSProvider, error) {
	plug.Defaults(&c)
	r, err := newREST(env, "Porkbun", "turn API access on for the domain in its details at Porkbun", c.Endpoint, false, c.Key, c.Secret)
	if err != nil {
		return nil, err
	}
	r.sign = func(_ context.Context, req *http.Request, _ []byte) error {
		req.Header.Set("X-Api-Key", c.Key.Reveal())
		req.Header.Set("X-Secret-Api-Key", c.Secret.Reveal())
		return nil
	}
	r.refine = func(a answer) (inkan.Kind, bool) {
		return inkan.Operator, a.status == http.StatusBadRequest && (invalidDomain(a.body) || strings.Contains(string(a.body), "nvalid API key"))
	}
	return &records{host: porkbun{r}, name: r.host}, nil
}

func invalidDomain(body []byte) bool {
	text := strings.ToLower(string(body))
	return strings.Contains(text, "invalid domain") || strings.Contains(text, "invalid_domain")
}

type porkbun struct{ *rest }

type porkbunRecord struct {
	ID      anyNumber `json:"id"`
	Name    string    `json:"name"` // absolute, without the last dot
	Type    string    `json:"type"`
	Content string    `json:"content"`
}

// post sends a request and looks at the status in the answer's body too.
func (h porkbun) post(ctx context.Context, in, out any, path ...string) error {
	a, err := h.do(ctx, call{method: http.MethodPost, path: append([]string{"dns"}, path...), in: in})
	if err != nil {
		return err
	}
	var verdict struct{ Status, Message string }
	if json.Unmarshal(a.body, &verdict) != nil || verdict.Status != "SUCCESS" {
		return inkan.Errorf(inkan.Rejected, h.host, "it answered %s: %s", inkan.Printable(verdict.Status, 20), h.scrub(verdict.Message))
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(a.body, out); err != nil {
		return inkan.Errorf(inkan.Temporary, h.host, "it answered with what is not the JSON of its reference: %s", inkan.Printable(err.Error(), 200))
	}
	return nil
}

// find asks for nothing: the zone is its name, and the listing fails without it.
func (h porkbun) find(_ context.Context, z zone) (zone, error) { return z, nil }

func (h porkbun) list(ctx context.Context, z zone, names []string) ([]record, bool, error) {
	return byName(ctx, names, func(ctx context.Context, name string) ([]record, bool, error) {
		there, err := h.at(ctx, z, name)
		return there, false, err
	})
}

// at lists the records at a name, or for "" all.
func (h porkbun) at(ctx context.Context, z zone, name string) (there []record, err error) {
	path := []string{"retrieve", z.name}
	if name != "" {
		path = []string{"retrieveByNameType", z.name, "TXT"}
		if sub := z.relative(name, ""); sub != "" {
			path = append(path, sub)
		}
	}
	var out struct{ Records []porkbunRecord }
	if err := h.post(ctx, struct{}{}, &out, path...); err != nil {
		return nil, err
	}
	for _, r := range out.Records {
		if r.Type == "TXT" {
			there = append(there, record{id: r.ID.String(), name: z.absolute(r.Name), value: unquote(r.Content)})
		}
	}
	return there, nil
}

func (h porkbun) change(ctx context.Context, z zone, create []inkan.TXT, remove []record) error {
	return oneByOne(ctx, create, remove, func(ctx context.Context, t inkan.TXT) error {
		ttl := anyNumber(max(t.TTL, 600))
		in := map[string]string{"name": z.relative(t.Name, ""), "type": "TXT", "content": t.Value, "ttl": ttl.String()}
		return h.post(ctx, in, nil, "create", z.name)
	}, func(ctx context.Context, r record) error {
		err := h.post(ctx, struct{}{}, nil, "delete", z.name, r.id)
		if s := statusOf(err); s == http.StatusBadRequest || s == http.StatusNotFound {
			// It does not tell "gone" from other refusals, so look again.
			return h.absent(ctx, z, r, err)
		}
		return err
	})
}

// absent returns nil if a record is gone, else the error of its deletion.
func (h porkbun) absent(ctx context.Context, z zone, r record, failed error) error {
	there, err := h.at(ctx, z, r.name)
	if err != nil {
		return err
	}
	for _, t := range there {
		if t.id == r.id {
			return failed
		}
	}
	return nil
}
