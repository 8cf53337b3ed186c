package cli

import (
	"log/slog"
	"sync"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/acme"
	"github.com/inkan-acme/inkan/config"
	"github.com/inkan-acme/inkan/plug"
)

// Machine is what names mean on this machine: its directory of state, its
// configuration file, its stores, CAs, accounts, solvers, targets and secrets.
// Fill in the exported fields before the first call. Everything is opened once,
// when it is asked for. All methods may be called at once.
type Machine struct {
	// DataDir is the directory of state. Empty: /var/lib/inkan as root, else
	// inkan in the XDG data home.
	DataDir string
	// ConfigFile is the configuration file. Empty: /etc/inkan/inkan.yaml as root,
	// else inkan/inkan.yaml in the XDG config home, if it is there.
	ConfigFile string
	// DryRun: Store and Host lie under <data>/dry-run, and there are no targets.
	DryRun bool

	set     *plug.Set
	env     map[string]string
	version string
	log     func() *slog.Logger
	faults  faults // none but in a test of crashes

	realHost inkan.Store // with DryRun: where solvers and CAs are defined
	recorded bool        // with DryRun: what is tried is recorded, so realHost speaks first

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

// newMachine returns a Machine that knows the plug-ins of set, for a process with
// this environment. version stands in the requests to CAs; log returns where to
// log, once the flags are known.
func newMachine(set *plug.Set, env map[string]string, version string, log func() *slog.Logger) *Machine {
	m := &Machine{env: env, version: version, log: log, faults: newFaults(env),
		clients: map[string]*acme.Client{}, throttles: map[string]*acme.Throttle{}, hostMade: map[string]any{}}
	m.set = m.faults.plugins(set)
	return m
}

// trial returns the same machine for a dry run. With recorded, what is recorded
// is tried: names mean what they mean in earnest.
func (m *Machine) trial(recorded bool) *Machine {
	return &Machine{DataDir: m.DataDir, ConfigFile: m.ConfigFile, DryRun: true, set: m.set, env: m.env, version: m.version, log: m.log, faults: m.faults,
		recorded: recorded, clients: map[string]*acme.Client{}, throttles: map[string]*acme.Throttle{}, hostMade: map[string]any{}}
}

// plugins returns the plug-ins that this machine knows.
func (m *Machine) plugins() *plug.Set { return m.set }

// secretFiles returns the files from which secrets were read so far.
func (m *Machine) secretsRead() []string { return m.secrets.list() }
