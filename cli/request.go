package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/engine"
)

// buildRequest makes the request of what is recorded under the name, changed
// by the flags that were given.
func (a *app) buildRequest(ctx context.Context, m *engine.Manager, r *requestFlags, f *pflag.FlagSet, ids []inkan.Identifier, dropNames bool) (*inkan.CertificateRequest, error) {
	var csr []byte
	var kt inkan.KeyType
	var err error
	if r.csr != "" {
		if csr, ids, kt, err = readCSR(r.csr, ids); err != nil {
			return nil, err
		}
	}
	name := r.name
	if name == "" && len(ids) > 0 {
		name = inkan.NameFor(ids[0])
	}
	if err := inkan.CheckName(name); err != nil {
		return nil, err
	}
	req := inkan.CertificateRequest{Name: name, CAs: []string{defaultCA}, Account: defaultAccount, KeyTypes: []inkan.KeyType{inkan.ECDSAP256}}
	recorded, err := m.Request(ctx, name)
	fresh := errors.Is(err, fs.ErrNotExist) || errors.Is(err, engine.ErrUnsoundRequest)
	switch {
	case err != nil && !fresh:
		return nil, err
	case !fresh && recorded.Origin == inkan.OriginConfig && !recorded.Unmanaged:
		return nil, inkan.Errorf(inkan.Operator, "certificate "+name, "the configuration file manages it").
			WithHint("change it there and run: inkan apply")
	case !fresh:
		req = recorded.CertificateRequest
	}
	if req.CSR != nil && !f.Changed("csr") && (len(ids) > 0 || f.Changed("key") || f.Changed("key-file") || f.Changed("reuse-key")) {
		return nil, inkan.Errorf(inkan.Operator, "certificate "+name, "its names and key are those of your own certificate signing request").
			WithHint("give a new one with --csr FILE, or delete the certificate and issue it anew")
	}
	if len(ids) > 0 {
		if dropped := missing(req.Identifiers, ids); len(dropped) > 0 && !dropNames && !f.Changed("csr") {
			return nil, inkan.Errorf(inkan.Operator, "certificate "+name, "it is recorded with more names, and these would be dropped: %s", strings.Join(dropped, " ")).
				WithHint("name them all, or drop them with --force, or give the new certificate another --name")
		}
		req.Identifiers = ids
	}
	if f.Changed("csr") {
		req.CSR, req.KeyTypes, req.Key = csr, []inkan.KeyType{kt}, inkan.KeyPolicy{}
	}
	if err := a.applyFlags(ctx, m, r, f, &req, fresh); err != nil {
		return nil, err
	}
	return &req, req.Check()
}

func identifiers(names []string) ([]inkan.Identifier, error) {
	if len(names) == 0 {
		return nil, nil
	}
	return inkan.ParseIdentifiers(names)
}

func missing(had, have []inkan.Identifier) []string {
	var gone []string
	for _, id := range had {
		if !slices.Contains(have, id) {
			gone = append(gone, id.Value)
		}
	}
	return gone
}

// readCSR reads a CSR; names given besides must be its own.
func readCSR(file string, names []inkan.Identifier) ([]byte, []inkan.Identifier, inkan.KeyType, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, "", inkan.Errorf(inkan.Operator, "certificate signing request", "%w", err)
	}
	der, ids, kt, err := inkan.ParseCSR(data)
	if err != nil {
		return nil, nil, "", err
	}
	if len(names) > 0 && (len(missing(names, ids)) > 0 || len(missing(ids, names)) > 0) {
		return nil, nil, "", usageError{errors.New("the names given are not those of the certificate signing request; leave them out")}
	}
	return der, ids, kt, nil
}

