package machine

import (
	"context"
	"encoding/json"
	"regexp"
	"strings"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/state"
)

// Targets and solvers given on the command line are named after a hash of
// their options, and CAs after a hash of their URL. People read what they gave
// instead.

// hostName finds names of the form that [state.HostName] gives, and hashCA those
// that acme.CAName gives.
var (
	hostName = regexp.MustCompile(`\b_[a-z0-9-]+\.[0-9a-f]{8}\b`)
	hashCA   = regexp.MustCompile(`\bca-[0-9a-f]{16}\b`)
)

// InWords replaces the hash names in text by what they stand for.
func (m *Machine) InWords(ctx context.Context, text string) string {
	text = hashCA.ReplaceAllStringFunc(text, func(name string) string { return m.CATitle(ctx, name) })
	return hostName.ReplaceAllStringFunc(text, func(name string) string {
		for _, family := range []string{state.HostTargets, state.HostSolvers} {
			if what := m.given(ctx, family, name); what.words != "" {
				return what.words
			}
		}
		if kind, ok := state.HostKind(name); ok && strings.HasPrefix(kind, manualKind) {
			return kind // there is nothing to say but the way
		}
		return name
	})
}

// manualKind begins the kinds of the solvers that ask a person.
const manualKind = "manual-"

// given is what was given on the command line.
type given struct {
	kind  string // the plug-in; "" if nothing of the name is known here
	words string // what it was told: "/etc/ssl/live", "'systemctl reload nginx'"; "" if there is nothing to tell
}

// given returns what a host record says.
func (m *Machine) given(ctx context.Context, family, name string) given {
	r, err := m.loadHost(ctx, family, name)
	if err != nil {
		return given{}
	}
	var o struct {
		Dir, Shell, Addr string
		Command          []string
	}
	if json.Unmarshal(r.Options, &o) != nil {
		return given{kind: r.Kind}
	}
	words := ""
	switch {
	case o.Dir != "":
		words = inkan.Printable(o.Dir, 300)
	case o.Addr != "":
		words = inkan.Printable(o.Addr, 100)
	case o.Shell != "":
		words = "'" + inkan.Printable(o.Shell, 300) + "'"
	case len(o.Command) > 0:
		words = "'" + inkan.Printable(strings.Join(o.Command, " "), 300) + "'"
	}
	return given{r.Kind, words}
}

// TargetKind returns the plug-in of a target that was given on the command line;
// "" for any other.
func (m *Machine) TargetKind(ctx context.Context, name string) string {
	return m.given(ctx, state.HostTargets, name).kind
}

// TargetTitle names a target with its kind: "files in /etc/ssl/live".
func (m *Machine) TargetTitle(ctx context.Context, name string) string {
	switch what := m.given(ctx, state.HostTargets, name); {
	case what.words == "":
		return name
	case what.kind == "files":
		return "files in " + what.words
	case what.kind == "exec":
		return "command " + what.words
	default:
		return what.kind + " " + what.words
	}
}

// CATitle names a CA; one that is only known by its directory by that.
func (m *Machine) CATitle(ctx context.Context, name string) string {
	if hashCA.MatchString(name) {
		if c, err := m.CA(ctx, name); err == nil && c.Directory != "" {
			return inkan.Printable(c.Directory, 200)
		}
	}
	return name
}

// ValidationTitle tells how control over names is shown.
func (m *Machine) ValidationTitle(ctx context.Context, v inkan.Validation) string {
	title := v.Type + " by " + v.Solver
	switch what := m.given(ctx, state.HostSolvers, v.Solver); {
	case strings.HasPrefix(what.kind, manualKind):
		title = v.Type + " by hand"
	case what.words == "":
	case what.kind == "webroot":
		title = v.Type + " by files in " + what.words
	default:
		title = v.Type + " by Inkan's own listener at " + what.words
	}
	if v.Match != "" && v.Match != "*" {
		title += " for " + v.Match
	}
	return title
}
