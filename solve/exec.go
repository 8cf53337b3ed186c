package solve

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/command"
	"github.com/inkan-acme/inkan/plug"
)

// ExecConfig holds the options of [Exec].
type ExecConfig struct {
	_ struct{} `help:"answers dns-01 challenges by a hook written for certbot, dehydrated, Apache's mod_md or acme-client"`
	Hook
	Propagation
}

// ExecHTTPConfig holds the options of [ExecHTTP].
type ExecHTTPConfig struct {
	_ struct{} `help:"answers http-01 challenges by a hook written for certbot, dehydrated or acme-client"`
	Hook
}

// Hook holds the options of solvers that run a program.
type Hook struct {
	Dialect   string                 `json:"dialect" help:"how the program is called: certbot, dehydrated, mod_md, mod_md_2 (its MDChallengeDns01Version 2) or acme-client (the lines of its option -t)" required:"true"`
	Command   []string               `json:"command" help:"the program and its arguments; no shell reads them"`
	Shell     string                 `json:"shell" help:"a line for /bin/sh, in place of command; for certbot and acme-client"`
	CleanUp   []string               `json:"cleanup_command" help:"the program that removes what command has shown; for certbot and acme-client; the other dialects call command again"`
	CleanUpSh string                 `json:"cleanup_shell" help:"a line for /bin/sh, in place of cleanup_command"`
	Chain     bool                   `json:"hook_chain" help:"call dehydrated's hook once for all names, as HOOK_CHAIN=yes does"`
	HookLimit plug.Duration          `json:"timeout" help:"how long one run may take before it is stopped" default:"10m"`
	Dir       string                 `json:"dir" help:"the directory it runs in" default:"/"`
	Env       map[string]plug.Secret `json:"env" help:"further environment variables; it gets nothing of Inkan's own environment"`
}

// The dialects.
const (
	certbot    = "certbot"
	dehydrated = "dehydrated"
	modMD      = "mod_md"
	modMD2     = "mod_md_2"
	acmeClient = "acme-client"
)

// Check refuses what the tags cannot.
func (c *ExecConfig) Check() error {
	return cmp.Or(c.Hook.check(certbot, dehydrated, modMD, modMD2, acmeClient), c.Propagation.check())
}

// Check refuses what the tags cannot.
func (c *ExecHTTPConfig) Check() error { return c.Hook.check(certbot, dehydrated, acmeClient) }

func (h *Hook) check(dialects ...string) error {
	fail := func(format string, args ...any) error { return inkan.Errorf(inkan.Operator, "", format, args...) }
	if !slices.Contains(dialects, h.Dialect) {
		return fail("dialect: %q is none of %s", inkan.Printable(h.Dialect, 40), strings.Join(dialects, ", "))
	}
	if err := h.program(h.Command, h.Shell, plug.Env{}).Check(); err != nil {
		return err
	}
	separate := h.Dialect == certbot || h.Dialect == acmeClient
	switch hasCleanUp := len(h.CleanUp) > 0 || h.CleanUpSh != ""; {
	case hasCleanUp && !separate:
		return fail("cleanup_command: %s calls command again to clean up", h.Dialect)
	case hasCleanUp:
		if err := h.program(h.CleanUp, h.CleanUpSh, plug.Env{}).Check(); err != nil {
			return fail("cleanup_command: %w", err)
		}
	}
	if h.Shell != "" && !separate {
		return fail("shell: a hook of %s gets arguments, so it must be a command", h.Dialect)
	}
	if h.Chain && h.Dialect != dehydrated {
		return fail("hook_chain: only dehydrated has it")
	}
	return command.CheckEnv(h.Env, "INKAN_", "CERTBOT_")
}

func (h *Hook) program(args []string, shell string, env plug.Env) *command.Command {
	c := &command.Command{Args: args, Shell: shell, Dir: h.Dir, Timeout: time.Duration(h.HookLimit), Log: env.Logger()}
	for _, name := range slices.Sorted(maps.Keys(h.Env)) {
		c.Env = append(c.Env, name+"="+h.Env[name].Reveal())
	}
	return c
}

// Exec returns a Solver for dns-01 that runs a hook in one of the dialects:
//
//	certbot      env CERTBOT_DOMAIN, CERTBOT_VALIDATION ...; what it prints comes back to the clean-up as CERTBOT_AUTH_OUTPUT
//	dehydrated   deploy_challenge|clean_challenge NAME TOKEN VALUE
//	mod_md       setup NAME VALUE, teardown NAME (which takes away all values at the name)
//	mod_md_2     setup NAME VALUE, teardown NAME VALUE
//	acme-client  reads "dns-01 NAME TOKEN.THUMBPRINT" lines and writes each back when it is done
//
// The hook is called without a shell, in a clean environment, one run at a time.
// Afterwards Wait looks for the record at every authoritative server and follows
// CNAME records, so that no hook needs to sleep.
func Exec(env plug.Env, c ExecConfig) (inkan.Solver, error) {
	plug.Defaults(&c)
	if err := c.Check(); err != nil {
		return nil, err
	}
	return &execDNS{newHook(env, c.Hook, inkan.DNS01, DNS01Value), newProver(env, c.Propagation)}, nil
}

