package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/inkan-acme/inkan"
)

// progress tells people what happens: on a terminal one line a certificate,
// rewritten as it goes; elsewhere a plain line a step.
type progress struct {
	a     *app
	live  bool
	mu    sync.Mutex
	start map[string]time.Time
	last  map[string]string
	line  string // what stands on the live line
}

// follow makes m report to a new progress, unless nobody wants to see it.
func (a *app) follow(m *inkan.Manager) *progress {
	p := &progress{a: a, start: map[string]time.Time{}, last: map[string]string{}}
	if a.quiet || a.json {
		return p
	}
	p.live = isTerminal(a.stderr) && a.verbose == 0 && a.env["TERM"] != "dumb"
	m.Progress = p.tell
	return p
}

func (p *progress) tell(e inkan.Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.start[e.Name]; !ok {
		p.start[e.Name] = time.Now()
	}
	elapsed := fmt.Sprintf("%5.1fs", time.Since(p.start[e.Name]).Seconds())
	if e.Done || p.last[e.Name] == e.Step {
		return
	}
	p.last[e.Name] = e.Step
	if p.live {
		p.rewrite(fmt.Sprintf("%s  %s: %s", p.a.paint(dim, elapsed), e.Name, e.Step))
		return
	}
	fmt.Fprintf(p.a.stderr, "%s  %s: %s\n", elapsed, e.Name, e.Step)
}

// rewrite replaces the live line.
func (p *progress) rewrite(line string) {
	fmt.Fprintf(p.a.stderr, "\r\x1b[K%s", line)
	p.line = line
}

// end takes the live line away.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live && p.line != "" {
		fmt.Fprint(p.a.stderr, "\r\x1b[K")
		p.line = ""
	}
}
