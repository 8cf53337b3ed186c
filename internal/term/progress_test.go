package term

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// screen plays what a terminal would show: lines, the cursor going up, and
// everything below it erased.
func screen(out string) []string {
	lines := []string{""}
	for len(out) > 0 {
		var n int
		if _, err := fmt.Sscanf(out, "\x1b[%dA", &n); err == nil {
			lines = lines[:len(lines)-n]
			lines[len(lines)-1] = ""
			out = out[strings.Index(out, "\x1b[J")+len("\x1b[J"):]
			continue
		}
		if out[0] == '\n' {
			lines = append(lines, "")
		} else {
			lines[len(lines)-1] += out[:1]
		}
		out = out[1:]
	}
	return lines[:len(lines)-1]
}

func liveProgress(b *bytes.Buffer) *Progress {
	return &Progress{t: &Terminal{Stderr: b}, Shown: true, Live: true, width: 80, all: map[string]*running{}, words: func(s string) string { return s },
		stop: make(chan struct{}), stopped: closed()}
}

func closed() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// Twenty certificates at once: eight lines, the newest first, and a count; each
// leaves a line when it is done, and at the end nothing else stands there.
func TestProgressOfMany(t *testing.T) {
	var b bytes.Buffer
	p := liveProgress(&b)
	for i := range 20 {
		p.Tell(fmt.Sprintf("n%02d.example", i), "ordering")
	}
	p.Tell("n03.example", strings.Repeat("long ", 40))
	lines := screen(b.String())
	if len(lines) != maxLines+1 || !strings.Contains(lines[0], "n03.example: long") || !strings.Contains(lines[8], "and 12 more, 0 done") {
		t.Fatalf("the screen shows\n%s", strings.Join(lines, "\n"))
	}
	for _, l := range lines {
		if Length(l) >= 80 {
			t.Errorf("a line of %d columns: %s", Length(l), l)
		}
	}
	p.Finished("n03.example", nil)
	p.Finished("n04.example", errors.New("broken"))
	p.Finished("never.example", nil)
	lines = screen(b.String())
	if len(lines) != 2+maxLines+1 || !strings.HasSuffix(lines[0], "n03.example: done") || !strings.HasSuffix(lines[1], "n04.example: failed at: ordering") ||
		!strings.Contains(lines[len(lines)-1], "and 10 more, 2 done") {
		t.Fatalf("the screen shows\n%s", strings.Join(lines, "\n"))
	}
	p.End()
	if lines = screen(b.String()); len(lines) != 2 {
		t.Errorf("at the end the screen shows\n%s", strings.Join(lines, "\n"))
	}
}

// Without a terminal each step is a plain line, told once.
func TestProgressInPlainLines(t *testing.T) {
	var b bytes.Buffer
	p := liveProgress(&b)
	p.Live = false
	for range 3 {
		p.Tell("a.example", "ordering")
	}
	p.Tell("a.example", "validating")
	p.Finished("a.example", nil)
	p.End()
	if out := b.String(); out != "   0.0s  a.example: ordering\n   0.0s  a.example: validating\n" {
		t.Errorf("it says\n%s", out)
	}
}
