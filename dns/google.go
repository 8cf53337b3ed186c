package dns

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
)

// GoogleConfig holds the options of [Google].
type GoogleConfig struct {
	_ struct{} `help:"writes TXT records at Google Cloud DNS"`

	Project     string      `json:"project" help:"the project that the zone is in; else that of the credentials"`
	Credentials plug.Secret `json:"credentials" help:"the JSON key of a service account; without it the metadata server of the machine gives a token"`
	Zone        string      `json:"zone" help:"the name of the managed zone; else it is looked up, which needs dns.managedZones.list"`
	Endpoint    string      `json:"endpoint" help:"where the API is" default:"https://dns.googleapis.com"`
	Metadata    string      `json:"metadata" help:"where the metadata server is" default:"http://169.254.169.254"`
}

// googleScope is the least OAuth scope that may change records.
const googleScope = "https://www.googleapis.com/auth/ndev.clouddns.readwrite"

// Google is Google Cloud DNS. All records of a call are one change, which names
// what it takes the place of: a compare-and-swap, so several processes may work
// at one name.
//
// Reference: https://cloud.google.com/dns/docs/reference/rest/v1/changes and
// https://developers.google.com/identity/protocols/oauth2/service-account
// (2026-11).
func Google(env plug.Env, c GoogleConfig) (inkan.DNSProvider, error) {
	plug.Defaults(&c)
	r, err := newREST(env, "Google Cloud DNS", "the service account needs dns.changes.create, dns.resourceRecordSets.list, create, update and delete, and dns.managedZones.list unless the option zone is set", c.Endpoint, false, c.Credentials)
	if err != nil {
		return nil, err
	}
	r.refine = func(a answer) (inkan.Kind, bool) {
		return inkan.RateLimited, a.status == http.StatusForbidden && strings.Contains(string(a.body), "ateLimitExceeded")
	}
	h := &google{rest: r, project: c.Project, zone: c.Zone}
	if c.Credentials.IsZero() {
		err = h.fromMetadata(env, c)
	} else {
		err = h.fromKey(env, c)
	}
	if err != nil {
		return nil, err
	}
	return &rrsets{host: h, name: r.host, ttl: 60, min: 1}, nil
}

type google struct {
	*rest
	project, zone string
	metadata      *rest
}

type googleSet struct {
	Name    string   `json:"name"`
	Type    string   `json:"type"`
	TTL     int      `json:"ttl"`
	RRDatas []string `json:"rrdatas"`
}

// fromKey makes access tokens from the key of a service account: a signed claim
// is exchanged for one (RFC 7523).
func (h *google) fromKey(env plug.Env, c GoogleConfig) error {
	fail := func(format string, args ...any) error {
		return inkan.Errorf(inkan.Operator, "the option credentials of Google Cloud DNS", format, args...).
			WithHint("make a JSON key of a service account: gcloud iam service-accounts keys create")
	}
	var key struct {
		Type       string `json:"type"`
		ProjectID  string `json:"project_id"`
		KeyID      string `json:"private_key_id"`
		PrivateKey string `json:"private_key"`
		Email      string `json:"client_email"`
		TokenURI   string `json:"token_uri"`
	}
	if json.Unmarshal([]byte(c.Credentials.Reveal()), &key) != nil {
		return fail("it is no JSON")
	}
	if key.Type != "service_account" {
		return fail("its type is %q, not service_account", inkan.Printable(key.Type, 40))
	}
	block, _ := pem.Decode([]byte(key.PrivateKey))
	if block == nil {
		return fail("it holds no private key")
	}
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	signer, ok := private.(*rsa.PrivateKey)
	if err != nil || !ok {
		return fail("its private key is no RSA key in PKCS #8")
	}
	if key.TokenURI == "" {
		key.TokenURI = "https://oauth2.googleapis.com/token"
	}
	login, err := newREST(env, "Google's token endpoint", "the service account's key may be deleted or disabled", key.TokenURI, false, plug.NewSecret(key.PrivateKey))
	if err != nil {
		return err
	}
	if h.project == "" {
		h.project = key.ProjectID
	}
	h.use(&tokens{now: env.Time, fetch: func(ctx context.Context) (string, time.Duration, error) {
		now := env.Time()
		assertion, err := jwt(signer, key.KeyID, map[string]any{
			"iss": key.Email, "scope": googleScope, "aud": key.TokenURI, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		})
		if err != nil {
			return "", 0, err
		}
		var out accessToken
		_, err = login.do(ctx, call{method: http.MethodPost, out: &out, form: url.Values{
			"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {assertion},
		}})
		return out.AccessToken, out.life(), err
	}}, "Authorization", "Bearer ")
	return nil
}

