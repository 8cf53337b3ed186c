package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/acme"
	"github.com/inkan-acme/inkan/machine"
)

// caFlag is one --ca with the --ca-root that belongs to it.
type caFlag struct{ name, root string }

// caFlags are --ca and --ca-root as they follow each other on the command line.
type caFlags struct {
	list   []caFlag
	root   string // a --ca-root before any --ca
	single bool   // the command speaks of one CA
}

func (c *caFlags) add(name string) error {
	if name == "" {
		return errors.New("it names no CA")
	}
	if c.single && len(c.list) > 0 {
		return errors.New("this command takes one CA")
	}
	c.list = append(c.list, caFlag{name: name, root: c.root})
	c.root = ""
	return nil
}

func (c *caFlags) addRoot(file string) error {
	root := &c.root
	if n := len(c.list); n > 0 {
		root = &c.list[n-1].root
	}
	if *root != "" {
		return errors.New("it is given twice for one CA")
	}
	*root = file
	return nil
}

// given reports whether the flags say anything.
func (c *caFlags) given() bool { return len(c.list) > 0 || c.root != "" }

type (
	caNameFlag struct{ f *caFlags }
	caRootFlag struct{ f *caFlags }
)

func (v caNameFlag) Set(s string) error { return v.f.add(s) }

func (v caNameFlag) Type() string { return "string" }

func (v caNameFlag) String() string { return "" }

func (v caRootFlag) Set(s string) error { return v.f.addRoot(s) }

func (v caRootFlag) Type() string { return "string" }

func (v caRootFlag) String() string { return "" }

// chooseCAs turns --ca, --ca-root and --staging into the names of CAs, in the
// order in which they are asked; before are those that no flag changes.
func (a *app) chooseCAs(ctx context.Context, r *requestFlags, before []string) ([]string, error) {
	list := r.cas.list
	if len(list) == 0 {
		for i, name := range before {
			list = append(list, caFlag{name: name})
			if i == 0 {
				list[0].root = r.cas.root
			}
		}
	}
	var cas []string
	for _, c := range list {
		ca, err := a.chooseCA(ctx, c, r.staging)
		if err != nil {
			return nil, err
		}
		if slices.Contains(cas, ca) {
			return nil, usageError{fmt.Errorf("the CA %s is named twice", inkan.Printable(c.name, 200))}
		}
		cas = append(cas, ca)
	}
	return cas, nil
}

// chooseOneCA is chooseCAs for a command that speaks of one.
func (a *app) chooseOneCA(ctx context.Context, r *requestFlags) (string, error) {
	cas, err := a.chooseCAs(ctx, r, []string{defaultCA})
	if err != nil {
		return "", err
	}
	return cas[0], nil
}

// chooseCA returns the name of one CA. What the flags say about it is kept on
// this machine; what they leave out stays as it is.
func (a *app) chooseCA(ctx context.Context, c caFlag, staging bool) (string, error) {
	ca := c.name
	isURL := strings.Contains(ca, "://")
	if staging && !isURL {
		var err error
		if ca, err = a.StagingOf(ctx, ca); err != nil {
			return "", err
		}
	}
	if !isURL {
		if err := inkan.CheckName(ca); err != nil {
			return "", err
		}
		if c.root == "" {
			_, err := a.CA(ctx, ca)
			return ca, err
		}
	}
	url := ca
	if isURL {
		ca = acme.CAName(ca)
		if _, builtIn := acme.KnownCA(ca); builtIn && c.root == "" {
			return ca, nil
		}
	}
	known, err := a.CA(ctx, ca)
	if err != nil && (!isURL || !errors.Is(err, machine.ErrNotHere)) {
		return "", err
	}
	was := known
	if isURL {
		known.Directory, known.Staging = url, known.Staging || staging
	}
	if c.root != "" {
		if known.Roots, err = filepath.Abs(c.root); err != nil {
			return "", err
		}
		if _, err := machine.ReadRoots(ca, known.Roots); err != nil {
			return "", err
		}
	}
	if cfg, err := a.Config(); err == nil && cfg != nil && known != was {
		if _, ok := cfg.CAs[ca]; ok {
			return "", usageError{fmt.Errorf("the configuration file says what the CA %s is; change it there", ca)}
		}
	}
	if known == was && err == nil {
		return ca, nil
	}
	return ca, a.SaveCA(ctx, ca, known)
}
