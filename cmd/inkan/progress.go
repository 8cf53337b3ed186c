package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/inkan-acme/inkan/engine"
)

// maxLines is how many certificates a terminal shows at once.
const maxLines = 8

// redraw is how often the elapsed times on a terminal move.
const redraw = 100 * time.Millisecond

// progress tells people what happens. On a terminal each certificate in work
// has a line that is rewritten, and leaves one line when it is done; elsewhere
// each step is a plain line.
type progress struct {
	a     *app
	words func(string) string // what hash names stand for
	live  bool
	width int

	mu      sync.Mutex
	running []*running // the one with the newest step first
	all     map[string]*running
	done    int
	drawn   int // live lines on the screen
	paused  bool
	stop    chan struct{}
	stopped chan struct{}
}

// running is one certificate in work.
type running struct {
	name, step string
	begun      time.Time
}

// follow makes m report to a new progress, unless nobody wants to see it.
func (a *app) follow(ctx context.Context, m *engine.Manager) *progress {
	p := &progress{a: a, all: map[string]*running{}, words: func(step string) string {
		if target, ok := strings.CutPrefix(step, "deploying to "); ok {
			return "deploying: " + a.targetTitle(ctx, target)
		}
		return a.inWords(ctx, step)
	}}
	if a.quiet || a.json {
		return p
	}
	m.Progress = p.tell
	a.mu.Lock()
	a.following = p
	a.mu.Unlock()
	if isTerminal(a.stderr) && a.verbose == 0 && a.env["TERM"] != "dumb" {
		p.live, p.width = true, width(a.stderr)
		p.stop, p.stopped = make(chan struct{}), make(chan struct{})
		go p.tick()
	}
	return p
}

// tick moves the elapsed times until the end.
func (p *progress) tick() {
	defer close(p.stopped)
	t := time.NewTicker(redraw)
	defer t.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-t.C:
			p.mu.Lock()
			p.draw()
			p.mu.Unlock()
		}
	}
}

func (p *progress) tell(e engine.Progress) {
	step := p.words(e.Step)
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.all[e.Name]
	if r == nil {
		if e.Done {
			return // there was nothing to do
		}
		r = &running{name: e.Name, begun: time.Now()}
		p.all[e.Name] = r
	}
	switch {
	case e.Done:
		p.finish(r, e.Err)
	case r.step == step:
	default:
		r.step = step
		p.running = append([]*running{r}, slices.DeleteFunc(p.running, func(o *running) bool { return o == r })...)
		if p.live {
			p.draw()
		} else {
			fmt.Fprintln(p.a.stderr, p.line(r))
		}
	}
}

// finish takes the certificate off the live lines and leaves one line.
func (p *progress) finish(r *running, err error) {
	p.running = slices.DeleteFunc(p.running, func(o *running) bool { return o == r })
	delete(p.all, r.name)
	p.done++
	if !p.live {
		return
	}
	if err != nil {
		r.step = p.a.paintErr(red, "failed at: ") + r.step
	} else {
		r.step = p.a.paintErr(green, "done")
	}
	p.write(p.erase() + p.line(r) + "\n")
	p.draw()
}

func (p *progress) line(r *running) string {
	return fmt.Sprintf("%s  %s: %s", p.a.paintErr(dim, fmt.Sprintf("%6.1fs", time.Since(r.begun).Seconds())), r.name, r.step)
}

// draw replaces the live lines, in one write, so that nothing flickers. It is
// called with p.mu held.
func (p *progress) draw() {
	if !p.paused {
		p.write(p.erase() + p.lines())
	}
}

// pause takes the live lines away until resume is called, so that a person can
// be asked.
func (p *progress) pause() (resume func()) {
	set := func(paused bool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.paused = paused; paused {
			p.write(p.erase())
		} else if p.live {
			p.draw()
		}
	}
	set(true)
	return func() { set(false) }
}

func (p *progress) write(s string) {
	if s != "" {
		fmt.Fprint(p.a.stderr, s)
	}
}

// lines returns the live lines and counts them as drawn.
func (p *progress) lines() string {
	var b strings.Builder
	shown := p.running[:min(len(p.running), maxLines)]
	for _, r := range shown {
		short := *r
		short.name = shorten(r.name, max(p.width/2, 3))
		short.step = shorten(r.step, max(p.width-1-len("1234.5s  : ")-length(short.name), 3))
		b.WriteString(p.line(&short) + "\n")
	}
	p.drawn = len(shown)
	if more := len(p.running) - len(shown); more > 0 {
		b.WriteString(p.a.paintErr(dim, fmt.Sprintf("         and %d more, %d done", more, p.done)) + "\n")
		p.drawn++
	}
	return b.String()
}

// erase returns what takes the live lines off the screen.
func (p *progress) erase() string {
	if p.drawn == 0 {
		return ""
	}
	up := fmt.Sprintf("\x1b[%dA\r\x1b[J", p.drawn)
	p.drawn = 0
	return up
}

// end takes the live lines away for good.
func (p *progress) end() {
	if !p.live {
		return
	}
	close(p.stop)
	<-p.stopped
	p.mu.Lock()
	defer p.mu.Unlock()
	p.write(p.erase())
	p.live = false
}
