package cli

import (
	"github.com/spf13/cobra"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/internal/term"
)

func (a *app) fsckCommand() *cobra.Command {
	var repair bool
	cmd := &cobra.Command{
		Use:   "fsck",
		Short: "Check everything that is kept: checksums, pairs, pointers, due entries",
		Long: `Reads every value of the state directory and checks that it is what was
written, that keys belong to their certificates, that chains are sound, that the
version in force is whole and that a timer will look at every certificate. It
says what it found and what --repair would do about it. Nothing is ever deleted
that has no copy.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			m, err := a.Manager(cmd.Context())
			if err != nil {
				return err
			}
			found, err := m.Verify(cmd.Context(), repair)
			if err != nil {
				return err
			}
			if a.JSON {
				if found == nil {
					found = []engine.Finding{}
				}
				if err := a.WriteJSON(found); err != nil {
					return err
				}
			}
			return a.sayFindings(found)
		},
	}
	cmd.Flags().BoolVar(&repair, "repair", false, "mend what can be mended")
	return cmd
}

// sayFindings prints what was found, the broken first, and fails if something
// broken is left.
func (a *app) sayFindings(found []engine.Finding) error {
	left := 0
	for _, severity := range []engine.Severity{engine.Broken, engine.Leftover, engine.Note} {
		for _, f := range found {
			if f.Severity != severity {
				continue
			}
			word := string(f.Severity)
			switch {
			case f.Done:
				a.changed = true
				word = a.Paint(term.Green, "mended")
			case severity == engine.Broken:
				left++
				word = a.Paint(term.Red, word)
			}
			a.Say("%s: %s", word, f.What)
			a.Say("  %s", f.Key)
			if f.Repair != "" && !f.Done {
				a.Say("  --repair would: %s", f.Repair)
			}
		}
	}
	if left > 0 {
		return inkan.Errorf(inkan.Operator, "fsck", "%s broken", count(left, "thing")).WithHint("see what each line says; inkan fsck --repair mends what can be mended")
	}
	if len(found) == 0 {
		a.Say("everything is sound")
	}
	return nil
}
