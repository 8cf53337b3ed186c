package dns

import (
	"context"
	"crypto/sha1" // the API's signature is made with it
	"encoding/hex"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
)

// OVHConfig holds the options of [OVH].
type OVHConfig struct {
	_ struct{} `help:"writes TXT records at OVHcloud"`

	ApplicationKey    string      `json:"application_key" help:"the application's key"`
	ApplicationSecret plug.Secret `json:"application_secret" help:"the application's secret"`
	ConsumerKey       plug.Secret `json:"consumer_key" help:"the consumer key that allows the application to change this zone"`
	ClientID          string      `json:"client_id" help:"the id of an OAuth2 service account, in place of the three keys"`
	ClientSecret      plug.Secret `json:"client_secret" help:"the secret of the OAuth2 service account"`
	Endpoint          string      `json:"endpoint" help:"where the API is: eu, ca and us have their own" default:"https://eu.api.ovh.com/1.0"`
	Login             string      `json:"login" help:"where OAuth2 tokens come from" default:"https://www.ovh.com/auth/oauth2/token"`
}

// Check refuses what the tags cannot.
func (c *OVHConfig) Check() error {
	keys := c.ApplicationKey != "" && !c.ApplicationSecret.IsZero() && !c.ConsumerKey.IsZero()
	oauth := c.ClientID != "" && !c.ClientSecret.IsZero()
	if keys == oauth {
		return inkan.Errorf(inkan.Operator, "", "give application_key, application_secret and consumer_key, or client_id and client_secret")
	}
	return nil
}

// OVH is the DNS host OVHcloud. Each record stands by itself, so several
// processes may work at one name. A change is published by a refresh of the
// zone, one for each call.
//
// Reference: https://eu.api.ovh.com/console/?section=%2Fdomain and
// https://help.ovhcloud.com/csm/en-api-getting-started-ovhcloud-api (2026-11).
func OVH(env plug.Env, c OVHConfig) (inkan.DNSProvider, error) {
	plug.Defaults(&c)
	if err := c.Check(); err != nil {
		return nil, err
	}
	r, err := newREST(env, "OVHcloud", "the credentials need GET and POST /domain/zone/ZONE/*, and DELETE /domain/zone/ZONE/record/*", c.Endpoint, false, c.ApplicationSecret, c.ConsumerKey, c.ClientSecret)
	if err != nil {
		return nil, err
	}
	if c.ClientID == "" {
		s := &ovhSigner{rest: r, config: c}
		r.sign = s.sign
		return &records{host: ovh{r}, name: r.host}, nil
	}
	login, err := newREST(env, "OVHcloud's login", "check client_id and client_secret", c.Login, false, c.ClientSecret)
	if err != nil {
		return nil, err
	}
	r.use(&tokens{now: env.Time, fetch: func(ctx context.Context) (string, time.Duration, error) {
		var out accessToken
		_, err := login.do(ctx, call{method: http.MethodPost, out: &out, form: url.Values{
			"grant_type": {"client_credentials"}, "client_id": {c.ClientID}, "client_secret": {c.ClientSecret.Reveal()}, "scope": {"all"},
		}})
		return out.AccessToken, out.life(), err
	}}, "Authorization", "Bearer ")
	return &records{host: ovh{r}, name: r.host}, nil
}

// ovhSigner signs requests. The host refuses those whose time is off, so its
// clock is asked for once.
type ovhSigner struct {
	rest   *rest
	config OVHConfig

	mu    sync.Mutex
	known bool
	ahead time.Duration // the host's clock minus ours
}

func (s *ovhSigner) sign(ctx context.Context, req *http.Request, body []byte) error {
	req.Header.Set("X-Ovh-Application", s.config.ApplicationKey)
	if req.URL.Path == s.rest.base.Path+"/auth/time" {
		return nil
	}
	ahead, err := s.drift(ctx)
	if err != nil {
		return err
	}
	at := strconv.FormatInt(s.rest.now().Add(ahead).Unix(), 10)
	consumer := s.config.ConsumerKey.Reveal()
	sum := sha1.Sum([]byte(s.config.ApplicationSecret.Reveal() + "+" + consumer + "+" + req.Method + "+" + req.URL.String() + "+" + string(body) + "+" + at))
	req.Header.Set("X-Ovh-Consumer", consumer)
	req.Header.Set("X-Ovh-Timestamp", at)
	req.Header.Set("X-Ovh-Signature", "$1$"+hex.EncodeToString(sum[:]))
	return nil
}

func (s *ovhSigner) drift(ctx context.Context) (time.Duration, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known {
		return s.ahead, nil
	}
	var at int64
	if _, err := s.rest.do(ctx, call{method: http.MethodGet, path: []string{"auth", "time"}, out: &at}); err != nil {
		return 0, err
	}
	s.ahead, s.known = time.Unix(at, 0).Sub(s.rest.now()), true
	return s.ahead, nil
}

type ovh struct{ *rest }

type ovhRecord struct {
	ID        int64  `json:"id,omitempty"`
	FieldType string `json:"fieldType"`
	SubDomain string `json:"subDomain"` // relative, "" for the apex
	Target    string `json:"target"`
	TTL       int    `json:"ttl,omitempty"`
}

func (h ovh) find(ctx context.Context, z zone) (zone, error) {
	_, err := h.do(ctx, call{method: http.MethodGet, path: h.path(z)})
	if statusOf(err) == http.StatusNotFound {
		return z, h.noZone(z.name)
	}
	return z, err
}

func (h ovh) list(ctx context.Context, z zone, names []string) (there []record, several bool, err error) {
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, name := range names {
		g.Go(func() error {
			var ids []int64
			query := url.Values{"fieldType": {"TXT"}, "subDomain": {z.relative(name, "")}}
			if _, err := h.do(ctx, call{method: http.MethodGet, path: h.path(z, "record"), query: query, out: &ids}); err != nil {
				return err
			}
			for _, id := range ids {
				var r ovhRecord
				_, err := h.do(ctx, call{method: http.MethodGet, path: h.path(z, "record", strconv.FormatInt(id, 10)), out: &r})
				if statusOf(err) == http.StatusNotFound {
					continue // deleted in between
				}
				if err != nil {
					return err
				}
				mu.Lock()
				there = append(there, record{id: strconv.FormatInt(r.ID, 10), name: z.absolute(r.SubDomain), value: unquote(r.Target)})
				mu.Unlock()
			}
			return nil
		})
	}
	err = g.Wait()
	return there, false, err
}

func (h ovh) change(ctx context.Context, z zone, create []inkan.TXT, remove []record) error {
	err := oneByOne(ctx, create, remove, func(ctx context.Context, t inkan.TXT) error {
		in := ovhRecord{FieldType: "TXT", SubDomain: z.relative(t.Name, ""), Target: quote(t.Value), TTL: max(t.TTL, 60)}
		_, err := h.do(ctx, call{method: http.MethodPost, path: h.path(z, "record"), in: in})
		return err
	}, func(ctx context.Context, r record) error {
		_, err := h.do(ctx, call{method: http.MethodDelete, path: h.path(z, "record", r.id)})
		return err
	})
	if err != nil {
		return err
	}
	_, err = h.do(ctx, call{method: http.MethodPost, path: h.path(z, "refresh")})
	return err
}

func (ovh) path(z zone, rest ...string) []string {
	return append([]string{"domain", "zone", z.name}, rest...)
}
