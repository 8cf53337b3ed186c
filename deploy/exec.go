package deploy

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/inkan-acme/inkan"
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
	fail := func(format string, args ...any) error {
		return inkan.Errorf(inkan.Operator, "", format, args...)
	}
	switch {
	case len(c.Command) == 0 && c.Shell == "":
		return fail("one of the keys command and shell is missing")
	case len(c.Command) > 0 && c.Shell != "":
		return fail("command and shell exclude each other")
	case len(c.Command) > 0 && strings.Contains(c.Command[0], "/") && !filepath.IsAbs(c.Command[0]):
		return fail("the command %q must be an absolute path or a plain name", inkan.Printable(c.Command[0], 200))
	case len(c.Command) == 1 && strings.ContainsAny(c.Command[0], " \t"):
		return fail("the command %q is one word with spaces; write [%s], or use shell", inkan.Printable(c.Command[0], 100),
			inkan.Printable(strings.Join(strings.Fields(c.Command[0]), ", "), 100))
	case c.Dir != "" && !filepath.IsAbs(c.Dir):
		return fail("dir must be an absolute path, not %q", inkan.Printable(c.Dir, 200))
	case c.Timeout < 0:
		return fail("timeout is negative")
	}
	for _, s := range append([]string{c.Shell, c.Dir}, c.Command...) {
		if strings.ContainsRune(s, 0) {
			return fail("a command cannot hold a NUL character")
		}
	}
	for name, value := range c.Env {
		switch {
		case name == "" || strings.ContainsAny(name, "=\x00") || strings.ContainsRune(value.Reveal(), 0):
			return fail("env: %q cannot be an environment variable", inkan.Printable(name, 60))
		case strings.HasPrefix(name, "INKAN_") || strings.HasPrefix(name, "RENEWED_"):
			return fail("env: %s is set by Inkan", inkan.Printable(name, 60))
		}
	}
	return nil
}

const (
	defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	// killGrace is the time between the polite signal and the other one.
	killGrace = 5 * time.Second
	maxOutput = 64 << 10
	tailLines = 5 // of the output, in an error
	// outputGrace is how long output is read after the command has ended.
	outputGrace = 500 * time.Millisecond
)

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
	if c.Shell != "" {
		c.Command = []string{"/bin/sh", "-c", c.Shell}
	}
	return &command{ExecConfig: c, env: env, grace: killGrace}, nil
}

type command struct {
	ExecConfig
	env   plug.Env
	grace time.Duration
}

var (
	_ inkan.Deployer  = (*command)(nil)
	_ inkan.Activator = (*command)(nil)
	_ plug.Checker    = (*ExecConfig)(nil)
)

