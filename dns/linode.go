package dns

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
)

// LinodeConfig holds the options of [Linode].
type LinodeConfig struct {
	_ struct{} `help:"writes TXT records at Linode (Akamai)"`

	Token    plug.Secret `json:"token" help:"a personal access token with Domains Read/Write" required:"true"`
	Endpoint string      `json:"endpoint" help:"where the API is" default:"https://api.linode.com/v4"`
}

// Linode is the DNS Manager of Linode. Each record stands by itself, so several
// processes may work at one name. Linode rounds TTLs to its own steps, the
// least of which is 300 seconds, and publishes changes every few minutes.
//
// Reference: https://techdocs.akamai.com/linode-api/reference/get-domain-records
// (2026-11).
func Linode(env plug.Env, c LinodeConfig) (inkan.DNSProvider, error) {
	plug.Defaults(&c)
	r, err := newREST(env, "Linode", "the token needs the scope domains:read_write, and a restricted user a grant for the domain", c.Endpoint, false, c.Token)
	if err != nil {
		return nil, err
	}
	r.sign = bearer(c.Token)
	return &records{host: linode{r}, name: r.host}, nil
}

type linode struct{ *rest }

type linodeRecord struct {
	ID     int64  `json:"id,omitempty"`
	Type   string `json:"type"`
	Name   string `json:"name"` // relative, "" for the apex
	Target string `json:"target"`
	TTL    int    `json:"ttl_sec"`
}

func (h linode) find(ctx context.Context, z zone) (zone, error) {
	filter, err := json.Marshal(map[string]string{"domain": z.name})
	if err != nil {
		return z, err
	}
	var out struct {
		Data []struct {
			ID     int64
			Domain string
		}
	}
	_, err = h.do(ctx, call{method: http.MethodGet, path: []string{"domains"}, header: http.Header{"X-Filter": {string(filter)}}, out: &out})
	if err != nil {
		return z, err
	}
	for _, d := range out.Data {
		if strings.EqualFold(d.Domain, z.name) {
			z.id = strconv.FormatInt(d.ID, 10)
			return z, nil
		}
	}
	return z, h.noZone(z.name)
}

func (h linode) list(ctx context.Context, z zone, _ []string) (there []record, several bool, err error) {
	several, err = h.pages(func(page int) (bool, error) {
		var out struct {
			Data  []linodeRecord
			Pages int
		}
		query := url.Values{"page_size": {"500"}, "page": {strconv.Itoa(page)}}
		_, err := h.do(ctx, call{method: http.MethodGet, path: h.path(z), query: query, out: &out})
		for _, r := range out.Data {
			if r.Type == "TXT" {
				there = append(there, record{id: strconv.FormatInt(r.ID, 10), name: z.absolute(r.Name), value: unquote(r.Target)})
			}
		}
		return page < out.Pages, err
	})
	return there, several, err
}

func (h linode) change(ctx context.Context, z zone, create []inkan.TXT, remove []record) error {
	return oneByOne(ctx, create, remove, func(ctx context.Context, t inkan.TXT) error {
		in := linodeRecord{Type: "TXT", Name: z.relative(t.Name, ""), Target: t.Value, TTL: max(t.TTL, 300)}
		_, err := h.do(ctx, call{method: http.MethodPost, path: h.path(z), in: in})
		return err
	}, func(ctx context.Context, r record) error {
		_, err := h.do(ctx, call{method: http.MethodDelete, path: append(h.path(z), r.id)})
		return err
	})
}

func (linode) path(z zone) []string { return []string{"domains", z.id, "records"} }
