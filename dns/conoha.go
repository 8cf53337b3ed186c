package dns

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
)

// ConoHaConfig holds the options of [ConoHa].
type ConoHaConfig struct {
	_ struct{} `help:"writes TXT records at ConoHa VPS (version 3)"`

	Tenant   string      `json:"tenant" help:"the id of the tenant" required:"true"`
	User     string      `json:"user" help:"the id of an API user with the role to change DNS" required:"true"`
	Password plug.Secret `json:"password" help:"the API user's password" required:"true"`
	Endpoint string      `json:"endpoint" help:"where the DNS API is" default:"https://dns-service.c3j1.conoha.io"`
	Identity string      `json:"identity" help:"where tokens come from" default:"https://identity.c3j1.conoha.io"`
}

// conoHaLife is how long a token lasts.
const conoHaLife = 24 * time.Hour

// ConoHa is the DNS of ConoHa VPS, version 3. Each record stands by itself, so
// several processes may work at one name.
//
// Reference: https://doc.conoha.jp/api-vps3/dnsaas-create_record-v3/ and
// https://doc.conoha.jp/api-vps3/identity-post_tokens-v3/ (2026-11).
func ConoHa(env plug.Env, c ConoHaConfig) (inkan.DNSProvider, error) {
	plug.Defaults(&c)
	r, err := newREST(env, "ConoHa", "the API user needs a role that may change DNS", c.Endpoint, false, c.Password)
	if err != nil {
		return nil, err
	}
	login, err := newREST(env, "ConoHa's identity service", "check tenant, user and password", c.Identity, false, c.Password)
	if err != nil {
		return nil, err
	}
	type m = map[string]any
	in := m{"auth": m{
		"identity": m{"methods": []string{"password"}, "password": m{"user": m{"id": c.User, "password": c.Password.Reveal()}}},
		"scope":    m{"project": m{"id": c.Tenant}},
	}}
	r.use(&tokens{now: env.Time, fetch: func(ctx context.Context) (string, time.Duration, error) {
		a, err := login.do(ctx, call{method: http.MethodPost, path: []string{"v3", "auth", "tokens"}, in: in})
		if err != nil {
			return "", 0, err
		}
		token := a.header.Get("X-Subject-Token")
		if token == "" {
			return "", 0, inkan.Errorf(inkan.Temporary, login.host, "its answer has no X-Subject-Token")
		}
		return token, conoHaLife, nil
	}}, "X-Auth-Token", "")
	return &records{host: conoHa{r}, name: r.host}, nil
}

type conoHa struct{ *rest }

type conoHaRecord struct {
	UUID string `json:"uuid,omitempty"`
	Name string `json:"name"` // absolute, ends in a dot
	Type string `json:"type"`
	Data string `json:"data"`
	TTL  int    `json:"ttl,omitempty"`
}

func (h conoHa) find(ctx context.Context, z zone) (zone, error) {
	var out struct {
		Domains []struct{ UUID, Name string }
	}
	if _, err := h.do(ctx, call{method: http.MethodGet, path: []string{"v1", "domains"}, out: &out}); err != nil {
		return z, err
	}
	for _, d := range out.Domains {
		if strings.EqualFold(d.Name, z.name+".") {
			z.id = d.UUID
			return z, nil
		}
	}
	return z, h.noZone(z.name)
}

func (h conoHa) list(ctx context.Context, z zone, _ []string) (there []record, several bool, err error) {
	var out struct{ Records []conoHaRecord }
	if _, err := h.do(ctx, call{method: http.MethodGet, path: h.path(z), out: &out}); err != nil {
		return nil, false, err
	}
	for _, r := range out.Records {
		if r.Type == "TXT" {
			there = append(there, record{id: r.UUID, name: z.absolute(r.Name), value: unquote(r.Data)})
		}
	}
	return there, false, nil
}

func (h conoHa) change(ctx context.Context, z zone, create []inkan.TXT, remove []record) error {
	return oneByOne(ctx, create, remove, func(ctx context.Context, t inkan.TXT) error {
		in := conoHaRecord{Name: t.Name, Type: "TXT", Data: t.Value, TTL: t.TTL}
		_, err := h.do(ctx, call{method: http.MethodPost, path: h.path(z), in: in})
		return err
	}, func(ctx context.Context, r record) error {
		_, err := h.do(ctx, call{method: http.MethodDelete, path: append(h.path(z), r.id)})
		return err
	})
}

func (conoHa) path(z zone) []string { return []string{"v1", "domains", z.id, "records"} }
