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
// their options. People read what they gave instead.

// hashName finds such names in a text.
var hashName = regexp.MustCompile(`\b(files|exec|webroot|standalone|tls-alpn|manual-http|manual-dns)-[0-9a-f]{8}\b`)

// hashCA finds CAs that were named by URL.
var hashCA = regexp.MustCompile(`\bca-[0-9a-f]{16}\b`)

// InWords replaces the hash names in text by what they stand for.
func (m *Machine) InWords(ctx context.Context, text string) string {
	text = hashCA.ReplaceAllStringFunc(text, func(name string) string { return m.CATitle(ctx, name) })
	return hashName.ReplaceAllStringFunc(text, func(name string) string {
		for _, family := range []string{state.HostTargets, state.HostSolvers} {
			if words := m.hostWords(ctx, family, name); words != "" {
				return words
			}
		}
		if strings.HasPrefix(name, "manual-") { // by hand: there is nothing to say but the way
			return name[:strings.LastIndexByte(name, '-')]
		}
		return name
	})
}

// hostWords tells what a host record says: "/etc/ssl/live", "'systemctl reload
// nginx'". "" if there is no such record here.
func (m *Machine) hostWords(ctx context.Context, family, name string) string {
	r, err := m.loadHost(ctx, family, name)
	if err != nil {
		return ""
	}
	var o struct {
		Dir, Shell, Addr string
		Command          []string
	}
	if json.Unmarshal(r.Options, &o) != nil {
		return ""
	}
	switch {
	case o.Dir != "":
		return inkan.Printable(o.Dir, 300)
	case o.Addr != "":
		return inkan.Printable(o.Addr, 100)
	case o.Shell != "":
		return "'" + inkan.Printable(o.Shell, 300) + "'"
	case len(o.Command) > 0:
		return "'" + inkan.Printable(strings.Join(o.Command, " "), 300) + "'"
	}
	return ""
}

// TargetTitle names a target with its kind: "files in /etc/ssl/live".
func (m *Machine) TargetTitle(ctx context.Context, name string) string {
	words := m.hostWords(ctx, state.HostTargets, name)
	switch {
	case words == "":
		return name
	case strings.HasPrefix(name, "files-"):
		return "files in " + words
	case strings.HasPrefix(name, "exec-"):
		return "command " + words
	}
	return name + " " + words
}

// CATitle names a CA; one that is only known by its directory by that.
func (m *Machine) CATitle(ctx context.Context, name string) string {
	if strings.HasPrefix(name, "ca-") {
		if c, err := m.CA(ctx, name); err == nil && c.Directory != "" {
			return inkan.Printable(c.Directory, 200)
		}
	}
	return name
}

// ValidationTitle tells how control over names is shown.
func (m *Machine) ValidationTitle(ctx context.Context, v inkan.Validation) string {
	what := v.Type + " by " + v.Solver
	if words := m.hostWords(ctx, state.HostSolvers, v.Solver); words != "" {
		if strings.HasPrefix(v.Solver, "webroot-") {
			what = v.Type + " by files in " + words
		} else {
			what = v.Type + " by an own listener at " + words
		}
	} else if strings.HasPrefix(v.Solver, "manual-") {
		what = v.Type + " by hand"
	}
	if v.Match != "" && v.Match != "*" {
		what += " for " + v.Match
	}
	return what
}
