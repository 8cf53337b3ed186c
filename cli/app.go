package cli

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/acme"
	"github.com/inkan-acme/inkan/config"
	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/process"
	"github.com/inkan-acme/inkan/store"
)

// app is one run of the command: what it was called with, the machine it works
// on and the person it talks to.
type app struct {
	*Machine
	*Terminal
	args []string

	// Flags of every command.
	verbose  int
	detailed bool // --detailed-exitcode

	log     *slog.Logger
	changed bool // for --detailed-exitcode
}

func newApp(set *plug.Set, stdin io.Reader, stdout, stderr io.Writer, environ, args []string) *app {
	env := map[string]string{}
	for _, kv := range environ {
		k, v, _ := strings.Cut(kv, "=")
		env[k] = v
	}
	a := &app{args: args, Terminal: &Terminal{stdin: stdin, stdout: stdout, stderr: stderr, plain: env["NO_COLOR"] != "" || env["TERM"] == "dumb", dumb: env["TERM"] == "dumb"}}
	a.Machine = newMachine(a.addManual(set.Clone()), env, version(), a.logger)
	return a
}

// trial is the same run, dry.
func (a *app) trial(recorded bool) *app {
	t := *a
	t.Machine = a.Machine.trial(recorded)
	return &t
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
func (m *Machine) data() (string, error) {
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

// configPath returns the configuration file and whether somebody named it.
func (m *Machine) configPath() (path string, named bool) {
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

// config reads the configuration file once. Without one, and none named, it is
// nil.
func (m *Machine) config() (*config.Config, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.configLocked()
}

func (m *Machine) configLocked() (*config.Config, error) {
	if m.cfgRead {
		return m.cfg, m.cfgErr
	}
	m.cfgRead = true
	path, named := m.configPath()
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return nil, nil
	}
	if err != nil {
		m.cfgErr = inkan.Errorf(inkan.Operator, "configuration", "%w", err)
		return nil, m.cfgErr
	}
	opts := config.Options{ReadFile: os.ReadFile}
	for _, ca := range acme.KnownCAs() {
		opts.CAs = append(opts.CAs, ca.Name)
	}
	m.cfg, m.cfgErr = config.Load(path, data, m.set, opts)
	if m.cfgErr == nil {
		m.instances = m.cfg.Open(m.plugEnv(), m.secret)
	}
	return m.cfg, m.cfgErr
}

// plugEnv is what plug-ins get.
func (m *Machine) plugEnv() plug.Env { return plug.Env{Log: m.log(), Now: m.faults.now()} }

// secret reads a secret that an option names.
func (m *Machine) secret(s plug.SecretSource) (string, error) {
	if s.Env != "" {
		v, ok := m.env[s.Env]
		if !ok {
			return "", inkan.Errorf(inkan.Operator, "environment variable "+s.Env, "it is not set")
		}
		return v, nil
	}
	m.secrets.note(s.File)
	data, err := os.ReadFile(s.File)
	if err != nil {
		return "", inkan.Errorf(inkan.Operator, "", "%w", err)
	}
	return strings.TrimRight(string(data), "\r\n"), nil
}

// stores opens the Store and the Host store.
func (m *Machine) stores() (s, host inkan.Store, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.store != nil {
		return m.store, m.host, nil
	}
	dir, err := m.data()
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
	return store.File(m.plugEnv(), store.FileConfig{Dir: dir})
}

// manager returns a Manager over the stores of this run.
func (m *Machine) manager(ctx context.Context) (*engine.Manager, error) {
	s, host, err := m.stores()
	if err != nil {
		return nil, err
	}
	mgr := &engine.Manager{Store: s, Host: host, Issuer: m.issuer, Solver: m.solver, Target: m.target,
		Owner: process.Self(), Alive: process.Alive, Log: m.log(), Now: m.faults.now()}
	if m.DryRun {
		mgr.Target = nil
	}
	return mgr, nil
}

// close ends what was opened.
func (m *Machine) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.clients {
		if err := c.Close(); err != nil {
			m.log().Debug("closing a CA client", "error", err)
		}
	}
}
