package cli

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/inkan-acme/inkan/plug"
)

// A command that only prints does not look at its context, so Main catches no
// signals for it.
func TestVersionLooksAtNoContext(t *testing.T) {
	ctx := untilAsked{func() context.Context {
		t.Error("it looked")
		return t.Context()
	}}
	if status := Run(ctx, new(plug.Set), strings.NewReader(""), io.Discard, io.Discard, nil, []string{"version"}); status != exitDone {
		t.Errorf("status %d", status)
	}
}

// A command that is called by its name is made alone, and is the same as among
// all.
func TestCommandMadeAlone(t *testing.T) {
	a := testApp()
	a.args = nil
	all := a.rootCommand()
	for _, c := range a.commands() {
		a.args = []string{c.name}
		among, _, err := all.Find(a.args)
		if err != nil || among == all || among.Name() != c.name {
			t.Errorf("%s is not found among all: %v", c.name, err)
			continue
		}
		root := a.rootCommand()
		alone, _, err := root.Find(a.args)
		if n := len(root.Commands()); err != nil || n != 2 || alone.Name() != c.name { // and the hidden generate
			t.Fatalf("%s alone: %v, %d commands", c.name, err, n)
		}
		if text := alone.UsageString(); text == "" || text != among.UsageString() {
			t.Errorf("%s: its usage differs", c.name)
		}
	}
}
