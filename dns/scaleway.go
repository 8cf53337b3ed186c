package dns

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
)

// ScalewayConfig holds the options of [Scaleway].
type ScalewayConfig struct {
	_ struct{} `help:"writes TXT records at Scaleway"`

	SecretKey plug.Secret `json:"secret_key" help:"the secret key of an application with the permission set DomainsDNSFullAccess in the zone's project" required:"true"`
	Endpoint  string      `json:"endpoint" help:"where the API is" default:"https://api.scaleway.com"`
}

// Scaleway is Scaleway Domains and DNS. Each record stands by itself, so
// several processes may work at one name; one call is one change of the zone.
// The least TTL is 60 seconds.
//
// Reference: https://www.scaleway.com/en/developers/api/domains-and-dns/
// (v2beta1, 2026-11).
func Scaleway(env plug.Env, c ScalewayConfig) (inkan.DNSProvider, error) {
	plug.Defaults(&c)
	r, err := newREST(env, "Scaleway", "the key needs the permission set DomainsDNSFullAccess in the zone's project", c.Endpoint, false, c.SecretKey)
	if err != nil {
		return nil, err
	}
	r.sign = header("X-Auth-Token", "", c.SecretKey)
	return &records{host: scaleway{r}, name: r.host}, nil
}

type scaleway struct{ *rest }

type scalewayRecord struct {
	ID   string `json:"id,omitempty"`
	Name string `json:"name"` // relative, "" for the apex
	Type string `json:"type"`
	Data string `json:"data"`
	TTL  int    `json:"ttl"`
}

// find asks for nothing: the zone is its name, and the listing fails without it.
func (h scaleway) find(_ context.Context, z zone) (zone, error) { return z, nil }

func (h scaleway) list(ctx context.Context, z zone, names []string) ([]record, bool, error) {
	return byName(ctx, names, func(ctx context.Context, name string) ([]record, bool, error) { return h.at(ctx, z, name) })
}

// at lists the records at a name, or for "" all.
func (h scaleway) at(ctx context.Context, z zone, name string) (there []record, several bool, err error) {
	query := url.Values{"type": {"TXT"}, "page_size": {"100"}}
	if name != "" {
		query.Set("name", z.relative(name, ""))
	}
	seen := 0
	several, err = h.pages(func(page int) (bool, error) {
		var out struct {
			Total   int `json:"total_count"`
			Records []scalewayRecord
		}
		query.Set("page", strconv.Itoa(page))
		_, err := h.do(ctx, call{method: http.MethodGet, path: h.path(z), query: query, out: &out})
		if statusOf(err) == http.StatusNotFound {
			return false, h.noZone(z.name)
		}
		for _, r := range out.Records {
			there = append(there, record{id: r.ID, name: z.absolute(r.Name), value: unquote(r.Data)})
		}
		seen += len(out.Records)
		return seen < out.Total && len(out.Records) > 0, err
	})
	return there, several, err
}

func (h scaleway) change(ctx context.Context, z zone, create []inkan.TXT, remove []record) error {
	type add struct {
		Records []scalewayRecord `json:"records"`
	}
	type del struct {
		ID string `json:"id"`
	}
	type change struct {
		Add    *add `json:"add,omitempty"`
		Delete *del `json:"delete,omitempty"`
	}
	var in struct {
		Changes   []change `json:"changes"`
		ReturnAll bool     `json:"return_all_records"`
		NoNewZone bool     `json:"disallow_new_zone_creation"` // a wrong name must not make a zone
	}
	in.NoNewZone = true
	for _, r := range remove {
		in.Changes = append(in.Changes, change{Delete: &del{r.id}})
	}
	var adds []scalewayRecord
	for _, t := range create {
		adds = append(adds, scalewayRecord{Name: z.relative(t.Name, ""), Type: "TXT", Data: quote(t.Value), TTL: max(t.TTL, 60)})
	}
	if adds != nil {
		in.Changes = append(in.Changes, change{Add: &add{adds}})
	}
	_, err := h.do(ctx, call{method: http.MethodPatch, path: h.path(z), in: in})
	if statusOf(err) == http.StatusNotFound && len(remove) > 0 {
		return errConflict // one is gone
	}
	return err
}

func (scaleway) path(z zone) []string {
	return []string{"domain", "v2beta1", "dns-zones", z.name, "records"}
}
