package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/term"
	"github.com/inkan-acme/inkan/plug"
)

func (a *app) pluginsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "plugins [KIND [NAME]]",
		Short: "List the plug-ins and their options",
		Long: `Lists the stores, solvers, deployers and other plug-ins that a configuration
file can name with type, or the options of one of them.

  inkan plugins
  inkan plugins deployer files`,
		Args:              someArgs(0, 2, "a kind and a name, or less"),
		ValidArgsFunction: a.completePlugins,
		RunE: func(_ *cobra.Command, args []string) error {
			kinds, err := a.findPlugins(args)
			if err != nil {
				return err
			}
			if a.JSON {
				return a.WriteJSON(kinds)
			}
			if len(args) == 2 {
				a.sayPlugin(kinds[0].Kind, kinds[0].Plugins[0])
				return nil
			}
			a.sayPlugins(kinds)
			return nil
		},
	}
}

// findPlugins returns the kinds and plug-ins that the arguments name.
func (a *app) findPlugins(args []string) ([]plug.KindInfo, error) {
	kinds := slices.DeleteFunc(a.Plugins().Describe(), func(k plug.KindInfo) bool { return len(k.Plugins) == 0 })
	if len(args) == 0 {
		return kinds, nil
	}
	var names []string
	for _, k := range kinds {
		names = append(names, k.Kind)
	}
	i := slices.Index(names, args[0])
	if i < 0 {
		i = slices.Index(names, strings.TrimSuffix(args[0], "s")) // solvers:, as in the configuration file
	}
	if i < 0 {
		err := inkan.Errorf(inkan.Operator, "plug-ins", "%s", plug.Unknown("kind", args[0], names))
		for _, k := range kinds {
			if slices.ContainsFunc(k.Plugins, func(p plug.PluginInfo) bool { return p.Name == args[0] }) {
				err = err.WithHint("inkan plugins %s %s describes the %s of this name", k.Kind, args[0], k.Kind)
			}
		}
		return nil, err
	}
	kind := kinds[i]
	if len(args) == 1 {
		return []plug.KindInfo{kind}, nil
	}
	names = nil
	for _, p := range kind.Plugins {
		names = append(names, p.Name)
	}
	if i = slices.Index(names, args[1]); i < 0 {
		return nil, inkan.Errorf(inkan.Operator, "plug-ins", "%s", plug.Unknown(kind.Kind, args[1], names))
	}
	kind.Plugins = kind.Plugins[i : i+1]
	return []plug.KindInfo{kind}, nil
}

func (a *app) sayPlugins(kinds []plug.KindInfo) {
	if a.Quiet {
		return
	}
	t := term.Table{Header: []string{"KIND", "NAME", "WHAT IT DOES"}}
	for _, k := range kinds {
		kind := k.Kind
		for _, p := range k.Plugins {
			t.Add(kind, p.Name, p.Help)
			kind = ""
		}
	}
	t.Write(a.Terminal, a.Stdout)
}

func (a *app) sayPlugin(kind string, p plug.PluginInfo) {
	a.Say("%s %s", kind, a.Paint(term.Bold, p.Name))
	a.Paragraph("  ", p.Help)
	if p.Challenge != "" {
		a.Paragraph("  ", "it answers challenges of type "+p.Challenge)
	}
	if len(p.Options) == 0 || a.Quiet {
		return
	}
	a.Say("")
	t := term.Table{Header: []string{"OPTION", "TYPE", "WHAT IT SAYS"}, Elastic: []int{1}}
	addOptions(&t, "", p.Options)
	t.Colour = func(_, column int) string {
		if column == 0 {
			return term.Bold
		}
		return ""
	}
	t.Write(a.Terminal, a.Stdout)
}

func addOptions(t *term.Table, path string, options []plug.Option) {
	for _, o := range options {
		t.Add(path+o.Name, o.Type, optionHelp(o))
		addOptions(t, path+o.Name+".", o.Fields)
	}
}

// optionHelp is the help of an option with its default.
func optionHelp(o plug.Option) string {
	switch {
	case o.Required:
		return o.Help + " (required)"
	case o.Default != "":
		return o.Help + " (default " + o.Default + ")"
	}
	return o.Help
}
