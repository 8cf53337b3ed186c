// Package solve holds the ways to show a CA the proof of control that a
// challenge asks for: each file is one implementation of inkan.Solver.
package solve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
)

// challengePath is where a CA looks for the answer to an http-01 challenge,
// RFC 8555 section 8.3.
const challengePath = "/.well-known/acme-challenge/"

// parallel bounds how many answers are written at once.
const parallel = 16

// HTTP01Config holds the options of [HTTP01].
type HTTP01Config struct {
	_     struct{}              `help:"puts the answers to http-01 challenges into a store that a web server serves"`
	Store plug.Ref[inkan.Store] `json:"store" help:"the store whose keys are the paths of the web server, such as a public file store in its webroot" required:"true"`
}

// HTTP01 returns a Solver for http-01 that puts each key authorization, as it
// is, under the key .well-known/acme-challenge/<token> of a Store: a webroot or
// a bucket. Nothing that the CA sent becomes part of a key unchecked.
//
// Present only creates keys. A key that exists with the same answer is success;
// one with another answer is an error. CleanUp deletes a key only if it holds
// the challenge's answer; the directories stay.
func HTTP01(_ plug.Env, cfg HTTP01Config) (inkan.Solver, error) {
	if cfg.Store.Value == nil {
		return nil, inkan.Errorf(inkan.Operator, "http-01 solver", "no store given")
	}
	return &http01{cfg.Store.Value}, nil
}

type http01 struct{ store inkan.Store }

// Present implements inkan.Solver.
func (h *http01) Present(ctx context.Context, challenges []inkan.Challenge) ([]inkan.Undo, error) {
	// All are checked before any is shown.
	if err := checkAll(inkan.HTTP01, challenges); err != nil {
		return nil, err
	}
	return nil, each(challenges, func(c inkan.Challenge) error { return h.present(ctx, c) })
}

func (h *http01) present(ctx context.Context, c inkan.Challenge) error {
	key := storeKey(c)
	_, err := h.store.Put(ctx, key, []byte(c.KeyAuthorization), "")
	if err == nil {
		return nil
	}
	// An earlier try may have written the answer, or this write may have
	// succeeded although it reported an error.
	data, _, readErr := h.store.Get(ctx, key)
	switch {
	case readErr == nil && string(data) == c.KeyAuthorization:
		return nil
	case readErr == nil && errors.Is(err, inkan.ErrConflict):
		return inkan.Errorf(inkan.Operator, "http-01 for "+c.Identifier.Value, "the token %s already has another answer", inkan.Printable(c.Token, 64)).
			WithHint("another program or account may be validating the same name; remove the file %s if not", key)
	case errors.Is(err, inkan.ErrConflict):
		err = readErr
	}
	return fmt.Errorf("http-01 for %s: %w", c.Identifier.Value, err)
}

// CleanUp implements inkan.Solver.
func (h *http01) CleanUp(ctx context.Context, challenges []inkan.Challenge) error {
	return each(challenges, func(c inkan.Challenge) error { return h.cleanUp(ctx, c) })
}

func (h *http01) cleanUp(ctx context.Context, c inkan.Challenge) error {
	if check(inkan.HTTP01, c) != nil {
		return nil // never shown
	}
	key := storeKey(c)
	data, _, err := h.store.Get(ctx, key)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err == nil && string(data) != c.KeyAuthorization:
		return nil // somebody else's
	case err == nil:
		err = h.store.Delete(ctx, key)
	}
	if err != nil {
		return fmt.Errorf("http-01 clean-up for %s: %w", c.Identifier.Value, err)
	}
	return nil
}

func storeKey(c inkan.Challenge) string { return challengePath[1:] + c.Token }

// each runs f for every challenge, some at once, and returns all errors.
func each(challenges []inkan.Challenge, f func(inkan.Challenge) error) error {
	errs := make([]error, len(challenges))
	var g errgroup.Group
	g.SetLimit(parallel)
	for i, c := range challenges {
		g.Go(func() error {
			errs[i] = f(c)
			return nil
		})
	}
	g.Wait()
	return errors.Join(errs...)
}

func checkAll(challengeType string, challenges []inkan.Challenge) error {
	for _, c := range challenges {
		if err := check(challengeType, c); err != nil {
			return err
		}
	}
	return nil
}

// check refuses what must not become part of a path. The core has checked the
// token already; this is the last check (reliability H02, CVE-2026-40611).
func check(challengeType string, c inkan.Challenge) error {
	fail := func(format string, args ...any) error {
		return inkan.Errorf(inkan.Bug, challengeType+" for "+inkan.Printable(c.Identifier.Value, 80), format, args...)
	}
	switch {
	case c.Type != challengeType:
		return fail("this solver cannot show %s challenges", inkan.Printable(c.Type, 40))
	case !inkan.IsToken(c.Token):
		return fail("the CA's token %q is not 22 to 255 characters of base64url", inkan.Printable(c.Token, 64))
	case !strings.HasPrefix(c.KeyAuthorization, c.Token+".") || !inkan.IsBase64URL(c.KeyAuthorization[len(c.Token)+1:]):
		return fail("the key authorization does not belong to the token")
	}
	return nil
}
