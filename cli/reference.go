package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/inkan-acme/inkan/acme"
	"github.com/inkan-acme/inkan/config"
	"github.com/inkan-acme/inkan/plug"
)

// generated stands at the top of every reference page.
const generated = "<!-- Made by `go run ./cmd/inkan generate reference docs/reference`; do not edit. -->\n\n"

// referencePages returns the pages of docs/reference by their file names. They
// come from the commands, the tags of the options and the built-in CAs, so they
// cannot say anything else than the program does.
func (a *app) referencePages(root *cobra.Command) map[string][]byte {
	return map[string][]byte{
		"commands.md":      []byte(generated + commandsPage(root)),
		"exit-status.md":   []byte(generated + exitStatusPage()),
		"configuration.md": []byte(generated + configurationPage()),
		"plugins.md":       []byte(generated + pluginsPage(a.Plugins().Describe())),
		"cas.md":           []byte(generated + casPage()),
		"doctor.md":        []byte(generated + doctorPage()),
	}
}

func commandsPage(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("# Commands\n\n")
	for _, c := range commands(root)[1:] {
		fmt.Fprintf(&b, "- [%s](#%s): %s\n", c.CommandPath(), strings.ReplaceAll(c.CommandPath(), " ", "-"), strings.ToLower(c.Short[:1])+c.Short[1:])
	}
	for _, c := range commands(root) {
		fmt.Fprintf(&b, "\n## %s\n\n", c.CommandPath())
		if c.Runnable() {
			fmt.Fprintf(&b, "```\n%s\n```\n\n", c.UseLine())
		}
		long := c.Long
		if long == "" {
			long = c.Short + "."
		}
		b.WriteString(proseAndCode(long))
		flags := c.NonInheritedFlags()
		if c == root {
			flags = root.PersistentFlags()
			b.WriteString("\nEvery command takes these:\n")
		}
		writeFlags(&b, flags)
	}
	return b.String()
}

// proseAndCode turns help text into Markdown: indented paragraphs are code.
func proseAndCode(text string) string {
	var parts []string
	for part := range strings.SplitSeq(text, "\n\n") {
		if strings.HasPrefix(part, "  ") {
			part = "```\n" + strings.TrimPrefix(strings.ReplaceAll(part, "\n  ", "\n"), "  ") + "\n```"
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "\n\n") + "\n"
}

func writeFlags(b *strings.Builder, set *pflag.FlagSet) {
	rows := flagsOf(set)
	if len(rows) == 0 {
		return
	}
	b.WriteString("\n| flag | |\n|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(b, "| `%s` | %s |\n", cell(r[0]), cell(r[1]))
	}
}

// cell escapes text for a cell of a table.
func cell(s string) string { return strings.NewReplacer("|", `\|`, "\n", " ").Replace(s) }

func exitStatusPage() string {
	var b strings.Builder
	b.WriteString("# Exit status\n\n| | plain | with `--detailed-exitcode` |\n|---|---|---|\n")
	for _, s := range exitStatuses() {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", s[0], s[1], s[2])
	}
	b.WriteString(`
"Changed" means: a certificate was issued or deployed, a record, an account or a
revocation was made. ` + "`inkan plan --detailed-exitcode`" + ` counts what would change.

Errors go to standard error as ` + "`inkan: error: ...`" + `, with lines that begin with
` + "`hint:`" + ` where something can be done and with ` + "`next:`" + ` where Inkan tries again by itself.
With ` + "`--json`" + ` each error is one JSON object on a line: name, error, kind, hints, next.
`)
	return b.String()
}

func configurationPage() string {
	var b strings.Builder
	b.WriteString(`# Configuration file

One YAML file, read from ` + "`--config FILE`" + `, else ` + "`/etc/inkan/inkan.yaml`" + ` as root, else
` + "`inkan/inkan.yaml`" + ` in the XDG config home. Unknown keys, repeated keys and wrong types
are refused with their place; ` + "`inkan config check`" + ` tells all of them. The options of
stores, solvers and targets stand on [their own page](plugins.md).

`)
	for _, o := range config.Schema() {
		fmt.Fprintf(&b, "## %s\n\n%s.\n", o.Name, strings.ToUpper(o.Help[:1])+o.Help[1:])
		writeOptions(&b, o.Fields)
		b.WriteString("\n")
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func writeOptions(b *strings.Builder, options []plug.Option) {
	if len(options) == 0 {
		return
	}
	b.WriteString("\n| key | type | |\n|---|---|---|\n")
	writeOptionRows(b, "", options)
}

func writeOptionRows(b *strings.Builder, path string, options []plug.Option) {
	for _, o := range options {
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", cell(path+o.Name), cell(o.Type), cell(optionHelp(o)))
		inner := path + o.Name + "."
		if o.Type == "map of names" {
			inner += "NAME."
		}
		writeOptionRows(b, inner, o.Fields)
	}
}

func pluginsPage(kinds []plug.KindInfo) string {
	var b strings.Builder
	b.WriteString(`# Plug-ins

A plug-in is named with ` + "`type`" + `; its options stand beside it. Secrets may be written as
the value itself, as ` + "`{file: PATH}`" + ` or as ` + "`{env: NAME}`" + `.
`)
	for _, k := range kinds {
		for _, p := range k.Plugins {
			fmt.Fprintf(&b, "\n## %s %s\n\n%s.", k.Kind, p.Name, strings.ToUpper(p.Help[:1])+p.Help[1:])
			if p.Challenge != "" {
				fmt.Fprintf(&b, " It answers challenges of type %s.", p.Challenge)
			}
			b.WriteString("\n")
			writeOptions(&b, p.Options)
		}
	}
	return b.String()
}

func casPage() string {
	var b strings.Builder
	b.WriteString(`# Built-in certificate authorities

Any other CA that speaks ACME is named by the https URL of its directory.

| name | CA | directory | account needs external account binding | source |
|---|---|---|---|---|
`)
	for _, ca := range acme.KnownCAs() {
		eab := "no"
		if ca.EABRequired {
			eab = "yes"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", ca.Name, ca.Title, ca.Directory, eab, ca.Source)
	}
	return b.String()
}
