package command

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
)

func TestRunReturnsOutput(t *testing.T) {
	c := &Command{Args: []string{"sh", "-c", `read -r line; printf '%s|%s|%s' "$line" "$0" "$GREETING"; echo noise >&2`}, Env: []string{"GREETING=first"}, Timeout: time.Minute}
	out, err := c.Run(t.Context(), Call{Args: []string{"argument"}, Env: []string{"GREETING=second"}, Stdin: []byte("in\n"), MaxOutput: 100})
	if err != nil || string(out) != "in|argument|second" {
		t.Errorf("%q, %v", out, err)
	}
	out, err = c.Run(t.Context(), Call{Args: []string{"argument"}, Stdin: []byte("in\n"), MaxOutput: 5})
	if err != nil || string(out) != "in|ar" {
		t.Errorf("%q, %v", out, err)
	}
	if len(c.Args) != 3 {
		t.Errorf("a call has changed the command: %q", c.Args)
	}
}

// A command that ends politely when it is stopped has not done its work.
func TestRunStopped(t *testing.T) {
	c := &Command{Shell: `trap "exit 0" TERM; echo started; while :; do sleep 0.05; done`, Timeout: 300 * time.Millisecond}
	if _, err := c.Run(t.Context(), Call{}); err == nil || !strings.Contains(err.Error(), "stopped after 300ms; it said: started") {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Run(ctx, Call{}); !errors.Is(err, context.Canceled) || inkan.KindOf(err) != inkan.Pending {
		t.Errorf("error %v", err)
	}
}

// The longest secret goes first, as one may hold another.
func TestHidden(t *testing.T) {
	c := &Command{Env: []string{"A=hush-hush", "B=hush-hush-and-more", "PATH=/usr/bin", "SHORT=abc"}}
	if got := c.Hidden("hush-hush-and-more hush-hush abc /usr/bin"); got != "[secret] [secret] abc /usr/bin" {
		t.Errorf("%q", got)
	}
}
