package machine

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/acme"
	"github.com/inkan-acme/inkan/config"
	"github.com/inkan-acme/inkan/internal/state"
)

// Config reads the configuration file once. Without one, and none named, it is
// nil.
func (m *Machine) Config() (*config.Config, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.configLocked()
}

func (m *Machine) configLocked() (*config.Config, error) {
	if m.cfgRead {
		return m.cfg, m.cfgErr
	}
	m.cfgRead = true
	path, named := m.ConfigPath()
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
		m.instances = m.cfg.Open(m.PlugEnv(), m.Secret)
	}
	return m.cfg, m.cfgErr
}

// Source names the configuration of this machine among those that share its
// Store. shared is false if no other configuration can use it: then every request
// that a configuration file recorded is this one's.
func (m *Machine) Source() (source string, shared bool, err error) {
	cfg, err := m.Config()
	if err != nil || cfg == nil {
		return "", false, err
	}
	if source = cfg.Source(); source != "" {
		return source, cfg.NamesStore(), nil
	}
	path, _ := m.ConfigPath()
	if path, err = filepath.Abs(path); err != nil {
		return "", false, err
	}
	host, err := os.Hostname()
	if err != nil {
		return "", false, inkan.Errorf(inkan.Operator, "configuration", "the name of this host is not known: %w", err).
			WithHint("name this configuration in the file: source: NAME")
	}
	return inkan.Printable(host, 100) + "-" + state.Sum([]byte(path))[:8], cfg.NamesStore(), nil
}
