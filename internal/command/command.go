// Package command runs the programs that a person configured: a clean
// environment, no shell unless asked for, a process group that ends at a
// timeout, and output that is capped and made fit for a message.
package command

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
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
)

// Command is a program as it is configured. Its methods are safe for
// concurrent use.
type Command struct {
	Args    []string      // the program, a plain name or an absolute path, and its arguments
	Shell   string        // a line for /bin/sh, in place of Args
	Dir     string        // where it runs; "": /
	Env     []string      // NAME=value, beside PATH, HOME and LANG
	Timeout time.Duration // until the group gets SIGTERM
	Grace   time.Duration // from SIGTERM to SIGKILL; 0: five seconds
	Log     *slog.Logger  // nil discards
}

// Call is what one run adds.
type Call struct {
	Args  []string // behind those of the command
	Env   []string // wins over the command's
	Stdin []byte
	// MaxOutput is how many bytes of standard output Run returns; 0: none,
	// and then it is told with standard error in its order.
	MaxOutput int
}

const (
	defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	// killGrace is the time between the polite signal and the other one.
	killGrace = 5 * time.Second
	maxTail   = 64 << 10
	tailLines = 5 // of the output, in an error
	// outputGrace is how long output is read after the command has ended.
	outputGrace = 500 * time.Millisecond
)

// Check refuses what cannot be run. Its errors are of kind Operator and name
// the options command, shell, dir and timeout.
func (c *Command) Check() error {
	fail := func(format string, args ...any) error { return inkan.Errorf(inkan.Operator, "", format, args...) }
	switch {
	case len(c.Args) == 0 && c.Shell == "":
		return fail("one of the keys command and shell is missing")
	case len(c.Args) > 0 && c.Shell != "":
		return fail("command and shell exclude each other")
	case len(c.Args) > 0 && strings.Contains(c.Args[0], "/") && !filepath.IsAbs(c.Args[0]):
		return fail("the command %q must be an absolute path or a plain name", inkan.Printable(c.Args[0], 200))
	case len(c.Args) == 1 && strings.ContainsAny(c.Args[0], " \t"):
		return fail("the command %q is one word with spaces; write [%s], or use shell", inkan.Printable(c.Args[0], 100),
			inkan.Printable(strings.Join(strings.Fields(c.Args[0]), ", "), 100))
	case c.Dir != "" && !filepath.IsAbs(c.Dir):
		return fail("dir must be an absolute path, not %q", inkan.Printable(c.Dir, 200))
	case c.Timeout < 0:
		return fail("timeout is negative")
	}
	for _, s := range append([]string{c.Shell, c.Dir}, c.Args...) {
		if strings.ContainsRune(s, 0) {
			return fail("a command cannot hold a NUL character")
		}
	}
	return nil
}

// CheckEnv refuses what cannot be an environment variable, and names that
// begin with one of the reserved prefixes, which Inkan sets itself.
func CheckEnv[V interface{ Reveal() string }](env map[string]V, reserved ...string) error {
	for name, value := range env {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.ContainsRune(value.Reveal(), 0) {
			return inkan.Errorf(inkan.Operator, "", "env: %q cannot be an environment variable", inkan.Printable(name, 60))
		}
		for _, prefix := range reserved {
			if strings.HasPrefix(name, prefix) {
				return inkan.Errorf(inkan.Operator, "", "env: %s is set by Inkan", inkan.Printable(name, 60))
			}
		}
	}
	return nil
}

// Op names the command by its program: the arguments may be nobody's business.
func (c *Command) Op() string {
	if c.Shell != "" {
		return "running the shell line"
	}
	return "running " + inkan.Printable(filepath.Base(c.Args[0]), 80)
}

// hide returns the values that only the command was given: if it prints them, as
// a shell does that runs with -x, they are taken out, as messages go far. What is
// shorter than six bytes is no secret and may be part of any word.
func (c *Command) hide() []string {
	var secrets []string
	for _, v := range c.Env {
		if name, value, _ := strings.Cut(v, "="); len(value) >= 6 && name != "PATH" {
			secrets = append(secrets, value)
		}
	}
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) }) // one may hold another
	return secrets
}

// Hidden returns what the command printed without the values that only it was
// given, for use in a message.
func (c *Command) Hidden(text string) string {
	for _, secret := range c.hide() {
		text = strings.ReplaceAll(text, secret, hidden)
	}
	return text
}

// Environ returns the whole environment of a call.
func (c *Command) Environ(more ...string) []string {
	vars := []string{"PATH=" + defaultPath, "HOME=" + home(), "LANG=C.UTF-8"}
	return append(append(vars, c.Env...), more...)
}