// applyFlags changes req by the flags that were given.
func (a *app) applyFlags(ctx context.Context, m *engine.Manager, r *requestFlags, f *pflag.FlagSet, req *inkan.CertificateRequest, fresh bool) error {
	if r.cas.given() || r.staging {
		cas, err := a.chooseCAs(ctx, r, req.CAs)
		if err != nil {
			return err
		}
		req.CAs = cas
	}
	if r.account != "" {
		req.Account = r.account
	}
	if r.key != "" && req.CSR != nil {
		return usageError{errors.New("--key and --csr exclude each other: the key is yours")}
	}
	if r.key != "" {
		kt, err := inkan.ParseKeyType(r.key)
		if err != nil {
			return err
		}
		req.KeyTypes = []inkan.KeyType{kt}
	}
	if err := a.applyKey(ctx, m, r, f, req); err != nil {
		return err
	}
	if f.Changed("profile") {
		req.Profile = r.profile
	}
	if f.Changed("require-profile") {
		req.RequireProfile = r.requireProfile
	}
	if f.Changed("preferred-chain") {
		req.PreferredChain = r.preferredChain
	}
	if f.Changed("allow-subset") {
		req.AllowSubset = r.allowSubset
	}
	if f.Changed("lifetime") {
		req.Lifetime = time.Duration(r.lifetime)
	}
	if err := a.applyValidation(ctx, r, req, fresh); err != nil {
		return err
	}
	return a.applyTargets(ctx, r, f, req, fresh)
}

func (a *app) applyKey(ctx context.Context, m *engine.Manager, r *requestFlags, f *pflag.FlagSet, req *inkan.CertificateRequest) error {
	switch {
	case r.keyFile != "" && req.CSR != nil:
		return usageError{errors.New("--key-file and --csr exclude each other")}
	case r.keyFile != "":
		data, err := os.ReadFile(r.keyFile)
		if err != nil {
			return inkan.Errorf(inkan.Operator, "private key", "%w", err)
		}
		key, err := inkan.ParseKey(data)
		if err != nil {
			return err
		}
		kt, err := key.Type()
		if err != nil {
			return err
		}
		if r.key != "" && req.KeyTypes[0] != kt {
			return usageError{fmt.Errorf("the key in %s is of type %s, not %s", r.keyFile, kt, req.KeyTypes[0])}
		}
		req.KeyTypes = []inkan.KeyType{kt}
		req.Key, err = m.KeepKey(ctx, key)
		return err
	case f.Changed("reuse-key") && r.reuseKey:
		req.Key = inkan.KeyPolicy{Mode: inkan.KeyReuse}
	case f.Changed("reuse-key"):
		req.Key = inkan.KeyPolicy{}
	}
	return nil
}

// applyTargets turns --deploy-dir, --run and --run-shell into targets. One
// that was given replaces those of its kind.
func (a *app) applyTargets(ctx context.Context, r *requestFlags, f *pflag.FlagSet, req *inkan.CertificateRequest, fresh bool) error {
	replace := func(kind string, options map[string]any) error {
		req.Targets = slices.DeleteFunc(slices.Clone(req.Targets), func(t string) bool { return a.TargetKind(ctx, t) == kind })
		if options == nil {
			return nil
		}
		name, err := a.SaveTarget(ctx, kind, options)
		if err != nil {
			return err
		}
		if _, err := a.Target(ctx, name); err != nil {
			return err
		}
		if kind == "files" { // the files must be there before a command runs
			req.Targets = append([]string{name}, req.Targets...)
		} else {
			req.Targets = append(req.Targets, name)
		}
		return nil
	}
	dir := r.deployDir
	if dir == "" && fresh {
		data, err := a.Data()
		if err != nil {
			return err
		}
		dir = filepath.Join(data, "live")
	}
	if dir == "none" {
		if err := replace("files", nil); err != nil {
			return err
		}
	} else if dir != "" {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return err
		}
		if err := replace("files", map[string]any{"dir": abs}); err != nil {
			return err
		}
	}
	switch {
	case r.run != "" && r.runShell != "":
		return usageError{errors.New("--run and --run-shell exclude each other")}
	case r.run != "":
		if !plainCommand(r.run) {
			return usageError{errors.New("--run has characters that only a shell understands; use --run-shell")}
		}
		return replace("exec", map[string]any{"command": strings.Fields(r.run)})
	case r.runShell != "":
		return replace("exec", map[string]any{"shell": r.runShell})
	case f.Changed("run") || f.Changed("run-shell"):
		return replace("exec", nil)
	}
	return nil
}
