package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/config"
	"github.com/inkan-acme/inkan/plug"
)

// How control over names is shown, as the command line says it: each flag is
// one way, and their order is the order in which they are tried.

// proofFlag is one of the flags of validation with its value.
type proofFlag struct{ flag, value string }

// proofFlagValue is a flag that may be given several times and among others of its
// like; their order is kept.
type proofFlagValue struct {
	flags *[]proofFlag
	flag  string
}

func (f proofFlagValue) Set(s string) error {
	*f.flags = append(*f.flags, proofFlag{f.flag, s})
	return nil
}
func (f proofFlagValue) Type() string   { return "string" }
func (f proofFlagValue) String() string { return "" }

// The flags of validation. An address may be left out.
const (
	flagWebroot    = "webroot"
	flagStandalone = "standalone"
	flagTLSALPN    = "tls-alpn"
	flagManual     = "manual"
	flagSolver     = "solver"
)

// listenFlags are those whose address may be left out, with the usual one.
func listenFlags() map[string]string {
	return map[string]string{flagStandalone: ":80", flagTLSALPN: ":443"}
}

// addValidation adds the flags that say how control is shown.
func (r *requestFlags) addValidation(f *pflag.FlagSet) {
	add := func(flag, usage string) { f.Var(proofFlagValue{&r.proofFlags, flag}, flag, usage) }
	add(flagWebroot, "show control by files below `DIR`, the document root of a running web server")
	add(flagStandalone, "show control by Inkan's own web server at `ADDR` (without one, port 80)")
	add(flagTLSALPN, "show control by Inkan's own TLS server at `ADDR` (without one, port 443)")
	add(flagManual, "show control by hand, at a terminal: `WAY` is http or dns")
	add(flagSolver, "show control by the solver `NAME` of the configuration file; PATTERN=NAME for some names only. The flags that show control may be repeated and combined: what comes first is tried first")
	for flag, addr := range listenFlags() {
		f.Lookup(flag).NoOptDefVal = addr
	}
	f.BoolVar(&r.noValidation, "no-validation", false, "show no control over the names: the CA has validated them for the account already")
}

// applyValidation puts the flags of validation into req.
func (a *app) applyValidation(ctx context.Context, r *requestFlags, req *inkan.CertificateRequest, fresh bool) error {
	switch {
	case r.noValidation && len(r.proofFlags) > 0:
		return usageError{fmt.Errorf("--no-validation excludes --%s", r.proofFlags[0].flag)}
	case r.noValidation:
		req.Validations = nil
		return nil
	case fresh && len(r.proofFlags) == 0 && len(req.Validations) == 0:
		return usageError{errors.New("how shall control over the names be shown? give --webroot DIR (a web server runs already), --standalone (none runs on port 80), --tls-alpn (none runs on port 443), --solver NAME (of the configuration file), --manual dns (by hand) or --no-validation (the CA knows already)")}
	case len(r.proofFlags) == 0:
		return nil
	}
	var list []inkan.Validation
	for _, w := range r.proofFlags {
		v, err := a.validation(ctx, w)
		if err != nil {
			return err
		}
		if slices.Contains(list, v) {
			return usageError{fmt.Errorf("--%s %s is given twice", w.flag, inkan.Printable(w.value, 100))}
		}
		list = append(list, v)
	}
	for _, id := range req.Identifiers {
		if problem := config.Unproven(id, list); problem != "" {
			return inkan.Errorf(inkan.Operator, "certificate "+req.Name, "%s", problem).
				WithHint("one more way may be given beside the others: --solver NAME of the configuration file, or --manual")
		}
	}
	req.Validations = list
	return nil
}

// validation records what a flag says and opens the solver, so that what is
// wrong with it is told before anything is asked.
func (a *app) validation(ctx context.Context, w proofFlag) (inkan.Validation, error) {
	var none inkan.Validation
	switch w.flag {
	case flagWebroot:
		dir, err := filepath.Abs(w.value)
		if err != nil {
			return none, err
		}
		if info, err := os.Stat(dir); err != nil || !info.IsDir() || w.value == "" {
			return none, inkan.Errorf(inkan.Operator, "webroot "+dir, "it is not a directory").WithHint("name the document root of the web server that answers for the names")
		}
		return a.hostSolver(ctx, "webroot", map[string]any{"dir": dir})
	case flagStandalone, flagTLSALPN:
		return a.hostSolver(ctx, w.flag, map[string]any{"addr": w.value})
	case flagManual:
		kinds := []string{"http", "dns"}
		if !slices.Contains(kinds, w.value) {
			return none, usageError{errors.New(plug.Unknown("way of --manual", w.value, kinds))}
		}
		return a.hostSolver(ctx, "manual-"+w.value, map[string]any{})
	}
	return a.configSolver(ctx, w.value)
}

// hostSolver keeps the options of a solver in the Host store.
func (a *app) hostSolver(ctx context.Context, kind string, options map[string]any) (inkan.Validation, error) {
	name, err := a.SaveSolver(ctx, kind, options)
	if err != nil {
		return inkan.Validation{}, err
	}
	_, err = a.Solver(ctx, name)
	return inkan.Validation{Type: a.Plugins().Solvers.Challenge(kind), Solver: name}, err
}

// configSolver finds [PATTERN=]NAME in the configuration file.
func (a *app) configSolver(ctx context.Context, value string) (inkan.Validation, error) {
	var v inkan.Validation
	pattern, name, ok := strings.Cut(value, "=")
	if !ok {
		pattern, name = "", value
	} else if pattern != "*" {
		id, err := inkan.ParseIdentifier(pattern)
		if err != nil {
			return v, err
		}
		pattern = id.Value
	}
	cfg, err := a.Config()
	if err != nil {
		return v, err
	}
	if cfg == nil {
		return v, inkan.Errorf(inkan.Operator, "solver "+inkan.Printable(name, 60), "there is no configuration file that could define it").
			WithHint("write it under solvers: in the file that --config names")
	}
	if v = (inkan.Validation{Match: pattern, Type: cfg.Challenge(name), Solver: name}); v.Type == "" {
		return v, inkan.Errorf(inkan.Operator, "configuration", "%s", plug.Unknown("solver", name, cfg.Solvers()))
	}
	_, err = a.Solver(ctx, name)
	return v, err
}
