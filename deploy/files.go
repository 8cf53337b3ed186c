package deploy

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/durable"
	"github.com/inkan-acme/inkan/plug"
)

// FilesConfig holds the options of [Files].
type FilesConfig struct {
	_ struct{} `help:"writes fullchain.pem, cert.pem, chain.pem and privkey.pem to a directory, all switched at once"`

	Dir      string            `json:"dir" help:"absolute directory in which each certificate gets a directory of its name" required:"true"`
	Names    map[string]string `json:"names" help:"other directory names, by certificate"`
	Combined bool              `json:"combined" help:"write combined.pem too: key, leaf and chain in one file, as HAProxy reads it"`
	Owner    string            `json:"owner" help:"user that the files belong to, by name or number; default: whoever runs Inkan"`
	Group    string            `json:"group" help:"group that the files belong to, by name or number"`
	Mode     plug.Mode         `json:"mode" help:"permissions of files with a private key" default:"0600"`
	CertMode plug.Mode         `json:"cert_mode" help:"permissions of files without" default:"0644"`
	DirMode  plug.Mode         `json:"dir_mode" help:"permissions of new directories" default:"0755"`
	Keep     int               `json:"keep" help:"how many versions stay on disk; what is younger than a minute stays besides" default:"5"`
}

// Check refuses what the tags cannot.
func (c *FilesConfig) Check() error {
	fail := func(format string, args ...any) error {
		return inkan.Errorf(inkan.Operator, "", format, args...)
	}
	switch {
	case !filepath.IsAbs(c.Dir) || strings.ContainsRune(c.Dir, 0):
		return fail("dir must be an absolute path, not %q", inkan.Printable(c.Dir, 200))
	case c.Mode&0o007 != 0:
		return fail("mode %s lets everybody read the private key; use 0600, or 0640 with a group", c.Mode)
	case c.DirMode != 0 && c.DirMode&0o700 != 0o700:
		return fail("dir_mode %s does not let Inkan itself write", c.DirMode)
	case c.Keep < 0:
		return fail("keep is negative")
	}
	seen := map[string]string{}
	for certificate, name := range c.Names {
		for _, n := range []string{certificate, name} {
			if err := inkan.CheckName(n); err != nil {
				return err
			}
		}
		if other, ok := seen[name]; ok {
			return fail("both %s and %s write %s", min(certificate, other), max(certificate, other), filepath.Join(c.Dir, name))
		}
		seen[name] = certificate
	}
	return nil
}

// Outputs implements plug.Writer.
func (c *FilesConfig) Outputs(certificate string) []string {
	return []string{filepath.Join(c.Dir, cmp.Or(c.Names[certificate], certificate))}
}

// versionsDir holds the versions, below the target directory. No certificate
// name begins with a dot.
const versionsDir = ".versions"

// lockFile, in a certificate's directory of versions, is locked by who writes
// there.
const lockFile = ".lock"

// pruneAge is how long a version stays on disk at least: whoever has opened
// its directory has read it by then, however fast versions follow.
const pruneAge = time.Minute

// Files writes each certificate as a set of files in <dir>/<name>:
// fullchain.pem, cert.pem, chain.pem, privkey.pem (unless the key is
// elsewhere) and, if asked for, combined.pem.
//
// <dir>/<name> is a symbolic link to .versions/<name>/<seq>-<id>. A version is
// written there whole and flushed, then the link is switched by one rename: who
// opens the directory once reads one version, old or new. Version directories
// never change once they have their name. A crash leaves a temporary directory
// at most, which a later run removes.
//
// A directory or foreign link at <dir>/<name> is refused, never replaced.
// Receipts are [inkan.FilesReceipt].
func Files(env plug.Env, c FilesConfig) (inkan.Deployer, error) {
	plug.Defaults(&c)
	if err := c.Check(); err != nil {
		return nil, err
	}
	f := &files{FilesConfig: c, env: env}
	f.Dir = filepath.Clean(f.Dir)
	owner, err := lookupOwner(c.Owner, c.Group)
	if err != nil {
		return nil, err
	}
	f.owner = owner
	return f, nil
}

type files struct {
	FilesConfig
	env   plug.Env
	owner *durable.Owner // nil: whoever runs this process
}

var (
	_ inkan.Deployer = (*files)(nil)
	_ plug.Writer    = (*FilesConfig)(nil)
	_ plug.Checker   = (*FilesConfig)(nil)
)

// file is one file of a version.
type file struct {
	name string
	data []byte
	mode fs.FileMode
}

