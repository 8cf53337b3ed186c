package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
)

func (a *app) generateCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "generate man|reference DIR",
		Short:  "Write the man pages, or the reference pages of the documentation",
		Hidden: true,
		Args:   someArgs(2, 2, "man or reference, and a directory"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var pages map[string][]byte
			switch args[0] {
			case "man":
				pages = manPages(cmd.Root())
			case "reference":
				pages = a.referencePages(cmd.Root())
			default:
				return usageError{errors.New(plug.Unknown("kind of pages", args[0], []string{"man", "reference"}))}
			}
			if err := os.MkdirAll(args[1], 0o755); err != nil {
				return inkan.Errorf(inkan.Operator, "writing pages", "%w", err)
			}
			for name, page := range pages {
				if err := os.WriteFile(filepath.Join(args[1], name), page, 0o644); err != nil {
					return inkan.Errorf(inkan.Operator, "writing pages", "%w", err)
				}
			}
			return nil
		},
	}
}

// commands returns cmd and all commands below it that are shown.
func commands(cmd *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{cmd}
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() && !c.IsAdditionalHelpTopicCommand() {
			all = append(all, commands(c)...)
		}
	}
	return all
}

// flagsOf lists flags as "--name VALUE, -n" with their help.
func flagsOf(set *pflag.FlagSet) (rows [][2]string) {
	set.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		value, help := pflag.UnquoteUsage(f)
		word := "--" + f.Name
		if value != "" && value != "count" {
			word += " " + value
			if f.NoOptDefVal != "" {
				word = "--" + f.Name + "[=" + value + "]"
			}
		}
		if f.Shorthand != "" {
			word = "-" + f.Shorthand + ", " + word
		}
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" && f.DefValue != "[]" {
			help += " (default " + f.DefValue + ")"
		}
		rows = append(rows, [2]string{word, help})
	})
	return rows
}

// exitStatuses is the table of docs/reference/exit-status.md.
func exitStatuses() [][3]string {
	return [][3]string{
		{"done, and something changed", "0", "0"},
		{"done, nothing to do", "0", "2"},
		{"failed, in whole or in part", "1", "1"},
		{"wrong usage", "2", "64"},
	}
}

// manPages returns a page for each command, in the man(7) macros.
func manPages(root *cobra.Command) map[string][]byte {
	pages := map[string][]byte{}
	all := commands(root)
	for _, c := range all {
		var b bytes.Buffer
		title := strings.ReplaceAll(c.CommandPath(), " ", "-")
		fmt.Fprintf(&b, ".TH %s 1 \"\" \"inkan\" \"Inkan\"\n.SH NAME\n%s \\- %s\n", strings.ToUpper(title), title, roff(c.Short))
		fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n", roff(c.UseLine()))
		b.WriteString(".SH DESCRIPTION\n")
		for i, part := range strings.Split(c.Long, "\n\n") {
			if i > 0 {
				b.WriteString(".PP\n")
			}
			if strings.HasPrefix(part, "  ") {
				fmt.Fprintf(&b, ".nf\n%s\n.fi\n", roff(part))
			} else {
				fmt.Fprintf(&b, "%s\n", roff(part))
			}
		}
		for _, s := range []struct {
			title string
			set   *pflag.FlagSet
		}{{"OPTIONS", c.NonInheritedFlags()}, {"OPTIONS OF EVERY COMMAND", c.InheritedFlags()}} {
			if rows := flagsOf(s.set); len(rows) > 0 {
				fmt.Fprintf(&b, ".SH %s\n", s.title)
				for _, r := range rows {
					fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", roff(r[0]), roff(r[1]))
				}
			}
		}
		b.WriteString(".SH EXIT STATUS\n")
		for _, s := range exitStatuses() {
			fmt.Fprintf(&b, ".TP\n.B %s\n%s (with \\-\\-detailed\\-exitcode: %s)\n", s[1], roff(s[0]), s[2])
		}
		b.WriteString(".SH SEE ALSO\n")
		var see []string
		for _, o := range all {
			if o != c && (o.Parent() == c || c.Parent() == o || c == root) {
				see = append(see, fmt.Sprintf(".BR %s (1)", roff(strings.ReplaceAll(o.CommandPath(), " ", "-"))))
			}
		}
		b.WriteString(strings.Join(see, ",\n") + "\n")
		pages[title+".1"] = b.Bytes()
	}
	return pages
}

// roff escapes text for troff.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}