// Deploy implements inkan.Deployer.
func (c *command) Deploy(ctx context.Context, d inkan.Deployment) (inkan.Receipt, error) {
	if d.Version == nil || len(d.Version.Pairs) == 0 {
		return nil, inkan.Errorf(inkan.Bug, c.op(), "there is no certificate to tell it of")
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
func (c *command) ActivationKey() string {
	if !c.Once {
		return ""
	}
	h := sha256.New()
	for _, s := range slices.Concat(c.Command, []string{c.Dir}, c.variables(nil)) {
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Activate implements inkan.Activator.
func (c *command) Activate(ctx context.Context) error { return c.run(ctx, nil) }

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

// variables returns the whole environment; more wins over the defaults.
func (c *command) variables(more []string) []string {
	vars := []string{"PATH=" + defaultPath, "HOME=" + home(), "LANG=C.UTF-8"}
	for _, name := range slices.Sorted(maps.Keys(c.Env)) {
		vars = append(vars, name+"="+c.Env[name].Reveal())
	}
	return append(vars, more...)
}

func home() string {
	u, err := user.LookupId(strconv.Itoa(os.Geteuid()))
	if err != nil {
		return "/"
	}
	return cmp.Or(u.HomeDir, "/")
}

// op names the command by its program: the arguments may be nobody's business.
func (c *command) op() string {
	if c.Shell != "" {
		return "running the shell line"
	}
	return "running " + inkan.Printable(filepath.Base(c.Command[0]), 80)
}

// find returns the path of the program. The search path is that of the
// command, not that of this process.
func (c *command) find() (string, error) {
	name := c.Command[0]
	var candidates []string
	if filepath.IsAbs(name) {
		candidates = []string{name}
	} else {
		search := defaultPath
		if p, ok := c.Env["PATH"]; ok {
			search = p.Reveal()
		}
		for _, dir := range filepath.SplitList(search) {
			if filepath.IsAbs(dir) {
				candidates = append(candidates, filepath.Join(dir, name))
			}
		}
	}
	var refused error
	for _, path := range candidates {
		info, err := os.Stat(path)
		switch {
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			refused = inkan.Errorf(inkan.Operator, c.op(), "%w", err).WithHint("check the permissions on the way to it")
		case err != nil:
		case !info.Mode().IsRegular():
			refused = inkan.Errorf(inkan.Operator, c.op(), "%s is not a program", path).WithHint("name the program itself")
		case info.Mode().Perm()&0o111 == 0:
			refused = inkan.Errorf(inkan.Operator, c.op(), "%s is not executable", path).WithHint("chmod +x %s", path)
		default:
			return path, nil
		}
	}
	if refused != nil {
		return "", refused
	}
	if len(candidates) == 1 && filepath.IsAbs(name) {
		return "", inkan.Errorf(inkan.Operator, c.op(), "there is no %s", name).WithHint("install it, or change the command of the target")
	}
	return "", inkan.Errorf(inkan.Operator, c.op(), "it was not found in the search path").
		WithHint("give its absolute path, or set PATH in env")
}

// run runs the command with the variables added to its environment.
func (c *command) run(ctx context.Context, vars []string) error {
	path, err := c.find()
	if err != nil {
		return err
	}
	timeout := time.Duration(c.Timeout)
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	out := &tail{max: maxOutput}
	cmd := exec.Command(path, c.Command[1:]...)
	cmd.Args[0] = c.Command[0]
	cmd.Dir, cmd.Env = c.Dir, c.variables(vars)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// What the command leaves in the background may hold its output open. It
	// is not waited for, and left alone if the command succeeded: a server
	// that was started.
	cmd.WaitDelay = outputGrace
	if err := cmd.Start(); err != nil {
		return inkan.Errorf(inkan.Operator, c.op(), "it cannot be started: %w", err).
			WithHint("a script needs a first line such as #!/bin/sh, and its directory must exist")
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err = <-ended:
	case <-limited.Done():
		err = stop(cmd.Process.Pid, ended, c.grace)
	}
	c.env.Logger().DebugContext(ctx, "command has run", "command", c.op(), "error", err, "output", out.String())
	exit, failed := errors.AsType[*exec.ExitError](err)
	switch {
	case ctx.Err() != nil:
		return &inkan.Error{Op: c.op(), Kind: inkan.KindOf(ctx.Err()), Err: ctx.Err()}
	case limited.Err() != nil && err != nil:
		return inkan.Errorf(inkan.Temporary, c.op(), "stopped after %v%s", timeout, out.said()).WithHint("raise timeout if it needs longer")
	case errors.Is(err, exec.ErrWaitDelay):
		return nil // it exited with 0; only its output is still open
	case failed:
		return inkan.Errorf(inkan.Temporary, c.op(), "%s%s", exit.ProcessState, out.said())
	case err != nil:
		return inkan.Errorf(inkan.Temporary, c.op(), "%w%s", err, out.said())
	}
	return nil
}

// stop ends a process group, first politely, and returns how its leader ended.
func stop(group int, ended <-chan error, grace time.Duration) error {
	syscall.Kill(-group, syscall.SIGTERM)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	var err error
	select {
	case err = <-ended:
		syscall.Kill(-group, syscall.SIGKILL) // whoever of the group is left
	case <-timer.C:
		syscall.Kill(-group, syscall.SIGKILL)
		err = <-ended
	}
	return err
}

// tail keeps the end of what is written to it.
type tail struct {
	max   int
	buf   []byte
	total int64
}

func (t *tail) Write(p []byte) (int, error) {
	t.total += int64(len(p))
	t.buf = append(t.buf, p[max(0, len(p)-t.max):]...)
	if len(t.buf) > 2*t.max {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-t.max:]...)
	}
	return len(p), nil
}

// lines returns the kept lines, made fit for a terminal.
func (t *tail) lines() []string {
	text := string(t.buf[max(0, len(t.buf)-t.max):])
	var lines []string
	for l := range strings.SplitSeq(text, "\n") {
		if l = strings.TrimRight(l, " \r\t"); l != "" {
			lines = append(lines, inkan.Printable(l, 200))
		}
	}
	return lines
}

func (t *tail) String() string { return strings.Join(t.lines(), "\n") }

// said returns the last lines for an error message.
func (t *tail) said() string {
	lines := t.lines()
	if len(lines) == 0 {
		return ", and it printed nothing"
	}
	return "; it said: " + strings.Join(lines[max(0, len(lines)-tailLines):], " | ")
}
