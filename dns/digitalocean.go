package dns

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
)

// DigitalOceanConfig holds the options of [DigitalOcean].
type DigitalOceanConfig struct {
	_ struct{} `help:"writes TXT records at DigitalOcean"`

	Token    plug.Secret `json:"token" help:"a personal access token with the custom scopes domain:read, domain:create and domain:delete" required:"true"`
	Endpoint string      `json:"endpoint" help:"where the API is" default:"https://api.digitalocean.com"`
}

// DigitalOcean is the DNS host DigitalOcean. Each record stands by itself, so
// several processes may work at one name. The least TTL is 30 seconds.
//
// Reference: https://docs.digitalocean.com/reference/api/reference/domain-records/
// (2026-11).
func DigitalOcean(env plug.Env, c DigitalOceanConfig) (inkan.DNSProvider, error) {
	plug.Defaults(&c)
	r, err := newREST(env, "DigitalOcean", "the token needs the scopes domain:read, domain:create and domain:delete", c.Endpoint, false, c.Token)
	if err != nil {
		return nil, err
	}
	r.sign = bearer(c.Token)
	return &records{host: digitalOcean{r}, name: r.host}, nil
}

type digitalOcean struct{ *rest }

type digitalOceanRecord struct {
	ID   int64  `json:"id,omitempty"`
	Type string `json:"type"`
	Name string `json:"name"` // relative, @ for the apex
	Data string `json:"data"`
	TTL  int    `json:"ttl,omitempty"`
}

// find asks for nothing: the zone is its name, and the listing fails without it.
func (h digitalOcean) find(_ context.Context, z zone) (zone, error) { return z, nil }

func (h digitalOcean) list(ctx context.Context, z zone, names []string) ([]record, bool, error) {
	return byName(ctx, names, func(ctx context.Context, name string) ([]record, bool, error) { return h.at(ctx, z, name) })
}

// at lists the records at a name, or for "" all.
func (h digitalOcean) at(ctx context.Context, z zone, name string) (there []record, several bool, err error) {
	query := url.Values{"type": {"TXT"}, "per_page": {"200"}}
	if name != "" {
		query.Set("name", strings.TrimSuffix(name, "."))
	}
	several, err = h.pages(func(page int) (bool, error) {
		var out struct {
			Records []digitalOceanRecord `json:"domain_records"`
			Links   struct{ Pages struct{ Next string } }
		}
		query.Set("page", strconv.Itoa(page))
		_, err := h.do(ctx, call{method: http.MethodGet, path: h.path(z), query: query, out: &out})
		if statusOf(err) == http.StatusNotFound {
			return false, h.noZone(z.name)
		}
		for _, r := range out.Records {
			if r.Type == "TXT" {
				there = append(there, record{id: strconv.FormatInt(r.ID, 10), name: z.absolute(r.Name), value: unquote(r.Data)})
			}
		}
		return out.Links.Pages.Next != "", err
	})
	return there, several, err
}

func (h digitalOcean) change(ctx context.Context, z zone, create []inkan.TXT, remove []record) error {
	return oneByOne(ctx, create, remove, func(ctx context.Context, t inkan.TXT) error {
		in := digitalOceanRecord{Type: "TXT", Name: z.relative(t.Name, "@"), Data: t.Value, TTL: max(t.TTL, 30)}
		_, err := h.do(ctx, call{method: http.MethodPost, path: h.path(z), in: in})
		return err
	}, func(ctx context.Context, r record) error {
		_, err := h.do(ctx, call{method: http.MethodDelete, path: append(h.path(z), r.id)})
		return err
	})
}

func (digitalOcean) path(z zone) []string { return []string{"v2", "domains", z.name, "records"} }
