package cli

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/acme"
	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/internal/state"
	"github.com/inkan-acme/inkan/plug"
)

// What a request names (a CA, a solver, a target) means what this machine says
// it means: in its configuration file, else in its Host store.

// hostCA is what --ca URL and --ca-root FILE leave in the Host store.
type hostCA struct {
	Directory string `json:"directory" help:"URL of the directory"`
	Roots     string `json:"roots" help:"PEM file of the roots to trust for it"`
	Staging   bool   `json:"staging" help:"its certificates are for tests"`
}

// caOf returns what is known of a CA by its name.
func (m *Machine) caOf(ctx context.Context, name string) (hostCA, error) {
	cfg, cfgErr := m.config()
	if cfgErr == nil && cfg != nil {
		if c, ok := cfg.CAs[name]; ok {
			return hostCA{c.Directory, c.Roots, c.Staging}, nil
		}
	}
	r, err := m.loadHost(ctx, state.HostCAs, name)
	if err == nil {
		var c hostCA
		err = plug.DecodeJSON(r.Options, plug.Resolver{})(&c)
		return c, err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return hostCA{}, err
	}
	if known, ok := acme.KnownCA(name); ok {
		return hostCA{Staging: known.Staging}, nil
	}
	if cfgErr != nil {
		return hostCA{}, cfgErr
	}
	fail := inkan.Errorf(inkan.Operator, "CA "+name, "%w", errNotHere)
	var names []string
	for _, ca := range acme.KnownCAs() {
		names = append(names, ca.Name)
	}
	if cfg != nil {
		names = slices.AppendSeq(names, maps.Keys(cfg.CAs))
	}
	if near := plug.Nearest(name, names); near != "" {
		return hostCA{}, fail.WithHint("did you mean %s? inkan ca list tells the names", near)
	}
	return hostCA{}, fail.WithHint("name its directory with --ca URL, or under cas: in the configuration file")
}

// issuer implements Manager.Issuer.
func (m *Machine) issuer(ctx context.Context, ca, account string) (inkan.Issuer, error) {
	return m.client(ctx, ca, account, accountFlags{})
}

// accountFlags is what the command line says about an account.
type accountFlags struct {
	emails     []string
	agreeTerms bool
	keyType    inkan.KeyType
	eabKeyID   string
	eabKey     plug.Secret
	eabAlg     string
}

