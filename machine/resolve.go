package machine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/internal/state"
	"github.com/inkan-acme/inkan/plug"
)

// Solver implements Manager.Solver.
func (m *Machine) Solver(ctx context.Context, name string) (inkan.Solver, error) {
	return resolve(ctx, m, "solver", state.HostSolvers, &m.set.Solvers, name, func() (inkan.Solver, bool, error) {
		if _, err := m.Config(); err != nil {
			return nil, false, err
		}
		if m.instances == nil || !slices.Contains(m.cfg.Solvers(), name) {
			return nil, false, nil
		}
		s, err := m.instances.Solver(name)
		return s, true, err
	})
}

// Target implements Manager.Target.
func (m *Machine) Target(ctx context.Context, name string) (*engine.Target, error) {
	digest := ""
	d, err := resolve(ctx, m, "target", state.HostTargets, &m.set.Deployers, name, func() (inkan.Deployer, bool, error) {
		if _, err := m.Config(); err != nil {
			return nil, false, err
		}
		if m.instances == nil || !slices.Contains(m.cfg.Targets(), name) {
			return nil, false, nil
		}
		digest = m.instances.TargetDigest(name)
		d, err := m.instances.Deployer(name)
		return d, true, err
	})
	if errors.Is(err, ErrNotHere) {
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

// ErrNotHere reports that this machine has nothing of the name.
var ErrNotHere = errors.New("this machine has none of this name")

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
		return zero, inkan.Errorf(inkan.Operator, fmt.Sprintf("%s %s", what, name), "%w", ErrNotHere).
			WithHint("define it under %ss: in the configuration file", what)
	}
	if err != nil {
		return zero, err
	}
	v, err = plug.Open(m.set, kind, m.PlugEnv(), r.Kind, plug.DecodeJSON(r.Options, plug.Resolver{Secret: m.Secret}))
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
	_, host, err := m.Stores()
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

// SaveTarget keeps the options of a target given on the command line and returns
// the name under which requests refer to it.
func (m *Machine) SaveTarget(ctx context.Context, kind string, options any) (string, error) {
	return m.saveOptions(ctx, state.HostTargets, kind, options)
}

// SaveSolver is SaveTarget for a solver.
func (m *Machine) SaveSolver(ctx context.Context, kind string, options any) (string, error) {
	return m.saveOptions(ctx, state.HostSolvers, kind, options)
}

func (m *Machine) saveOptions(ctx context.Context, family, kind string, options any) (string, error) {
	_, host, err := m.Stores()
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
