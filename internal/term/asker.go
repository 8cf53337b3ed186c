package term

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/inkan-acme/inkan"
)

// Asker puts questions to a person, one line each.
type Asker struct {
	t    *Terminal
	in   *bufio.Reader
	next chan answer // of a read that a question began and did not wait for
}

// answer is a line that was read.
type answer struct {
	line string
	err  error
}

// read returns the next line. A reading cannot be called off: when ctx ends
// first, the line belongs to the next question.
func (q *Asker) read(ctx context.Context) (string, error) {
	if q.next == nil {
		next := make(chan answer, 1)
		q.next = next
		go func() {
			line, err := q.in.ReadString('\n')
			next <- answer{line, err}
		}()
	}
	select {
	case r := <-q.next:
		q.next = nil
		return r.line, r.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// Asker returns the one asker of this run: what it has read ahead is not lost.
func (t *Terminal) Asker() *Asker {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.questions == nil {
		t.questions = &Asker{t: t, in: bufio.NewReader(t.Stdin)}
	}
	return t.questions
}

// Ask repeats the question until check accepts the answer. An empty answer is
// the default; a nil check accepts anything.
func (q *Asker) Ask(question, def string, check func(string) error) (string, error) {
	return q.AskUntil(context.Background(), question, def, check)
}

// AskUntil is ask for a question that may be given up: it ends with ctx.
func (q *Asker) AskUntil(ctx context.Context, question, def string, check func(string) error) (string, error) {
	lines := Wrap(question, Width(q.t.Stderr)-1)
	for i := range lines {
		lines[i] = q.t.PaintErr(Bold, lines[i])
	}
	prompt := strings.Join(lines, "\n") + " "
	if def != "" {
		prompt += "[" + def + "] "
	}
	for {
		q.Say("%s", prompt)
		line, err := q.read(ctx)
		if err != nil {
			q.Say("\n")
			if ctx.Err() != nil {
				return "", ctx.Err()
			}
			if !errors.Is(err, io.EOF) {
				return "", inkan.Errorf(inkan.Operator, "reading the answer", "%w", err)
			}
			return "", inkan.Errorf(inkan.Operator, "reading the answer", "there was none").
				WithHint("nothing was changed; every question has a flag too (--help lists them)")
		}
		answer := strings.TrimSpace(line)
		if answer == "" {
			answer = def
		}
		if check == nil {
			return answer, nil
		}
		if err := check(answer); err != nil {
			q.t.TellErr(Yellow, "no:", err.Error())
			continue
		}
		return answer, nil
	}
}

func (q *Asker) Say(format string, args ...any) { fmt.Fprintf(q.t.Stderr, format, args...) }

// Yes asks a question that is answered by yes or no. Without a default it
// wants one of the words.
func (q *Asker) Yes(question, def string) (bool, error) {
	prompt := question + " (yes or no)"
	answer, err := q.Ask(prompt, def, func(s string) error {
		if !slices.Contains([]string{"yes", "y", "no", "n"}, strings.ToLower(s)) {
			return errors.New("please answer yes or no")
		}
		return nil
	})
	return err == nil && strings.ToLower(answer[:1]) == "y", err
}
