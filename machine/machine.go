// Package machine is what names mean on this machine. A request names CAs, accounts,
// solvers and targets; this package finds them in the configuration file and in the
// Host store, opens them once, and puts an engine together with them. The command,
// and every other front end, works through it.
package machine

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/acme"
	"github.com/inkan-acme/inkan/config"
	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/process"
	"github.com/inkan-acme/inkan/store"
)

// Machine is what names mean on this machine: its directory of state, its
// configuration file, its stores, CAs, accounts, solvers, targets and secrets.
// Fill in the exported fields before the first call. Everything is opened once,
// when it is asked for. All methods may be called concurrently.
type Machine struct {
	// DataDir is the directory of state. Empty: /var/lib/inkan as root, else
	// inkan in the XDG data home.
	DataDir string
	// ConfigFile is the configuration file. Empty: /etc/inkan/inkan.yaml as root,
	// else inkan/inkan.yaml in the XDG config home, if it is there.
	ConfigFile string
	// DryRun: Store and Host lie under <data>/dry-run, and there are no targets.
	DryRun bool
	// OpenKey opens keys that are not stored as they are; nil knows no other form.
	OpenKey inkan.KeyOpener

	set     *plug.Set
	env     map[string]string
	version string
	log     func() *slog.Logger
	faults  faults // none but in a test of crashes

	realHost inkan.Store // with DryRun: where solvers and CAs are defined
	recorded bool        // with DryRun: a recorded request is tried, so realHost is asked first

	mu        sync.Mutex
	store     inkan.Store
	host      inkan.Store
	cfg       *config.Config
	cfgErr    error
	cfgRead   bool
	instances *config.Instances
	clients   map[string]*acme.Client
	throttles map[string]*acme.Throttle
	hostMade  map[string]any // plug-ins made from the Host store
	secrets   secretFiles    // that were read, for doctor
}

// New returns a Machine that knows the plug-ins of set, for a process with
// this environment. version stands in the requests to CAs; log returns where to
// log, once the flags are known.
func New(set *plug.Set, env map[string]string, version string, log func() *slog.Logger) *Machine {
	m := &Machine{env: env, version: version, log: log, faults: newFaults(env),
		clients: map[string]*acme.Client{}, throttles: map[string]*acme.Throttle{}, hostMade: map[string]any{}}
	m.set = m.faults.plugins(set)
	return m
}

// Trial returns the same machine for a dry run. With recorded, a recorded
// request is tried: its names mean what they mean in a real run.
func (m *Machine) Trial(recorded bool) *Machine {
	return &Machine{DataDir: m.DataDir, ConfigFile: m.ConfigFile, DryRun: true, OpenKey: m.OpenKey, set: m.set, env: m.env, version: m.version, log: m.log, faults: m.faults,
		recorded: recorded, clients: map[string]*acme.Client{}, throttles: map[string]*acme.Throttle{}, hostMade: map[string]any{}}
}

// Plugins returns the plug-ins that this machine knows.
func (m *Machine) Plugins() *plug.Set { return m.set }

// SecretsRead returns the files from which secrets were read so far.
func (m *Machine) SecretsRead() []string { return m.secrets.list() }

// Data returns the directory of state: --data, else /var/lib/inkan as root,
// else inkan in the XDG data home.
func (m *Machine) Data() (string, error) {
	dir := m.DataDir
	switch {
	case dir != "":
	case os.Geteuid() == 0:
		dir = "/var/lib/inkan"
	case filepath.IsAbs(m.env["XDG_DATA_HOME"]):
		dir = filepath.Join(m.env["XDG_DATA_HOME"], "inkan")
	case m.env["HOME"] != "":
		dir = filepath.Join(m.env["HOME"], ".local/share/inkan")
	default:
		return "", inkan.Errorf(inkan.Operator, "data directory", "neither --data nor HOME says where it is").WithHint("give it with --data DIR")
	}
	return filepath.Abs(dir)
}

// ConfigPath returns the configuration file and whether somebody named it.
func (m *Machine) ConfigPath() (path string, named bool) {
	switch {
	case m.ConfigFile != "":
		return m.ConfigFile, true
	case os.Geteuid() == 0:
		return "/etc/inkan/inkan.yaml", false
	case filepath.IsAbs(m.env["XDG_CONFIG_HOME"]):
		return filepath.Join(m.env["XDG_CONFIG_HOME"], "inkan/inkan.yaml"), false
	case m.env["HOME"] != "":
		return filepath.Join(m.env["HOME"], ".config/inkan/inkan.yaml"), false
	}
	return "", false
}

// PlugEnv is what plug-ins get.
func (m *Machine) PlugEnv() plug.Env { return plug.Env{Log: m.log(), Now: m.faults.now()} }

// Stores opens the Store and the Host store.
func (m *Machine) Stores() (s, host inkan.Store, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.store != nil {
		return m.store, m.host, nil
	}
	dir, err := m.Data()
	if err != nil {
		return nil, nil, err
	}
	if m.DryRun {
		if m.realHost, err = m.fileStore(filepath.Join(dir, "host")); err != nil {
			return nil, nil, err
		}
		dir = filepath.Join(dir, "dry-run")
	}
	if !m.DryRun {
		cfg, err := m.configLocked()
		if err != nil && m.ConfigFile != "" {
			return nil, nil, err
		}
		if cfg != nil {
			if s, err = m.instances.Store(); err != nil {
				return nil, nil, err
			}
		}
	}
	if s == nil {
		if s, err = m.fileStore(filepath.Join(dir, "store")); err != nil {
			return nil, nil, err
		}
	}
	if host, err = m.fileStore(filepath.Join(dir, "host")); err != nil {
		return nil, nil, err
	}
	m.store, m.host = m.faults.store("store", s), m.faults.store("host", host)
	return m.store, m.host, nil
}

func (m *Machine) fileStore(dir string) (inkan.Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, inkan.Errorf(inkan.Operator, "data directory", "%w", err).
			WithHint("name another one with --data DIR, or run inkan as the user that owns it")
	}
	return store.File(m.PlugEnv(), store.FileConfig{Dir: dir})
}

// Manager returns a Manager over the stores of this run.
func (m *Machine) Manager(ctx context.Context) (*engine.Manager, error) {
	s, host, err := m.Stores()
	if err != nil {
		return nil, err
	}
	mgr := &engine.Manager{Store: s, Host: host, Issuer: m.issuer, Solver: m.Solver, Target: m.Target,
		Owner: process.Self(), Alive: process.Alive, OpenKey: m.OpenKey, Log: m.log(), Now: m.faults.now()}
	if m.DryRun {
		mgr.Target = nil
	}
	return mgr, nil
}

// Close ends what was opened.
func (m *Machine) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.clients {
		if err := c.Close(); err != nil {
			m.log().Debug("closing a CA client", "error", err)
		}
	}
}