// client returns the ACME client of an account, made once. Flags only matter
// the first time.
func (m *Machine) client(ctx context.Context, ca, account string, f accountFlags) (*acme.Client, error) {
	known, err := m.caOf(ctx, ca)
	if err != nil {
		return nil, err
	}
	s, _, err := m.stores()
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	key := ca + "/" + account
	if c := m.clients[key]; c != nil {
		return c, nil
	}
	c := acme.Config{Name: ca, Directory: known.Directory, Account: account, Contacts: f.emails, AgreeTerms: f.agreeTerms,
		KeyType: f.keyType, EABKeyID: f.eabKeyID, EABKey: f.eabKey, EABAlgorithm: f.eabAlg, UserAgent: "inkan/" + m.version, Proxy: m.proxy}
	if known.Roots != "" {
		if c.Roots, err = readRoots(ca, known.Roots); err != nil {
			return nil, err
		}
	}
	if cfg, err := m.configLocked(); err == nil && cfg != nil {
		acct, err := cfg.Account(account, ca, m.secret)
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
	env, c := m.faults.transport(m.plugEnv(), c)
	client, err := acme.New(env, c, engine.Accounts(s, ca, account))
	if err != nil {
		return nil, err
	}
	m.clients[key] = client
	return client, nil
}

// readRoots reads the roots that are trusted for a CA's own HTTPS.
func readRoots(ca, file string) (*x509.CertPool, error) {
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

// proxy follows HTTPS_PROXY and NO_PROXY as this program was given them.
func (m *Machine) proxy(r *http.Request) (*url.URL, error) { return m.proxyFunc()(r.URL) }

// solver implements Manager.Solver.
func (m *Machine) solver(ctx context.Context, name string) (inkan.Solver, error) {
	return resolve(ctx, m, "solver", state.HostSolvers, &m.set.Solvers, name, func() (inkan.Solver, bool, error) {
		if _, err := m.config(); err != nil {
			return nil, false, err
		}
		if m.instances == nil || !slices.Contains(m.cfg.Solvers(), name) {
			return nil, false, nil
		}
		s, err := m.instances.Solver(name)
		return s, true, err
	})
}

// target implements Manager.Target.
func (m *Machine) target(ctx context.Context, name string) (*engine.Target, error) {
	digest := ""
	d, err := resolve(ctx, m, "target", state.HostTargets, &m.set.Deployers, name, func() (inkan.Deployer, bool, error) {
		if _, err := m.config(); err != nil {
			return nil, false, err
		}
		if m.instances == nil || !slices.Contains(m.cfg.Targets(), name) {
			return nil, false, nil
		}
		digest = m.instances.TargetDigest(name)
		d, err := m.instances.Deployer(name)
		return d, true, err
	})
	if errors.Is(err, errNotHere) {
		return nil, fs.ErrNotExist // another machine deploys there
	}
	if err != nil {
		return nil, err
	}
	if digest == "" {
		digest = name // names of host records are hashes of their options
	}
	return &engine.Target{Deployer: d, Options: digest}, nil
}

// errNotHere reports that this machine has nothing of the name.
var errNotHere = errors.New("this machine has none of this name")

// resolve looks a name up in the configuration file, else in the Host store.
func resolve[T any](ctx context.Context, m *Machine, what, family string, kind *plug.Kind[T], name string, configured func() (T, bool, error)) (T, error) {
	var zero T
	v, ok, cfgErr := configured()
	if ok {
		return v, cfgErr
	}
	key := family + "/" + name
	m.mu.Lock()
	made, ok := m.hostMade[key]
	m.mu.Unlock()
	if ok {
		return made.(T), nil
	}
	r, err := m.loadHost(ctx, family, name)
	if errors.Is(err, fs.ErrNotExist) {
		if cfgErr != nil {
			return zero, cfgErr
		}
		return zero, inkan.Errorf(inkan.Operator, fmt.Sprintf("%s %s", what, name), "%w", errNotHere).
			WithHint("define it under %ss: in the configuration file", what)
	}
	if err != nil {
		return zero, err
	}
	v, err = plug.Open(m.set, kind, m.plugEnv(), r.Kind, plug.DecodeJSON(r.Options, plug.Resolver{Secret: m.secret}))
	if err != nil {
		return zero, inkan.Errorf(inkan.KindOf(err), fmt.Sprintf("%s %s", what, name), "%w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if made, ok := m.hostMade[key]; ok {
		return made.(T), nil // somebody was faster; there must be one only
	}
	m.hostMade[key] = v
	return v, nil
}

// loadHost reads a record of the Host store; in a dry run also from the real
// one.
func (m *Machine) loadHost(ctx context.Context, family, name string) (inkan.HostRecord, error) {
	_, host, err := m.stores()
	if err != nil {
		return inkan.HostRecord{}, err
	}
	if m.realHost == nil {
		return state.LoadHost(ctx, host, family, name)
	}
	first, second := host, m.realHost
	if m.recorded {
		first, second = second, first
	}
	r, err := state.LoadHost(ctx, first, family, name)
	if errors.Is(err, fs.ErrNotExist) {
		r, err = state.LoadHost(ctx, second, family, name)
	}
	return r, err
}

// hostRecord keeps options given on the command line and returns the name under
// which requests refer to them.
func (m *Machine) hostRecord(ctx context.Context, family, kind string, options any) (string, error) {
	_, host, err := m.stores()
	if err != nil {
		return "", err
	}
	data, err := json.Marshal(options)
	if err != nil {
		return "", err
	}
	r := inkan.HostRecord{Kind: kind, Options: data}
	name := state.HostName(r)
	return name, state.SaveHost(ctx, host, family, name, r)
}
