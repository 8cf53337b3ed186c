package machine

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/state"
	"github.com/inkan-acme/inkan/plugins"
)

// What was given on the command line is told in its own words, and the names of
// the configuration file are left alone, whatever they look like.
func TestTitles(t *testing.T) {
	ctx := t.Context()
	m := New(plugins.All(), map[string]string{}, "test", func() *slog.Logger { return slog.New(slog.DiscardHandler) })
	m.DataDir = t.TempDir()
	m.ConfigFile = "" // none is there
	files, err := m.SaveTarget(ctx, "files", map[string]any{"dir": "/etc/ssl/live"})
	if err != nil {
		t.Fatal(err)
	}
	exec, err := m.SaveTarget(ctx, "exec", map[string]any{"command": []string{"systemctl", "reload", "nginx"}})
	if err != nil {
		t.Fatal(err)
	}
	by, err := m.SaveSolver(ctx, "manual-dns", map[string]any{})
	if err != nil {
		t.Fatal(err)
	}
	_, host, err := m.Stores()
	if err != nil {
		t.Fatal(err)
	}
	old := inkan.HostRecord{Kind: "files", Options: []byte(`{"dir":"/srv"}`)}
	if err := state.SaveHost(ctx, host, state.HostTargets, "files-4a6b1720", old); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{files: "files in /etc/ssl/live", exec: "command 'systemctl reload nginx'", "files-4a6b1720": "files in /srv",
		"files-old": "files-old", "_files.00000000": "_files.00000000"} {
		if got := m.TargetTitle(ctx, name); got != want {
			t.Errorf("target %s: %s, want %s", name, got, want)
		}
	}
	for name, want := range map[string]string{files: "files", "files-4a6b1720": "files", "files-old": ""} {
		if got := m.TargetKind(ctx, name); got != want {
			t.Errorf("target %s is of the kind %q, want %q", name, got, want)
		}
	}
	if got := m.ValidationTitle(ctx, inkan.Validation{Type: inkan.DNS01, Solver: by}); got != "dns-01 by hand" {
		t.Error(got)
	}
	text := "certificate a at target " + exec + ": exit status 1 (" + files + ", files-old, _files.00000000) by " + by
	want := "certificate a at target 'systemctl reload nginx': exit status 1 (/etc/ssl/live, files-old, _files.00000000) by manual-dns"
	if got := m.InWords(ctx, text); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	if kind, ok := state.HostKind(exec); !ok || kind != "exec" || !strings.HasPrefix(exec, "_exec.") {
		t.Errorf("%s: %s, %v", exec, kind, ok)
	}
}