// Deploy implements inkan.Deployer.
func (f *files) Deploy(ctx context.Context, d inkan.Deployment) (inkan.Receipt, error) {
	v := d.Version
	if v == nil || len(v.Pairs) == 0 {
		return nil, inkan.Errorf(inkan.Bug, "writing files", "there is no certificate to write")
	}
	if err := inkan.CheckName(v.Name); err != nil {
		return nil, err
	}
	name := cmp.Or(f.Names[v.Name], v.Name)
	path := filepath.Join(f.Dir, name)
	want, err := f.contents(ctx, &d)
	if err != nil {
		return nil, err
	}
	receipt, err := json.Marshal(inkan.FilesReceipt{Dir: path})
	if err != nil {
		return nil, f.fail(path, err)
	}
	if len(receipt) > inkan.MaxReceipt {
		return nil, inkan.Errorf(inkan.Operator, "writing files", "the path of the directory has %d bytes, which is too long", len(path))
	}
	if err := durable.MkdirAll(f.Dir, f.DirMode.Perm()); err != nil {
		return nil, f.fail(path, err)
	}
	p, err := f.open(ctx, name, true)
	if err != nil {
		return nil, f.fail(path, err)
	}
	defer p.Close()
	if err := p.place(ctx, v.Dir(), want); err != nil {
		return nil, f.fail(path, err)
	}
	keep := []string{v.Dir()}
	if d.Previous != nil {
		keep = append(keep, d.Previous.Dir())
	}
	p.prune(keep) // what it cannot remove today it removes next time
	return receipt, nil
}

// contents returns the files of v.
func (f *files) contents(ctx context.Context, d *inkan.Deployment) ([]file, error) {
	v := d.Version
	if len(v.Pairs) > 1 {
		return nil, inkan.Errorf(inkan.Operator, "writing files", "%s has %d key types, and the files have room for one", v.Name, len(v.Pairs))
	}
	pair := &v.Pairs[0]
	list := []file{
		{"fullchain.pem", pair.FullChain(), f.CertMode.Perm()},
		{"cert.pem", pair.Cert(), f.CertMode.Perm()},
		{"chain.pem", pair.Chain(), f.CertMode.Perm()},
	}
	key, err := d.KeyPEM(ctx, pair)
	if err != nil {
		return nil, err
	}
	if key != nil {
		list = append(list, file{"privkey.pem", key, f.Mode.Perm()})
		if f.Combined {
			list = append(list, file{"combined.pem", slices.Concat(key, pair.FullChain()), f.Mode.Perm()})
		}
	}
	return list, nil
}

// open opens the place of one certificate and locks it.
func (f *files) open(ctx context.Context, name string, create bool) (*place, error) {
	tree, err := durable.OS(f.Dir, durable.Public)
	if err != nil {
		return nil, err
	}
	p := &place{files: f, tree: tree, name: name}
	if p.root, err = tree.OpenDir("."); err != nil {
		return nil, err
	}
	if err = p.checkLink(); err == nil {
		err = p.openVersions(ctx, create)
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// fail says which path an error is about and whether a person is needed.
func (f *files) fail(path string, err error) error {
	if _, ok := errors.AsType[*inkan.Error](err); ok {
		return err
	}
	hint, person := durable.Explain(err)
	kind := inkan.KindOf(err) // a cancelled run stays one
	if person {
		kind = inkan.Operator
	}
	return inkan.Errorf(kind, "writing "+path, "%w", err).WithHint("%s", hint)
}

func (f *files) logger() *slog.Logger { return f.env.Logger().With("dir", f.Dir) }

// lookupOwner turns names into numbers. It returns nil if both are empty.
func lookupOwner(owner, group string) (*durable.Owner, error) {
	if owner == "" && group == "" {
		return nil, nil
	}
	o := &durable.Owner{UID: -1, GID: -1}
	if owner != "" {
		u, err := user.Lookup(owner)
		if err != nil {
			u, err = user.LookupId(owner)
		}
		switch {
		case err == nil:
			o.UID, err = strconv.Atoi(u.Uid)
		case isNumber(owner): // a user need not have an entry
			o.UID, err = strconv.Atoi(owner)
		}
		if err != nil {
			return nil, inkan.Errorf(inkan.Operator, "owner "+inkan.Printable(owner, 80), "there is no such user on this machine")
		}
	}
	if group != "" {
		g, err := user.LookupGroup(group)
		if err != nil {
			g, err = user.LookupGroupId(group)
		}
		switch {
		case err == nil:
			o.GID, err = strconv.Atoi(g.Gid)
		case isNumber(group):
			o.GID, err = strconv.Atoi(group)
		}
		if err != nil {
			return nil, inkan.Errorf(inkan.Operator, "group "+inkan.Printable(group, 80), "there is no such group on this machine")
		}
	}
	return o, nil
}

func isNumber(s string) bool { return s != "" && len(s) < 10 && strings.Trim(s, "0123456789") == "" }

// foreign is the error for something at <dir>/<name> that is not ours.
func foreign(path, what string) error {
	return inkan.Errorf(inkan.Operator, "writing "+path, "there is %s that Inkan did not make, and it is not replaced", what).
		WithHint("%s", fmt.Sprintf("move it away (mv %s %s.old), or choose another directory", path, path))
}
