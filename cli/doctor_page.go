package cli

import (
	"fmt"
	"strings"

	"github.com/inkan-acme/inkan/doctor"
)

// doctorPage lists what doctor can find.
func doctorPage() string {
	var b strings.Builder
	b.WriteString(`# What inkan doctor finds

` + "`inkan doctor`" + ` looks before the CA does; see [its page](../doctor.md). An error means that a
certificate would not be issued or not be put in place. Where another way of validation or
another CA is left, the same finding is a warning.
`)
	group := ""
	for _, k := range doctor.Kinds() {
		if k.Group != group {
			group = k.Group
			fmt.Fprintf(&b, "\n## %s\n\n| finding | | what it means | what to do |\n|---|---|---|---|\n", strings.ToUpper(group[:1])+group[1:])
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", k.ID, k.Severity, cell(k.Meaning), cell(k.Remedy))
	}
	return b.String()
}
