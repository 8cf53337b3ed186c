package cli

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
)

// Exit statuses (docs/reference/exit-status.md). With --detailed-exitcode a run
// that changed something ends with 0 and one that changed nothing with 2, as
// acme-client's does (ACL-14).
const (
	exitDone      = 0
	exitFailed    = 1
	exitUsage     = 2
	exitUnchanged = 2
	exitUsage64   = 64 // usage with --detailed-exitcode
)

// usageError marks what is wrong with the command line itself.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }

func (e usageError) Unwrap() error { return e.err }

// execute runs the command and returns the exit status.
func (a *app) execute(ctx context.Context) int {
	defer a.Close()
	cmd := a.rootCommand()
	cmd.SetArgs(joinListenAddress(a.args))
	cmd.SetIn(a.Stdin)
	cmd.SetOut(a.Stdout)
	cmd.SetErr(a.Stderr)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		if a.detailed && !a.changed {
			return exitUnchanged
		}
		return exitDone
	}
	if p, ok := errors.AsType[*fs.PathError](err); ok && p.Path == os.Stdout.Name() && errors.Is(err, syscall.EPIPE) {
		return exitFailed // inkan list --json | head: nobody wants to hear more
	}
	a.printError(err)
	if _, ok := errors.AsType[usageError](err); ok {
		if a.detailed {
			return exitUsage64
		}
		return exitUsage
	}
	return exitFailed
}

func (a *app) rootCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inkan",
		Short: "Obtain, keep, place and renew TLS certificates",
		Long: `Inkan obtains TLS certificates from ACME certificate authorities (Let's
Encrypt and every other), keeps them safe, renews them and brings them to
where they are used.

The first certificate:   inkan issue
And for ever after:      inkan renew      (from a timer, once an hour)`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{errors.New("there is no command " + inkan.Printable(args[0], 40) + suggestions(cmd, args[0]))}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.SetFlagErrorFunc(flagError)
	f := cmd.PersistentFlags()
	f.StringVar(&a.DataDir, "data", "", "keep state in `DIR` (default: /var/lib/inkan as root, else the XDG data home)")
	f.StringVar(&a.ConfigFile, "config", "", "read the configuration `FILE` (default: /etc/inkan/inkan.yaml as root, else the XDG config home)")
	f.BoolVar(&a.JSON, "json", false, "write JSON to standard output")
	f.BoolVarP(&a.Quiet, "quiet", "q", false, "write nothing but errors")
	f.CountVarP(&a.verbose, "verbose", "v", "tell more; twice tells every decision")
	f.BoolVar(&a.detailed, "detailed-exitcode", false, "exit with 0 if something changed, 2 if not, 1 on failure, 64 on wrong usage")
	cmd.AddGroup(&cobra.Group{ID: groupDaily, Title: "certificates"}, &cobra.Group{ID: groupConfig, Title: "from a configuration file"},
		&cobra.Group{ID: groupMore, Title: "more"})
	list := a.commands()
	// A command that is called by its name is made alone. Help, completion and
	// mistyped names need all of them.
	if i := slices.IndexFunc(list, func(c command) bool { return len(a.args) > 0 && c.name == a.args[0] }); i >= 0 {
		list = list[i : i+1]
	}
	for _, c := range list {
		made := c.make()
		made.GroupID = c.group
		cmd.AddCommand(made)
	}
	cmd.AddCommand(a.generateCommand())
	cmd.SetHelpCommand(&cobra.Command{Use: "help", Hidden: true, Args: cobra.ArbitraryArgs, RunE: func(_ *cobra.Command, args []string) error {
		about, rest, err := cmd.Find(args)
		if err != nil || len(rest) > 0 {
			return usageError{errors.New("there is no command " + inkan.Printable(strings.Join(args, " "), 60) + suggestions(cmd, args[0]))}
		}
		return about.Help()
	}})
	cmd.SetUsageFunc(a.usage)
	cmd.CompletionOptions.DisableDefaultCmd = true
	return cmd
}

// command is a command right below inkan, before it is made.
type command struct {
	group, name string
	make        func() *cobra.Command
}

func (a *app) commands() []command {
	return []command{
		{groupDaily, "issue", a.issueCommand},
		{groupDaily, "renew", a.renewCommand},
		{groupDaily, "list", a.listCommand},
		{groupDaily, "show", a.showCommand},
		{groupDaily, "plan", a.planCommand},
		{groupDaily, "reconfigure", a.reconfigureCommand},
		{groupDaily, "deploy", a.deployCommand},
		{groupDaily, "revoke", a.revokeCommand},
		{groupDaily, "delete", a.deleteCommand},
		{groupConfig, "apply", a.applyCommand},
		{groupConfig, "config", a.configCommand},
		{groupMore, "account", a.accountCommand},
		{groupMore, "ca", a.caCommand},
		{groupMore, "dns", a.dnsCommand},
		{groupMore, "snippet", a.snippetCommand},
		{groupMore, "plugins", a.pluginsCommand},
		{groupMore, "completion", a.completionCommand},
		{groupMore, "doctor", a.doctorCommand},
		{groupMore, "fsck", a.fsckCommand},
		{groupMore, "version", a.versionCommand},
	}
}

// joinListenAddress allows a space before the optional address of --standalone
// and --tls-alpn: the next argument is an address if it is "port" or
// "host:port". No name that can be in a certificate looks like that.
func joinListenAddress(args []string) []string {
	isAddress := func(s string) bool {
		return regexp.MustCompile(`^((\[[0-9a-fA-F:.]*\]|[^:\[\]]*):)?[0-9]+$`).MatchString(s)
	}
	out, listens := slices.Clone(args), listenFlags()
	for i := 0; i+1 < len(out) && out[i] != "--"; i++ {
		flag := strings.TrimPrefix(out[i], "--")
		if listens[flag] != "" && out[i] != flag && isAddress(out[i+1]) {
			addr := out[i+1]
			if !strings.Contains(addr, ":") {
				addr = ":" + addr
			}
			out = slices.Replace(out, i, i+2, "--"+flag+"="+addr)
		}
	}
	return out
}

// suggestions tells which command somebody who wrote word may have meant.
func suggestions(cmd *cobra.Command, word string) string {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	if near := plug.Nearest(word, names); near != "" {
		return "; did you mean " + near + "?"
	}
	return "; " + cmd.CommandPath() + " --help lists them"
}

// flagError is what is wrong with a flag, with the flag that was meant.
func flagError(cmd *cobra.Command, err error) error {
	word, unknown := strings.CutPrefix(err.Error(), "unknown flag: --")
	if !unknown {
		return usageError{err}
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	text := cmd.CommandPath() + " has no flag --" + inkan.Printable(word, 40)
	if near := plug.Nearest(word, names); near != "" {
		return usageError{errors.New(text + "; did you mean --" + near + "?")}
	}
	return usageError{errors.New(text + "; " + cmd.CommandPath() + " --help lists them")}
}

// version is the version of Inkan as the go command stamped it: that of this
// program, or of the module in a program with other plug-ins.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	const path = "github.com/inkan-acme/inkan"
	at := &info.Main
	if i := slices.IndexFunc(info.Deps, func(m *debug.Module) bool { return m.Path == path }); at.Path != path && i >= 0 {
		at = info.Deps[i]
	}
	if at.Version == "" {
		return "unknown"
	}
	return at.Version
}
