package command

import (
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/inkan-acme/inkan"
)

// head keeps the beginning of what is written to it and passes everything on.
type head struct {
	max  int
	rest io.Writer

	mu  sync.Mutex // what is left in the background may still write
	buf []byte
}

func (h *head) Write(p []byte) (int, error) {
	h.mu.Lock()
	h.buf = append(h.buf, p[:min(len(p), h.max-len(h.buf))]...)
	h.mu.Unlock()
	return h.rest.Write(p)
}

func (h *head) bytes() []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.buf)
}

// hidden stands for a secret that a command printed.
const hidden = "[secret]"

// tail keeps the end of what is written to it.
type tail struct {
	max  int
	hide []string // secrets

	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p[max(0, len(p)-t.max):]...)
	if len(t.buf) > 2*t.max {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-t.max:]...)
	}
	return len(p), nil
}

// lines returns the kept lines, made fit for a terminal.
func (t *tail) lines() []string {
	t.mu.Lock()
	text := string(t.buf[max(0, len(t.buf)-t.max):])
	cut := len(t.buf) > t.max
	t.mu.Unlock()
	for _, secret := range t.hide {
		text = strings.ReplaceAll(text, secret, hidden)
		if cut { // it may begin in the middle of one
			text = text[min(len(text), len(secret)):]
		}
	}
	var lines []string
	for l := range strings.SplitSeq(text, "\n") {
		if l = strings.TrimRight(l, " \r\t"); l != "" {
			lines = append(lines, inkan.Printable(l, 200))
		}
	}
	return lines
}

func (t *tail) String() string { return strings.Join(t.lines(), "\n") }

// said returns the last lines for an error message.
func (t *tail) said() string {
	lines := t.lines()
	if len(lines) == 0 {
		return ", and it printed nothing"
	}
	return "; it said: " + strings.Join(lines[max(0, len(lines)-tailLines):], " | ")
}
