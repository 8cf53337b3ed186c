package deploy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/command"
	"github.com/inkan-acme/inkan/plug"
)

// ExecConfig holds the options of [Exec].
type ExecConfig struct {
	_ struct{} `help:"runs a command after a certificate has changed"`

	Command []string               `json:"command" help:"the program and its arguments; no shell reads them"`
	Shell   string                 `json:"shell" help:"a line for /bin/sh, in place of command"`
	Timeout plug.Duration          `json:"timeout" help:"how long the command may take before it is stopped" default:"60s"`
	Dir     string                 `json:"dir" help:"the directory it runs in" default:"/"`
	Env     map[string]plug.Secret `json:"env" help:"further environment variables; it gets nothing of Inkan's own environment"`
	Once    bool                   `json:"once" help:"run it once for a batch of certificates, without the variables that speak of one"`
}

// Check refuses what the tags cannot.
func (c *ExecConfig) Check() error {
	if err := c.program(0, nil).Check(); err != nil {
		return err
	}
	return command.CheckEnv(c.Env, "INKAN_", "RENEWED_")
}

// program returns the command to run.
func (c *ExecConfig) program(grace time.Duration, log *slog.Logger) *command.Command {
	p := &command.Command{Args: c.Command, Shell: c.Shell, Dir: c.Dir, Timeout: time.Duration(c.Timeout), Grace: grace, Log: log}
	for _, name := range slices.Sorted(maps.Keys(c.Env)) {
		p.Env = append(p.Env, name+"="+c.Env[name].Reveal())
	}
	return p
}

// Exec runs a command for each deployment, or with Once one for a batch.
//
// The command gets a clean environment: PATH, HOME, LANG=C.UTF-8, the
// configured variables, and what it may want to know: INKAN_NAME,
// INKAN_NAMES (space-separated), INKAN_VERSION (the n of current),
// INKAN_NOT_AFTER (RFC 3339), INKAN_TARGET, INKAN_ATTEMPT, RENEWED_DOMAINS as
// certbot's hooks know it and, if an earlier target of the certificate wrote
// files, INKAN_DIR, INKAN_FULLCHAIN, INKAN_CERT, INKAN_CHAIN, INKAN_PRIVKEY and
// RENEWED_LINEAGE. These are paths; no key is in them.
//
// It runs in a process group of its own. At the timeout the group gets SIGTERM,
// five seconds later SIGKILL. The last 64 KiB of what it prints are kept.
// Another exit status than 0 is an error of kind Temporary, a command that
// cannot be run at all one of kind Operator.
func Exec(env plug.Env, c ExecConfig) (inkan.Deployer, error) {
	plug.Defaults(&c)
	if err := c.Check(); err != nil {
		return nil, err
	}
	return &execDeployer{ExecConfig: c, log: env.Logger()}, nil
}

type execDeployer struct {
	ExecConfig
	log   *slog.Logger
	grace time.Duration // 0: that of package command
}

var (
	_ inkan.Deployer  = (*execDeployer)(nil)
	_ inkan.Activator = (*execDeployer)(nil)
	_ plug.Checker    = (*ExecConfig)(nil)
)

// Deploy implements inkan.Deployer.
func (c *execDeployer) Deploy(ctx context.Context, d inkan.Deployment) (inkan.Receipt, error) {
	if d.Version == nil || len(d.Version.Pairs) == 0 {
		return nil, inkan.Errorf(inkan.Bug, c.program(0, nil).Op(), "there is no certificate to tell it of")
	}
	if c.Once {
		return inkan.Receipt(`{"activate":true}`), nil // the work is Activate's
	}
	if err := c.run(ctx, about(d)); err != nil {
		return nil, err
	}
	return inkan.Receipt(`{"exit":0}`), nil
}

// ActivationKey implements inkan.Activator.
func (c *execDeployer) ActivationKey() string {
	if !c.Once {
		return ""
	}
	h := sha256.New()
	for _, s := range slices.Concat(c.Command, []string{c.Shell, c.Dir}, c.program(0, nil).Environ()) {
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Activate implements inkan.Activator.
func (c *execDeployer) Activate(ctx context.Context) error { return c.run(ctx, nil) }

// about returns the variables that speak of one deployment.
func about(d inkan.Deployment) []string {
	v := d.Version
	names := make([]string, len(v.Identifiers))
	for i, id := range v.Identifiers {
		names[i] = id.Value
	}
	vars := []string{
		"INKAN_NAME=" + v.Name,
		"INKAN_NAMES=" + strings.Join(names, " "),
		"INKAN_VERSION=" + strconv.FormatUint(v.N, 10),
		"INKAN_NOT_AFTER=" + v.Pairs[0].Leaf.NotAfter.UTC().Format(time.RFC3339),
		"INKAN_TARGET=" + d.Target,
		"INKAN_ATTEMPT=" + strconv.Itoa(max(1, d.Attempt)),
		"RENEWED_DOMAINS=" + strings.Join(names, " "),
	}
	for _, earlier := range slices.Backward(d.Earlier) {
		var r inkan.FilesReceipt
		if json.Unmarshal(earlier.Receipt, &r) != nil || !filepath.IsAbs(r.Dir) || strings.ContainsRune(r.Dir, 0) {
			continue
		}
		vars = append(vars, "INKAN_DIR="+r.Dir, "RENEWED_LINEAGE="+r.Dir,
			"INKAN_FULLCHAIN="+filepath.Join(r.Dir, "fullchain.pem"),
			"INKAN_CERT="+filepath.Join(r.Dir, "cert.pem"),
			"INKAN_CHAIN="+filepath.Join(r.Dir, "chain.pem"))
		if v.Pairs[0].Key != nil {
			vars = append(vars, "INKAN_PRIVKEY="+filepath.Join(r.Dir, "privkey.pem"))
		}
		break
	}
	return vars
}

// run runs the command with the variables added to its environment.
func (c *execDeployer) run(ctx context.Context, vars []string) error {
	_, err := c.program(c.grace, c.log).Run(ctx, command.Call{Env: vars})
	return err
}
