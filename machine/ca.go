package machine

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"

	"golang.org/x/net/http/httpproxy"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/acme"
	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/internal/state"
	"github.com/inkan-acme/inkan/plug"
)

// SaveCA keeps what the command line said about a CA on this machine.
func (m *Machine) SaveCA(ctx context.Context, name string, c CA) error {
	_, host, err := m.Stores()
	if err != nil {
		return err
	}
	options, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return state.SaveHost(ctx, host, state.HostCAs, name, inkan.HostRecord{Kind: "acme", Options: options})
}

// Probe asks a CA what it can do, by a client that has no account and leaves
// nothing behind.
func (m *Machine) Probe(ctx context.Context, ca string) (*acme.Capabilities, error) {
	known, err := m.CA(ctx, ca)
	if err != nil {
		return nil, err
	}
	return m.ProbeAt(ctx, ca, known)
}

func (m *Machine) ProbeAt(ctx context.Context, name string, known CA) (*acme.Capabilities, error) {
	c := acme.Config{Name: name, Directory: known.Directory, UserAgent: "inkan/" + m.version, Proxy: m.Proxy}
	var err error
	if known.Roots != "" {
		if c.Roots, err = ReadRoots(name, known.Roots); err != nil {
			return nil, err
		}
	}
	client, err := acme.New(plug.Env{Log: m.log()}, c, noAccount{})
	if err != nil {
		return nil, err
	}
	defer client.Close()
	found, err := client.Capabilities(ctx)
	if err == nil {
		found.Staging = found.Staging || known.Staging
	}
	return found, err
}

// StagingOf returns the staging CA that stands beside a CA, which may be one
// itself.
func (m *Machine) StagingOf(ctx context.Context, ca string) (string, error) {
	if c, err := m.CA(ctx, ca); err == nil && c.Staging {
		return ca, nil
	}
	if _, err := m.CA(ctx, ca+"-staging"); err == nil {
		return ca + "-staging", nil
	}
	return "", inkan.Errorf(inkan.Operator, "CA "+inkan.Printable(ca, 100), "no staging CA is known for it").
		WithHint("name one with --ca URL --staging, or mark it with staging: true under cas: in the configuration file")
}

// What a request names (a CA, a solver, a target) means what this machine says
// it means: in its configuration file, else in its Host store.

// CA is what --ca URL and --ca-root FILE leave in the Host store.
type CA struct {
	Directory string `json:"directory" help:"URL of the directory"`
	Roots     string `json:"roots" help:"PEM file of the roots to trust for it"`
	Staging   bool   `json:"staging" help:"its certificates are for tests"`
}

// CA returns what is known of a CA by its name.
func (m *Machine) CA(ctx context.Context, name string) (CA, error) {
	cfg, cfgErr := m.Config()
	if cfgErr == nil && cfg != nil {
		if c, ok := cfg.CAs[name]; ok {
			return CA{c.Directory, c.Roots, c.Staging}, nil
		}
	}
	r, err := m.loadHost(ctx, state.HostCAs, name)
	if err == nil {
		var c CA
		err = plug.DecodeJSON(r.Options, plug.Resolver{})(&c)
		return c, err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return CA{}, err
	}
	if known, ok := acme.KnownCA(name); ok {
		return CA{Staging: known.Staging}, nil
	}
	if cfgErr != nil {
		return CA{}, cfgErr
	}
	fail := inkan.Errorf(inkan.Operator, "CA "+name, "%w", ErrNotHere)
	var names []string
	for _, ca := range acme.KnownCAs() {
		names = append(names, ca.Name)
	}
	if cfg != nil {
		names = slices.AppendSeq(names, maps.Keys(cfg.CAs))
	}
	if near := plug.Nearest(name, names); near != "" {
		return CA{}, fail.WithHint("did you mean %s? inkan ca list tells the names", near)
	}
	return CA{}, fail.WithHint("name its directory with --ca URL, or under cas: in the configuration file")
}

// issuer implements Manager.Issuer.
func (m *Machine) issuer(ctx context.Context, ca, account string) (inkan.Issuer, error) {
	return m.Client(ctx, ca, account, AccountOptions{})
}

// Client returns the ACME client of an account, made once. Flags only matter
// the first time.
func (m *Machine) Client(ctx context.Context, ca, account string, f AccountOptions) (*acme.Client, error) {
	known, err := m.CA(ctx, ca)
	if err != nil {
		return nil, err
	}
	s, _, err := m.Stores()
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	key := ca + "/" + account
	if c := m.clients[key]; c != nil {
		return c, nil
	}
	c := acme.Config{Name: ca, Directory: known.Directory, Account: account, Contacts: f.Contacts, AgreeTerms: f.AgreeTerms,
		KeyType: f.KeyType, EABKeyID: f.EABKeyID, EABKey: f.EABKey, EABAlgorithm: f.EABAlgorithm, OpenKey: m.OpenKey, UserAgent: "inkan/" + m.version, Proxy: m.Proxy}
	if known.Roots != "" {
		if c.Roots, err = ReadRoots(ca, known.Roots); err != nil {
			return nil, err
		}
	}
	if cfg, err := m.configLocked(); err == nil && cfg != nil {
		acct, err := cfg.Account(account, ca, m.Secret)
		if err != nil {
			return nil, err
		}
		if len(c.Contacts) == 0 {
			c.Contacts = acct.Emails
		}
		c.AgreeTerms = c.AgreeTerms || acct.AgreeTerms
		if c.KeyType == "" {
			c.KeyType = acct.Key
		}
		if acct.EAB != nil && c.EABKeyID == "" {
			c.EABKeyID, c.EABKey, c.EABAlgorithm = acct.EAB.KeyID, acct.EAB.HMACKey, acct.EAB.Alg
		}
	}
	if m.throttles[ca] == nil {
		if k, ok := acme.KnownCA(ca); ok {
			m.throttles[ca] = acme.NewThrottle(k.Limits)
		}
	}
	c.Throttle = m.throttles[ca]
	env, c := m.faults.transport(m.PlugEnv(), c)
	client, err := acme.New(env, c, engine.Accounts(s, ca, account))
	if err != nil {
		return nil, err
	}
	m.clients[key] = client
	return client, nil
}

// ReadRoots reads the roots that are trusted for a CA's own HTTPS.
func ReadRoots(ca, file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, inkan.Errorf(inkan.Operator, "CA "+ca, "its roots: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, inkan.Errorf(inkan.Operator, "CA "+ca, "there is no certificate in %s", file)
	}
	return pool, nil
}

// Proxy follows HTTPS_PROXY and NO_PROXY as this program was given them.
func (m *Machine) Proxy(r *http.Request) (*url.URL, error) { return m.proxyFunc()(r.URL) }

// proxyFunc answers from the environment this program was started with.
func (m *Machine) proxyFunc() func(*url.URL) (*url.URL, error) {
	first := func(names ...string) string {
		for _, n := range names {
			if m.env[n] != "" {
				return m.env[n]
			}
		}
		return ""
	}
	c := httpproxy.Config{HTTPSProxy: first("HTTPS_PROXY", "https_proxy"), HTTPProxy: first("HTTP_PROXY", "http_proxy"), NoProxy: first("NO_PROXY", "no_proxy")}
	return c.ProxyFunc()
}

// GivenCAs returns the names of the CAs that were given on the command line.
func (m *Machine) GivenCAs(ctx context.Context) ([]string, error) {
	_, host, err := m.Stores()
	if err != nil {
		return nil, err
	}
	return state.ListHost(ctx, host, state.HostCAs)
}