// Run runs the command and returns the beginning of what it wrote to standard
// output, as much as the call asks for.
//
// It runs in a process group of its own. At the timeout, or when ctx ends, the
// group gets SIGTERM, then SIGKILL. What the command leaves in the background
// is not waited for, and lives on if the command succeeded.
//
// Another exit status than 0 is an error of kind Temporary with the last lines
// of the output, a command that cannot be run at all one of kind Operator.
func (c *Command) Run(ctx context.Context, call Call) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, c.cut(err)
	}
	args := c.Args
	if c.Shell != "" {
		args = []string{"/bin/sh", "-c", c.Shell}
	}
	path, err := c.find(args[0])
	if err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	said := &tail{max: maxTail, hide: c.hide()}
	out := &head{max: call.MaxOutput, rest: said}
	cmd := exec.Command(path, append(args[1:len(args):len(args)], call.Args...)...)
	cmd.Args[0] = args[0]
	cmd.Dir, cmd.Env = cmp.Or(c.Dir, "/"), c.Environ(call.Env...)
	cmd.Stdout, cmd.Stderr = io.Writer(said), said
	if call.MaxOutput > 0 {
		cmd.Stdout = out
	}
	if call.Stdin != nil {
		cmd.Stdin = bytes.NewReader(call.Stdin)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = outputGrace
	if err := cmd.Start(); err != nil {
		return nil, inkan.Errorf(inkan.Operator, c.Op(), "it cannot be started: %w", err).
			WithHint("a script needs a first line such as #!/bin/sh, and its directory must exist")
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err = <-ended:
	case <-limited.Done():
		err = stop(cmd.Process.Pid, ended, cmp.Or(c.Grace, killGrace))
	}
	if c.Log != nil {
		c.Log.DebugContext(ctx, "command has run", "command", c.Op(), "error", err, "output", said.String())
	}
	exit, failed := errors.AsType[*exec.ExitError](err)
	switch {
	case ctx.Err() != nil:
		return nil, c.cut(ctx.Err())
	case limited.Err() != nil && err != nil:
		return nil, inkan.Errorf(inkan.Temporary, c.Op(), "stopped after %v%s", c.Timeout, said.said()).WithHint("raise timeout if it needs longer")
	case errors.Is(err, exec.ErrWaitDelay):
		// It exited with 0; only its output is still open.
		if c.Log != nil {
			c.Log.WarnContext(ctx, "a command left a process that holds its output, which nobody reads any more; begin that with >/dev/null 2>&1", "command", c.Op())
		}
		return out.bytes(), nil
	case failed:
		return nil, inkan.Errorf(inkan.Temporary, c.Op(), "%s%s", exit.ProcessState, said.said())
	case err != nil:
		return nil, inkan.Errorf(inkan.Temporary, c.Op(), "%w%s", err, said.said())
	}
	return out.bytes(), nil
}

func (c *Command) cut(err error) error {
	return &inkan.Error{Op: c.Op(), Kind: inkan.KindOf(err), Err: err}
}

// find returns the path of the program. The search path is that of the
// command, not that of this process.
func (c *Command) find(name string) (string, error) {
	var candidates []string
	if filepath.IsAbs(name) {
		candidates = []string{name}
	} else {
		search := defaultPath
		for _, v := range c.Env {
			if p, ok := strings.CutPrefix(v, "PATH="); ok {
				search = p
			}
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
			refused = inkan.Errorf(inkan.Operator, c.Op(), "%w", err).WithHint("check the permissions on the way to it")
		case err != nil:
		case !info.Mode().IsRegular():
			refused = inkan.Errorf(inkan.Operator, c.Op(), "%s is not a program", path).WithHint("name the program itself")
		case info.Mode().Perm()&0o111 == 0:
			refused = inkan.Errorf(inkan.Operator, c.Op(), "%s is not executable", path).WithHint("chmod +x %s", path)
		default:
			return path, nil
		}
	}
	if refused != nil {
		return "", refused
	}
	if filepath.IsAbs(name) {
		return "", inkan.Errorf(inkan.Operator, c.Op(), "there is no %s", name).WithHint("install it, or change the command")
	}
	return "", inkan.Errorf(inkan.Operator, c.Op(), "it was not found in the search path").
		WithHint("give its absolute path, or set PATH in env")
}

func home() string {
	u, err := user.LookupId(strconv.Itoa(os.Geteuid()))
	if err != nil {
		return "/"
	}
	return cmp.Or(u.HomeDir, "/")
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
	if err == nil {
		// It gave in, and called that a success.
		err = fmt.Errorf("it ended at the signal")
	}
	return err
}
