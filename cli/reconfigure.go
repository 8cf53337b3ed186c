package cli

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/inkan-acme/inkan"
)

func (a *app) reconfigureCommand() *cobra.Command {
	var r requestFlags
	var add, remove []string
	cmd := &cobra.Command{
		Use:   "reconfigure NAME",
		Short: "Change what is recorded for a certificate",
		Long: `Changes what "inkan issue" recorded: its names, CA, key, validation or targets.
What no flag names stays as it is. If the certificate in force no longer is what
is wanted, a new one is issued; if only targets changed, it is deployed.

  inkan reconfigure example.com --add-name mail.example.com
  inkan reconfigure example.com --run 'systemctl reload haproxy'
  inkan reconfigure example.com --run ''`,
		Args:              someArgs(1, 1, "the name of one certificate"),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !changes(cmd) {
				return usageError{errors.New("inkan reconfigure wants a flag that says what to change")}
			}
			r.name = args[0]
			return a.reconfigure(cmd.Context(), &r, cmd.Flags(), add, remove)
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&add, "add-name", nil, "put `NAME` into the certificate too (repeatable)")
	f.StringArrayVar(&remove, "remove-name", nil, "leave `NAME` out from now on (repeatable)")
	r.add(f)
	a.completeFlags(cmd)
	return cmd
}

// changes reports whether a flag of the command itself was given.
func changes(cmd *cobra.Command) (given bool) {
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) { given = given || f.Changed })
	return given
}

func (a *app) reconfigure(ctx context.Context, r *requestFlags, f *pflag.FlagSet, add, remove []string) error {
	m, err := a.Manager(ctx)
	if err != nil {
		return err
	}
	o, err := m.Observe(ctx, r.name)
	if err != nil {
		return err
	}
	if o.Request == nil || o.Request.Deleted {
		return inkan.Errorf(inkan.Operator, "certificate "+r.name, "nothing is recorded for it").WithHint("inkan issue records a new one")
	}
	names, err := newNames(&o.Request.CertificateRequest, add, remove)
	if err != nil {
		return err
	}
	return a.issue(ctx, r, f, names, issueOptions{dropNames: true})
}

// newNames returns the names of req with some more and some less; nil if they
// stay.
func newNames(req *inkan.CertificateRequest, add, remove []string) ([]string, error) {
	if len(add)+len(remove) == 0 {
		return nil, nil
	}
	plus, err := identifiers(add)
	if err != nil {
		return nil, err
	}
	minus, err := identifiers(remove)
	if err != nil {
		return nil, err
	}
	if gone := missing(minus, req.Identifiers); len(gone) > 0 {
		return nil, inkan.Errorf(inkan.Operator, "certificate "+req.Name, "it is not for %s", strings.Join(gone, " ")).
			WithHint("it is for %s", strings.Join(values(req.Identifiers), " "))
	}
	ids := slices.DeleteFunc(slices.Clone(req.Identifiers), func(id inkan.Identifier) bool { return slices.Contains(minus, id) })
	for _, id := range plus {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil, inkan.Errorf(inkan.Operator, "certificate "+req.Name, "no name would be left").WithHint("inkan delete %s removes it", req.Name)
	}
	return values(ids), nil
}
