package dns

import (
	"context"
	"net/http"
	"net/url"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
)

// VultrConfig holds the options of [Vultr].
type VultrConfig struct {
	_ struct{} `help:"writes TXT records at Vultr"`

	Key      plug.Secret `json:"key" help:"the API key of a sub-user who may only manage DNS" required:"true"`
	Endpoint string      `json:"endpoint" help:"where the API is" default:"https://api.vultr.com"`
}

// Vultr is the DNS host Vultr. Each record stands by itself, so several
// processes may work at one name. The least TTL is 120 seconds.
//
// Reference: https://www.vultr.com/api/#tag/dns (2026-11).
func Vultr(env plug.Env, c VultrConfig) (inkan.DNSProvider, error) {
	plug.Defaults(&c)
	r, err := newREST(env, "Vultr", "the key's user needs the permission Manage DNS, and its access control must allow this machine's address", c.Endpoint, false, c.Key)
	if err != nil {
		return nil, err
	}
	r.sign = bearer(c.Key)
	return &records{host: vultr{r}, name: r.host}, nil
}

type vultr struct{ *rest }

type vultrRecord struct {
	ID   string `json:"id,omitempty"`
	Type string `json:"type"`
	Name string `json:"name"` // relative, "" for the apex
	Data string `json:"data"` // quoted
	TTL  int    `json:"ttl"`
}

// find asks for nothing: the zone is its name, and the listing fails without it.
func (h vultr) find(_ context.Context, z zone) (zone, error) { return z, nil }

func (h vultr) list(ctx context.Context, z zone, _ []string) (there []record, several bool, err error) {
	query := url.Values{"per_page": {"500"}}
	several, err = h.pages(func(int) (bool, error) {
		var out struct {
			Records []vultrRecord
			Meta    struct{ Links struct{ Next string } }
		}
		_, err := h.do(ctx, call{method: http.MethodGet, path: h.path(z), query: query, out: &out})
		if statusOf(err) == http.StatusNotFound {
			return false, h.noZone(z.name)
		}
		for _, r := range out.Records {
			if r.Type == "TXT" {
				there = append(there, record{id: r.ID, name: z.absolute(r.Name), value: unquote(r.Data)})
			}
		}
		query.Set("cursor", out.Meta.Links.Next)
		return out.Meta.Links.Next != "", err
	})
	return there, several, err
}

func (h vultr) change(ctx context.Context, z zone, create []inkan.TXT, remove []record) error {
	return oneByOne(ctx, create, remove, func(ctx context.Context, t inkan.TXT) error {
		in := vultrRecord{Type: "TXT", Name: z.relative(t.Name, ""), Data: quote(t.Value), TTL: max(t.TTL, 120)}
		_, err := h.do(ctx, call{method: http.MethodPost, path: h.path(z), in: in})
		return err
	}, func(ctx context.Context, r record) error {
		_, err := h.do(ctx, call{method: http.MethodDelete, path: append(h.path(z), r.id)})
		return err
	})
}

func (vultr) path(z zone) []string { return []string{"v2", "domains", z.name, "records"} }
