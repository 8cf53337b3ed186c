package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/acme"
	"github.com/inkan-acme/inkan/config"
	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/plugins"
	"github.com/inkan-acme/inkan/process"
	"github.com/inkan-acme/inkan/store"
)

// app is one run of the command: what it was called with and what it opened.
// Only this package reads the environment, flags and files.
type app struct {
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	env    map[string]string
	args   []string

	// Flags of every command.
	dataDir    string
	configFile string
	json       bool
	quiet      bool
	verbose    int
	detailed   bool // --detailed-exitcode

	dryRun   bool        // store and host under <data>/dry-run, staging CAs, no targets
	realHost inkan.Store // with dryRun: where solvers and CAs are defined
	recorded bool        // with dryRun: what is tried is recorded, so realHost speaks first

	set    *plug.Set
	log    *slog.Logger
	faults faults // none but in a test of crashes

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
	questions *asker         // who asks the person at the terminal
	talking   sync.Mutex     // held by who talks to the person
	secrets   secretFiles    // that were read, for doctor
	following *progress      // what is told meanwhile
	changed   bool           // for --detailed-exitcode
}

func newApp(stdin io.Reader, stdout, stderr io.Writer, environ, args []string) *app {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, env: map[string]string{}, args: args,
		clients: map[string]*acme.Client{}, throttles: map[string]*acme.Throttle{}, hostMade: map[string]any{}}
	for _, kv := range environ {
		k, v, _ := strings.Cut(kv, "=")
		a.env[k] = v
	}
	a.faults = newFaults(a.env)
	a.set = a.faults.plugins(a.addManual(plugins.All()))
	return a
}

// logger writes to stderr only: journald and friends keep files.
func (a *app) logger() *slog.Logger {
	if a.log == nil {
		level := slog.LevelWarn
		switch {
		case a.quiet:
			level = slog.LevelError
		case a.verbose == 1:
			level = slog.LevelInfo
		case a.verbose > 1:
			level = slog.LevelDebug
		}
		a.log = slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: level}))
	}
	return a.log
}

// data returns the directory of state: --data, else /var/lib/inkan as root,
// else inkan in the XDG data home.
func (a *app) data() (string, error) {
	dir := a.dataDir
	switch {
	case dir != "":
	case os.Geteuid() == 0:
		dir = "/var/lib/inkan"
	case filepath.IsAbs(a.env["XDG_DATA_HOME"]):
		dir = filepath.Join(a.env["XDG_DATA_HOME"], "inkan")
	case a.env["HOME"] != "":
		dir = filepath.Join(a.env["HOME"], ".local/share/inkan")
	default:
		return "", inkan.Errorf(inkan.Operator, "data directory", "neither --data nor HOME says where it is").WithHint("give it with --data DIR")
	}
	return filepath.Abs(dir)
}

// configPath returns the configuration file and whether somebody named it.
func (a *app) configPath() (path string, named bool) {
	switch {
	case a.configFile != "":
		return a.configFile, true
	case os.Geteuid() == 0:
		return "/etc/inkan/inkan.yaml", false
	case filepath.IsAbs(a.env["XDG_CONFIG_HOME"]):
		return filepath.Join(a.env["XDG_CONFIG_HOME"], "inkan/inkan.yaml"), false
	case a.env["HOME"] != "":
		return filepath.Join(a.env["HOME"], ".config/inkan/inkan.yaml"), false
	}
	return "", false
}

// config reads the configuration file once. Without one, and none named, it is
// nil.
func (a *app) config() (*config.Config, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.configLocked()
}

func (a *app) configLocked() (*config.Config, error) {
	if a.cfgRead {
		return a.cfg, a.cfgErr
	}
	a.cfgRead = true
	path, named := a.configPath()
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return nil, nil
	}
	if err != nil {
		a.cfgErr = inkan.Errorf(inkan.Operator, "configuration", "%w", err)
		return nil, a.cfgErr
	}
	opts := config.Options{ReadFile: os.ReadFile}
	for _, ca := range acme.KnownCAs() {
		opts.CAs = append(opts.CAs, ca.Name)
	}
	a.cfg, a.cfgErr = config.Load(path, data, a.set, opts)
	if a.cfgErr == nil {
		a.instances = a.cfg.Open(a.plugEnv(), a.secret)
	}
	return a.cfg, a.cfgErr
}

// plugEnv is what plug-ins get.
func (a *app) plugEnv() plug.Env { return plug.Env{Log: a.logger(), Now: a.faults.now()} }

// secret reads a secret that an option names.
func (a *app) secret(s plug.SecretSource) (string, error) {
	if s.Env != "" {
		v, ok := a.env[s.Env]
		if !ok {
			return "", inkan.Errorf(inkan.Operator, "environment variable "+s.Env, "it is not set")
		}
		return v, nil
	}
	a.secrets.note(s.File)
	data, err := os.ReadFile(s.File)
	if err != nil {
		return "", inkan.Errorf(inkan.Operator, "", "%w", err)
	}
	return strings.TrimRight(string(data), "\r\n"), nil
}

// stores opens the Store and the Host store.
func (a *app) stores() (s, host inkan.Store, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.store != nil {
		return a.store, a.host, nil
	}
	dir, err := a.data()
	if err != nil {
		return nil, nil, err
	}
	if a.dryRun {
		if a.realHost, err = a.fileStore(filepath.Join(dir, "host")); err != nil {
			return nil, nil, err
		}
		dir = filepath.Join(dir, "dry-run")
	}
	if !a.dryRun {
		cfg, err := a.configLocked()
		if err != nil && a.configFile != "" {
			return nil, nil, err
		}
		if cfg != nil {
			if s, err = a.instances.Store(); err != nil {
				return nil, nil, err
			}
		}
	}
	if s == nil {
		if s, err = a.fileStore(filepath.Join(dir, "store")); err != nil {
			return nil, nil, err
		}
	}
	if host, err = a.fileStore(filepath.Join(dir, "host")); err != nil {
		return nil, nil, err
	}
	a.store, a.host = a.faults.store("store", s), a.faults.store("host", host)
	return a.store, a.host, nil
}

func (a *app) fileStore(dir string) (inkan.Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, inkan.Errorf(inkan.Operator, "data directory", "%w", err).
			WithHint("name another one with --data DIR, or run inkan as the user that owns it")
	}
	return store.File(a.plugEnv(), store.FileConfig{Dir: dir})
}

// manager returns a Manager over the stores of this run.
func (a *app) manager(ctx context.Context) (*engine.Manager, error) {
	s, host, err := a.stores()
	if err != nil {
		return nil, err
	}
	m := &engine.Manager{Store: s, Host: host, Issuer: a.issuer, Solver: a.solver, Target: a.target,
		Owner: process.Self(), Alive: process.Alive, Log: a.logger(), Now: a.faults.now()}
	if a.dryRun {
		m.Target = nil
	}
	return m, nil
}

// close ends what was opened.
func (a *app) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.clients {
		if err := c.Close(); err != nil {
			a.logger().Debug("closing a CA client", "error", err)
		}
	}
}
