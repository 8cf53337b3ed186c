package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/inkan-acme/inkan/internal/term"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// The groups in which inkan --help lists the commands.
const (
	groupDaily  = "daily"
	groupConfig = "config"
	groupMore   = "more"
)

// usage writes how a command is called, in lines that fit the terminal.
func (a *app) usage(cmd *cobra.Command) error {
	w := cmd.OutOrStdout()
	columns := term.Width(a.Stdout)
	if columns == 0 {
		columns = 80
	}
	fmt.Fprintf(w, "%s\n", a.Paint(term.Dim, "usage"))
	if cmd.Runnable() && !cmd.HasAvailableSubCommands() {
		fmt.Fprintf(w, "  %s\n", cmd.UseLine())
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(w, "  %s COMMAND [flags]\n", cmd.CommandPath())
	}
	groups := cmd.Groups()
	if len(groups) == 0 && cmd.HasAvailableSubCommands() {
		groups = []*cobra.Group{{Title: "commands"}}
	}
	for _, g := range groups {
		fmt.Fprintf(w, "\n%s\n", a.Paint(term.Dim, g.Title))
		var rows [][2]string
		for _, c := range cmd.Commands() {
			if c.GroupID == g.ID && c.IsAvailableCommand() {
				rows = append(rows, [2]string{c.Name(), c.Short})
			}
		}
		a.columns(w, rows, 12, columns)
	}
	for _, s := range []struct {
		title string
		flags *pflag.FlagSet
	}{{"flags", cmd.LocalFlags()}, {"flags of every command", cmd.InheritedFlags()}} {
		if rows := flagsOf(s.flags); len(rows) > 0 {
			fmt.Fprintf(w, "\n%s\n", a.Paint(term.Dim, s.title))
			a.columns(w, rows, 26, columns)
		}
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(w, "\n%s COMMAND --help tells more.\n", cmd.CommandPath())
	}
	return nil
}

// columns writes words and what they mean beside them, or below where a word
// is longer than n.
func (a *app) columns(w io.Writer, rows [][2]string, n, screen int) {
	margin := strings.Repeat(" ", n+4)
	for _, r := range rows {
		line := "  " + a.Paint(term.Bold, r[0])
		if term.Length(r[0]) > n {
			line += "\n" + margin
		} else {
			line += strings.Repeat(" ", n-term.Length(r[0])+2)
		}
		fmt.Fprintln(w, line+strings.Join(term.Wrap(r[1], screen-len(margin)-1), "\n"+margin))
	}
}