// ExecHTTP returns a Solver for http-01 that runs a hook in a dialect of
// [Exec]: certbot (with CERTBOT_TOKEN), dehydrated or acme-client.
func ExecHTTP(env plug.Env, c ExecHTTPConfig) (inkan.Solver, error) {
	plug.Defaults(&c)
	if err := c.Check(); err != nil {
		return nil, err
	}
	return newHook(env, c.Hook, inkan.HTTP01, func(c inkan.Challenge) string { return c.KeyAuthorization }), nil
}

// hook runs a program for challenges of one type.
type hook struct {
	dialect       string
	chain         bool
	challengeType string
	value         func(inkan.Challenge) string
	show, remove  *command.Command // remove is nil where nothing cleans up
	turn          chan struct{}    // holds one while the program runs
}

func newHook(env plug.Env, c Hook, challengeType string, value func(inkan.Challenge) string) *hook {
	h := &hook{dialect: c.Dialect, chain: c.Chain, challengeType: challengeType, value: value, turn: make(chan struct{}, 1)}
	h.show = c.program(c.Command, c.Shell, env)
	switch {
	case c.Dialect != certbot && c.Dialect != acmeClient:
		h.remove = h.show
	case len(c.CleanUp) > 0 || c.CleanUpSh != "":
		h.remove = c.program(c.CleanUp, c.CleanUpSh, env)
	}
	return h
}

// Present implements inkan.Solver.
func (h *hook) Present(ctx context.Context, challenges []inkan.Challenge) ([]inkan.Undo, error) {
	for _, c := range challenges {
		if err := h.check(c); err != nil {
			return nil, err
		}
	}
	leave, err := h.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	return h.run(ctx, h.show, challenges, false)
}

// CleanUp implements inkan.Solver.
func (h *hook) CleanUp(ctx context.Context, challenges []inkan.Challenge) error {
	var shown []inkan.Challenge
	for _, c := range challenges {
		if h.check(c) == nil {
			shown = append(shown, c)
		}
	}
	if h.remove == nil || len(shown) == 0 {
		return nil
	}
	leave, err := h.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	_, err = h.run(ctx, h.remove, shown, true)
	return err
}

// check refuses what must not become an argument of a program.
func (h *hook) check(c inkan.Challenge) error {
	if h.challengeType == inkan.DNS01 {
		return checkDNS01(c)
	}
	if _, err := inkan.ParseIdentifier(c.Identifier.Base()); err != nil {
		return inkan.Errorf(inkan.Bug, "", "%w", err)
	}
	return check(h.challengeType, c)
}

// enter waits until no other run is under way: hooks do not expect to run
// concurrently.
func (h *hook) enter(ctx context.Context) (leave func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case h.turn <- struct{}{}:
		return func() { <-h.turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// run calls the program as its dialect requires. A clean-up tries every
// challenge; a presentation stops at the first failure.
func (h *hook) run(ctx context.Context, program *command.Command, challenges []inkan.Challenge, cleaning bool) ([]inkan.Undo, error) {
	if h.dialect == acmeClient {
		return nil, h.lines(ctx, program, challenges, cleaning)
	}
	undo := make([]inkan.Undo, len(challenges))
	var errs []error
	for i := 0; i < len(challenges); {
		n := 1
		if h.chain {
			n = len(challenges)
		}
		call := h.call(challenges, i, n, cleaning)
		out, err := program.Run(ctx, call)
		if err != nil {
			errs = append(errs, inkan.Errorf(inkan.KindOf(err), h.challengeType+" hook for "+challenges[i].Identifier.Value, "%w", err))
			if !cleaning || ctx.Err() != nil {
				break
			}
		} else if len(out) > 0 {
			if undo[i], err = json.Marshal(hookUndo{out}); err != nil {
				return nil, err
			}
		}
		i += n
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return undo, nil
}

// execDNS is a hook for dns-01 that need not wait itself.
type execDNS struct {
	*hook
	prover
}

// Wait implements inkan.Waiter.
func (e *execDNS) Wait(ctx context.Context, challenges []inkan.Challenge) error {
	if e.checkAt == checkNone {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	f := e.finder()
	records, err := e.locateAll(ctx, f, challenges)
	if err != nil {
		return err
	}
	return e.awaitAll(ctx, f, records)
}

var (
	_ inkan.Solver = (*hook)(nil)
	_ inkan.Waiter = (*execDNS)(nil)
	_ plug.Checker = (*ExecConfig)(nil)
	_ plug.Checker = (*ExecHTTPConfig)(nil)
)