// jwt returns claims signed with RS256 (RFC 7515).
func jwt(key *rsa.PrivateKey, keyID string, claims map[string]any) (string, error) {
	head, err := json.Marshal(map[string]string{"alg": "RS256", "typ": "JWT", "kid": keyID})
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	text := base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(body)
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		return "", err
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig), nil
}

// fromMetadata takes access tokens from the metadata server, which has them for
// the service account of the machine, the pod or the function.
func (h *google) fromMetadata(env plug.Env, c GoogleConfig) error {
	// The address is link-local: nothing leaves the machine.
	m, err := newREST(env, "Google's metadata server", "attach a service account to this machine with the DNS scope, or set the option credentials", c.Metadata, true)
	if err != nil {
		return err
	}
	m.sign = header("Metadata-Flavor", "", plug.NewSecret("Google"))
	h.metadata = m
	h.use(&tokens{now: env.Time, fetch: func(ctx context.Context) (string, time.Duration, error) {
		var out accessToken
		_, err := m.do(ctx, call{method: http.MethodGet, path: strings.Split("computeMetadata/v1/instance/service-accounts/default/token", "/"), out: &out})
		return out.AccessToken, out.life(), err
	}}, "Authorization", "Bearer ")
	return nil
}

func (h *google) find(ctx context.Context, z zone) (zone, error) {
	project := h.project
	if project == "" {
		a, err := h.metadata.do(ctx, call{method: http.MethodGet, path: strings.Split("computeMetadata/v1/project/project-id", "/")})
		if err != nil {
			return z, err
		}
		if project = strings.TrimSpace(string(a.body)); project == "" || strings.ContainsFunc(project, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' }) {
			return z, inkan.Errorf(inkan.Operator, h.host, "the project is not known").WithHint("set the option project")
		}
	}
	z.data = project
	if z.id = h.zone; z.id != "" {
		return z, nil
	}
	var out struct {
		ManagedZones []struct{ Name, DNSName, Visibility string }
	}
	_, err := h.do(ctx, call{method: http.MethodGet, path: h.path(z), query: url.Values{"dnsName": {z.name + "."}}, out: &out})
	if err != nil {
		return z, err
	}
	for _, m := range out.ManagedZones {
		if strings.EqualFold(m.DNSName, z.name+".") && m.Visibility != "private" {
			z.id = m.Name
			return z, nil
		}
	}
	return z, h.noZone(z.name)
}

func (h *google) read(ctx context.Context, z zone, names []string) (sets []rrset, err error) {
	return readEach(ctx, names, func(ctx context.Context, name string) (rrset, error) {
		var out struct{ RRSets []googleSet }
		query := url.Values{"name": {name}, "type": {"TXT"}}
		_, err := h.do(ctx, call{method: http.MethodGet, path: h.path(z, z.id, "rrsets"), query: query, out: &out})
		s := rrset{name: name}
		for _, found := range out.RRSets {
			if strings.EqualFold(found.Name, name) && found.Type == "TXT" {
				s.ttl, s.values = found.TTL, found.RRDatas
			}
		}
		return s, err
	})
}

// googleChanges is how many RRsets one change holds at most; the quota is 100
// additions and 100 deletions.
const googleChanges = 100

func (h *google) replace(ctx context.Context, z zone, was, will []rrset) error {
	for len(will) > 0 {
		n := min(len(will), googleChanges)
		in := map[string][]googleSet{}
		for i := range n {
			if old := was[i]; len(old.values) > 0 {
				in["deletions"] = append(in["deletions"], googleSet{old.name, "TXT", old.ttl, old.values})
			}
			if s := will[i]; len(s.values) > 0 {
				in["additions"] = append(in["additions"], googleSet{s.name, "TXT", s.ttl, s.values})
			}
		}
		_, err := h.do(ctx, call{method: http.MethodPost, path: h.path(z, z.id, "changes"), in: in})
		switch refused, _ := errors.AsType[*refusal](err); {
		case refused == nil && err != nil:
			return err
		case refused == nil:
		case refused.status == http.StatusConflict, refused.status == http.StatusPreconditionFailed,
			refused.status == http.StatusNotFound && strings.Contains(string(refused.body), "entity.change"):
			return fmt.Errorf("%w: %s", errConflict, refused.text)
		default:
			return err
		}
		was, will = was[n:], will[n:]
	}
	return nil
}

func (h *google) path(z zone, rest ...string) []string {
	return append([]string{"dns", "v1", "projects", z.data.(string), "managedZones"}, rest...)
}
