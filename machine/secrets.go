package machine

import (
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
)

// Secret reads a secret that an option names.
func (m *Machine) Secret(s plug.SecretSource) (string, error) {
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

// secretFiles are the files from which secrets were read.
type secretFiles struct {
	mu    sync.Mutex
	paths []string
}

func (s *secretFiles) note(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.paths, path) {
		s.paths = append(s.paths, path)
	}
}

func (s *secretFiles) list() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.paths)
}
