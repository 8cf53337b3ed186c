package cli

import (
	"context"
	"errors"
	"github.com/inkan-acme/inkan/internal/term"
	"io"
	"testing"
)

// A question that is given up, because its order failed meanwhile, does not take
// the answer to the next one.
func TestAnswerAfterAQuestionThatWasGivenUp(t *testing.T) {
	in, keyboard := io.Pipe()
	defer keyboard.Close()
	q := (&term.Terminal{Stdin: in, Stderr: io.Discard}).Asker()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for range 2 {
		if _, err := askSure(gone, q); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	typed := make(chan error, 1)
	go func() {
		_, err := io.WriteString(keyboard, "sure\nyes\n")
		typed <- err
	}()
	if sure, err := askSure(t.Context(), q); !sure || err != nil {
		t.Errorf("sure: %v, %v", sure, err)
	}
	if yes, err := q.Yes("Really?", ""); !yes || err != nil {
		t.Errorf("yes: %v, %v", yes, err)
	}
	if err := <-typed; err != nil {
		t.Error(err)
	}
}
