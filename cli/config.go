package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/inkan-acme/inkan/config"
	"github.com/inkan-acme/inkan/internal/term"
)

func (a *app) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check the configuration file, or describe its format",
		Args:  cobra.ArbitraryArgs,
		RunE:  subcommand,
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "check",
		Short: "Check the configuration file and tell every fault with its place",
		Long: `Reads the configuration file as every other command does and tells all faults
at once, each as FILE:LINE:COLUMN: what is wrong. It opens nothing and asks
nobody; secrets in other files are not read.`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error { return a.checkConfig() },
	})
	cmd.AddCommand(&cobra.Command{
		Use:   "schema",
		Short: "Print a JSON Schema of the configuration file, for editors",
		Long: `Prints a JSON Schema with which an editor completes and checks the file while
it is written. With the YAML language server, the first line of the file says
where it is:

  # yaml-language-server: $schema=inkan.schema.json`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := a.Stdout.Write(config.JSONSchema(a.Plugins()))
			return err
		},
	})
	return cmd
}

func (a *app) checkConfig() error {
	cfg, err := a.needConfig()
	if err != nil {
		return err
	}
	path, _ := a.ConfigPath()
	if a.JSON {
		return a.WriteJSON(map[string]any{"file": path, "certificates": len(cfg.Certificates), "cas": len(cfg.CAs),
			"accounts": len(cfg.Accounts()), "dns": len(cfg.DNS()), "solvers": len(cfg.Solvers()), "targets": len(cfg.Targets())})
	}
	parts := []string{count(len(cfg.Certificates), "certificate")}
	for _, p := range []struct {
		n    int
		what string
	}{{len(cfg.CAs), "CA"}, {len(cfg.Accounts()), "account"}, {len(cfg.DNS()), "DNS host"}, {len(cfg.Solvers()), "solver"}, {len(cfg.Targets()), "target"}} {
		if p.n > 0 {
			parts = append(parts, count(p.n, p.what))
		}
	}
	a.Say("%s: %s: %s", path, a.Paint(term.Green, "ok"), strings.Join(parts, ", "))
	return nil
}
