package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/acme"
	"github.com/inkan-acme/inkan/plug"
)

func (a *app) completionCommand() *cobra.Command {
	shells := []string{"bash", "zsh", "fish"}
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Write the completion script of a shell",
		Long: `Writes a script that lets the shell complete commands, flags and the names of
certificates, CAs and key types.

  bash  inkan completion bash > /etc/bash_completion.d/inkan
  zsh   inkan completion zsh > "${fpath[1]}/_inkan"
  fish  inkan completion fish > ~/.config/fish/completions/inkan.fish`,
		Args:                  someArgs(1, 1, "bash, zsh or fish"),
		ValidArgs:             shells,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch root := cmd.Root(); args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.Stdout, true)
			case "zsh":
				return root.GenZshCompletion(a.Stdout)
			case "fish":
				return root.GenFishCompletion(a.Stdout, true)
			}
			return usageError{errors.New(plug.Unknown("shell", args[0], shells))}
		},
	}
}

// completeFlags adds completion to the flags that say what is wanted.
func (a *app) completeFlags(cmd *cobra.Command) {
	register := func(flag string, f cobra.CompletionFunc) {
		if cmd.Flags().Lookup(flag) != nil {
			_ = cmd.RegisterFlagCompletionFunc(flag, f) // fails only for a flag that is not there
		}
	}
	keyTypes := make([]string, 0, len(inkan.AllKeyTypes()))
	for _, kt := range inkan.AllKeyTypes() {
		keyTypes = append(keyTypes, string(kt))
	}
	register("key", cobra.FixedCompletions(keyTypes, cobra.ShellCompDirectiveNoFileComp))
	register("account-key", cobra.FixedCompletions([]string{"ecdsa-p256", "ecdsa-p384", "rsa-2048", "rsa-3072", "rsa-4096"}, cobra.ShellCompDirectiveNoFileComp))
	register("eab-alg", cobra.FixedCompletions([]string{"HS256", "HS384", "HS512"}, cobra.ShellCompDirectiveNoFileComp))
	register("ca", a.completeCAs)
	register("name", a.completeNames)
	register(flagManual, cobra.FixedCompletions([]string{"http", "dns"}, cobra.ShellCompDirectiveNoFileComp))
	register(flagSolver, a.completeSolvers)
	for _, flag := range []string{flagWebroot, "deploy-dir"} {
		register(flag, func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		})
	}
}

// completeNames completes the names of certificates. It changes nothing: no
// directory is made for it.
func (a *app) completeNames(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	dir, err := a.Data()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	if _, err := os.Stat(filepath.Join(dir, "store")); err != nil && a.ConfigFile == "" {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	m, err := a.Manager(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	recorded, _ := m.Requests(ctx) // what can be read is worth offering
	var names []cobra.Completion
	for _, r := range recorded {
		if !slices.Contains(args, r.Name) {
			names = append(names, cobra.CompletionWithDesc(r.Name, namesShort(r.Identifiers)))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) completeCAs(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var names []cobra.Completion
	for _, ca := range acme.KnownCAs() {
		names = append(names, cobra.CompletionWithDesc(ca.Name, ca.Title))
	}
	if cfg, err := a.Config(); err == nil && cfg != nil {
		for name, ca := range cfg.CAs {
			if _, known := acme.KnownCA(name); !known {
				names = append(names, cobra.CompletionWithDesc(name, ca.Directory))
			}
		}
	}
	slices.Sort(names)
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) completeSolvers(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	cfg, err := a.Config()
	if err != nil || cfg == nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []cobra.Completion
	for _, name := range cfg.Solvers() {
		names = append(names, cobra.CompletionWithDesc(name, cfg.Challenge(name)))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) completePlugins(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var names []cobra.Completion
	if len(args) < 2 {
		kinds, err := a.findPlugins(args)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		for _, k := range kinds {
			if len(args) == 0 {
				names = append(names, k.Kind)
				continue
			}
			for _, p := range k.Plugins {
				names = append(names, cobra.CompletionWithDesc(p.Name, p.Help))
			}
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
