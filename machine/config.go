package machine

import (
	"errors"
	"io/fs"
	"os"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/acme"
	"github.com/inkan-acme/inkan/config"
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
