package dns

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
)

// AzureConfig holds the options of [Azure].
type AzureConfig struct {
	_ struct{} `help:"writes TXT records at Azure DNS"`

	Subscription  string      `json:"subscription" help:"the id of the subscription that the zone is in" required:"true"`
	ResourceGroup string      `json:"resource_group" help:"the resource group that the zone is in" required:"true"`
	Tenant        string      `json:"tenant" help:"the id of the directory that the application is in"`
	ClientID      string      `json:"client_id" help:"the id of the application, or of a user-assigned managed identity"`
	ClientSecret  plug.Secret `json:"client_secret" help:"a secret of the application; without it the managed identity of the machine is used"`
	Endpoint      string      `json:"endpoint" help:"where the API is; the Azure clouds of governments and China have their own" default:"https://management.azure.com"`
	Login         string      `json:"login" help:"where tokens come from" default:"https://login.microsoftonline.com"`
	Metadata      string      `json:"metadata" help:"where the metadata service is, for a managed identity" default:"http://169.254.169.254"`
}

// Check refuses what the tags cannot.
func (c *AzureConfig) Check() error {
	if !c.ClientSecret.IsZero() && (c.Tenant == "" || c.ClientID == "") {
		return inkan.Errorf(inkan.Operator, "", "client_secret needs tenant and client_id")
	}
	return nil
}

// Azure is Azure DNS. An RRset is written only if its ETag is still the one
// that was read: a compare-and-swap, so several processes may work at one name.
//
// Reference: https://learn.microsoft.com/en-us/rest/api/dns/record-sets/create-or-update
// (api-version 2018-05-01) and
// https://learn.microsoft.com/en-us/entra/identity/managed-identities-azure-resources/how-to-use-vm-token
// (2026-11).
func Azure(env plug.Env, c AzureConfig) (inkan.DNSProvider, error) {
	plug.Defaults(&c)
	if err := c.Check(); err != nil {
		return nil, err
	}
	r, err := newREST(env, "Azure DNS", "the identity needs the role DNS Zone Contributor, or Microsoft.Network/dnsZones/TXT/read, write and delete, for this zone", c.Endpoint, false, c.ClientSecret)
	if err != nil {
		return nil, err
	}
	fetch, err := azureLogin(env, c)
	if err != nil {
		return nil, err
	}
	r.use(&tokens{now: env.Time, fetch: fetch}, "Authorization", "Bearer ")
	return &rrsets{host: azure{r, c.Subscription, c.ResourceGroup}, name: r.host, ttl: 60, min: 1}, nil
}

// azureLogin returns where access tokens come from: an application's secret, or
// the managed identity.
func azureLogin(env plug.Env, c AzureConfig) (func(context.Context) (string, time.Duration, error), error) {
	if c.ClientSecret.IsZero() {
		// The address is link-local: nothing leaves the machine.
		m, err := newREST(env, "Azure's metadata service", "give this machine a managed identity, or set tenant, client_id and client_secret", c.Metadata, true)
		if err != nil {
			return nil, err
		}
		m.sign = header("Metadata", "", plug.NewSecret("true"))
		query := url.Values{"api-version": {"2018-02-01"}, "resource": {c.Endpoint + "/"}}
		if c.ClientID != "" {
			query.Set("client_id", c.ClientID)
		}
		return func(ctx context.Context) (string, time.Duration, error) {
			var out accessToken
			_, err := m.do(ctx, call{method: http.MethodGet, path: []string{"metadata", "identity", "oauth2", "token"}, query: query, out: &out})
			return out.AccessToken, out.life(), err
		}, nil
	}
	login, err := newREST(env, "Azure's login", "the application's secret may have expired", c.Login, false, c.ClientSecret)
	if err != nil {
		return nil, err
	}
	login.refine = func(a answer) (inkan.Kind, bool) { return inkan.Operator, a.status == http.StatusBadRequest }
	return func(ctx context.Context) (string, time.Duration, error) {
		var out accessToken
		_, err := login.do(ctx, call{method: http.MethodPost, path: []string{c.Tenant, "oauth2", "v2.0", "token"}, out: &out, form: url.Values{
			"grant_type": {"client_credentials"}, "client_id": {c.ClientID}, "client_secret": {c.ClientSecret.Reveal()}, "scope": {c.Endpoint + "/.default"},
		}})
		return out.AccessToken, out.life(), err
	}, nil
}

type azure struct {
	*rest
	subscription, group string
}

type azureSet struct {
	ETag       string `json:"etag,omitempty"`
	Properties struct {
		TTL        int           `json:"TTL"`
		TXTRecords []azureRecord `json:"TXTRecords"`
	} `json:"properties"`
}

type azureRecord struct {
	Value []string `json:"value"` // character-strings of at most 255 bytes
}

// find asks for nothing: the zone is its name, and reading fails without it.
func (h azure) find(_ context.Context, z zone) (zone, error) { return z, nil }

func (h azure) read(ctx context.Context, z zone, names []string) ([]rrset, error) {
	return readEach(ctx, names, func(ctx context.Context, name string) (rrset, error) {
		var out azureSet
		_, err := h.do(ctx, h.call(http.MethodGet, z, name, nil, &out))
		s := rrset{name: name, ttl: out.Properties.TTL, rev: out.ETag}
		if r, ok := errors.AsType[*refusal](err); ok && r.status == http.StatusNotFound {
			if strings.Contains(string(r.body), "ResourceNotFound") || strings.Contains(string(r.body), "ResourceGroupNotFound") {
				return s, h.noZone(z.name)
			}
			return s, nil // only the RRset is not there
		}
		for _, t := range out.Properties.TXTRecords {
			s.values = append(s.values, quoteAll(t.Value))
		}
		return s, err
	})
}

func (h azure) replace(ctx context.Context, z zone, was, will []rrset) error {
	return writeEach(ctx, was, will, func(ctx context.Context, was, s rrset) error {
		var in azureSet
		in.Properties.TTL = s.ttl
		for _, v := range s.values {
			pieces, _ := unquoteAll(v)
			in.Properties.TXTRecords = append(in.Properties.TXTRecords, azureRecord{pieces})
		}
		c := h.call(http.MethodPut, z, s.name, in, nil)
		if len(s.values) == 0 {
			c = h.call(http.MethodDelete, z, s.name, nil, nil)
		}
		if was.rev == "" {
			c.header = http.Header{"If-None-Match": {"*"}}
		} else {
			c.header = http.Header{"If-Match": {was.rev}}
		}
		_, err := h.do(ctx, c)
		if s := statusOf(err); s == http.StatusPreconditionFailed || s == http.StatusConflict {
			return errConflict
		}
		return err
	})
}

func (h azure) call(method string, z zone, name string, in, out any) call {
	return call{method: method, in: in, out: out, query: url.Values{"api-version": {"2018-05-01"}}, path: []string{
		"subscriptions", h.subscription, "resourceGroups", h.group, "providers", "Microsoft.Network", "dnsZones", z.name, "TXT", z.relative(name, "@"),
	}}
}
