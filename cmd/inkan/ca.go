package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/acme"
)

// chooseCA turns --ca, --ca-root and --staging into the name of a CA. What they
// say about it is kept on this machine; what they leave out stays as it is.
func (a *app) chooseCA(ctx context.Context, r *requestFlags, before string) (string, error) {
	ca := r.ca
	if ca == "" {
		ca = before
	}
	isURL := strings.Contains(ca, "://")
	if r.staging && !isURL {
		staging, err := a.stagingOf(ctx, ca)
		if err != nil {
			return "", err
		}
		ca = staging
	}
	if !isURL {
		if err := inkan.CheckName(ca); err != nil {
			return "", err
		}
		if r.caRoot == "" {
			_, err := a.caOf(ctx, ca)
			return ca, err
		}
	}
	url := ca
	if isURL {
		ca = acme.CAName(ca)
		if _, builtIn := acme.KnownCA(ca); builtIn && r.caRoot == "" {
			return ca, nil
		}
	}
	known, err := a.caOf(ctx, ca)
	if err != nil && (!isURL || !errors.Is(err, errNotHere)) {
		return "", err
	}
	was := known
	if isURL {
		known.Directory, known.Staging = url, known.Staging || r.staging
	}
	if r.caRoot != "" {
		if known.Roots, err = filepath.Abs(r.caRoot); err != nil {
			return "", err
		}
		if _, err := readRoots(ca, known.Roots); err != nil {
			return "", err
		}
	}
	if cfg, err := a.config(); err == nil && cfg != nil && known != was {
		if _, ok := cfg.CAs[ca]; ok {
			return "", usageError{fmt.Errorf("the configuration file says what the CA %s is; change it there", ca)}
		}
	}
	if known == was && err == nil {
		return ca, nil
	}
	return ca, a.saveCA(ctx, ca, known)
}

// stagingOf returns the staging CA that stands beside a CA, which may be one
// itself.
func (a *app) stagingOf(ctx context.Context, ca string) (string, error) {
	if c, err := a.caOf(ctx, ca); err == nil && c.Staging {
		return ca, nil
	}
	if _, err := a.caOf(ctx, ca+"-staging"); err == nil {
		return ca + "-staging", nil
	}
	return "", inkan.Errorf(inkan.Operator, "CA "+inkan.Printable(ca, 100), "no staging CA is known for it").
		WithHint("name one with --ca URL --staging, or mark it with staging: true under cas: in the configuration file")
}
