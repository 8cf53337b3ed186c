package term

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxLines is how many certificates a terminal shows at once.
const maxLines = 8

// redraw is how often the elapsed times on a terminal move.
const redraw = 100 * time.Millisecond

// Progress tells people what happens. On a terminal each certificate in work
// has a line that is rewritten, and leaves one line when it is done; elsewhere
// each step is a plain line.
type Progress struct {
	t     *Terminal
	words func(string) string // what hash names stand for
	Shown bool                // somebody sees it
	Live  bool                // as lines that are rewritten
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

// NewProgress begins to tell people what happens, unless nobody wants to see it.
// On a terminal its lines are rewritten, unless plain lines are wanted. words
// turns a step into what people read.
func (t *Terminal) NewProgress(plain bool, words func(step string) string) *Progress {
	p := &Progress{t: t, all: map[string]*running{}, words: words}
	if t.Quiet || t.JSON {
		return p
	}
	p.Shown = true
	t.mu.Lock()
	t.following = p
	t.mu.Unlock()
	if isTerminal(t.Stderr) && !plain && !t.Dumb {
		p.Live, p.width = true, Width(t.Stderr)
		p.stop, p.stopped = make(chan struct{}), make(chan struct{})
		go p.tick()
	}
	return p
}

// tick moves the elapsed times until the end.
func (p *Progress) tick() {
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

// Tell tells that the certificate is at a step.
func (p *Progress) Tell(name, step string) {
	p.update(name, step, false, nil)
}

// Finished tells that the work on the certificate has ended, with err or well.
func (p *Progress) Finished(name string, err error) { p.update(name, "", true, err) }

func (p *Progress) update(name, step string, done bool, err error) {
	if !p.Shown {
		return
	}
	step = p.words(step)
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.all[name]
	if r == nil {
		if done {
			return // there was nothing to do
		}
		r = &running{name: name, begun: time.Now()}
		p.all[name] = r
	}
	switch {
	case done:
		p.finish(r, err)
	case r.step == step:
	default:
		r.step = step
		p.running = append([]*running{r}, slices.DeleteFunc(p.running, func(o *running) bool { return o == r })...)
		if p.Live {
			p.draw()
		} else {
			fmt.Fprintln(p.t.Stderr, p.line(r))
		}
	}
}

// finish takes the certificate off the live lines and leaves one line.
func (p *Progress) finish(r *running, err error) {
	p.running = slices.DeleteFunc(p.running, func(o *running) bool { return o == r })
	delete(p.all, r.name)
	p.done++
	if !p.Live {
		return
	}
	if err != nil {
		r.step = p.t.PaintErr(Red, "failed at: ") + r.step
	} else {
		r.step = p.t.PaintErr(Green, "done")
	}
	p.write(p.erase() + p.line(r) + "\n")
	p.draw()
}

func (p *Progress) line(r *running) string {
	return fmt.Sprintf("%s  %s: %s", p.t.PaintErr(Dim, fmt.Sprintf("%6.1fs", time.Since(r.begun).Seconds())), r.name, r.step)
}

// draw replaces the live lines, in one write, so that nothing flickers. It is
// called with p.mu held.
func (p *Progress) draw() {
	if !p.paused {
		p.write(p.erase() + p.lines())
	}
}

// pause takes the live lines away until resume is called, so that a person can
// be asked.
func (p *Progress) pause() (resume func()) {
	set := func(paused bool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.paused = paused; paused {
			p.write(p.erase())
		} else if p.Live {
			p.draw()
		}
	}
	set(true)
	return func() { set(false) }
}

func (p *Progress) write(s string) {
	if s != "" {
		fmt.Fprint(p.t.Stderr, s)
	}
}

// lines returns the live lines and counts them as drawn.
func (p *Progress) lines() string {
	var b strings.Builder
	shown := p.running[:min(len(p.running), maxLines)]
	for _, r := range shown {
		short := *r
		short.name = shorten(r.name, max(p.width/2, 3))
		short.step = shorten(r.step, max(p.width-1-len("1234.5s  : ")-Length(short.name), 3))
		b.WriteString(p.line(&short) + "\n")
	}
	p.drawn = len(shown)
	if more := len(p.running) - len(shown); more > 0 {
		b.WriteString(p.t.PaintErr(Dim, fmt.Sprintf("         and %d more, %d done", more, p.done)) + "\n")
		p.drawn++
	}
	return b.String()
}

// erase returns what takes the live lines off the screen.
func (p *Progress) erase() string {
	if p.drawn == 0 {
		return ""
	}
	up := fmt.Sprintf("\x1b[%dA\r\x1b[J", p.drawn)
	p.drawn = 0
	return up
}

// End takes the live lines away for good.
func (p *Progress) End() {
	if !p.Live {
		return
	}
	close(p.stop)
	<-p.stopped
	p.mu.Lock()
	defer p.mu.Unlock()
	p.write(p.erase())
	p.Live = false
}
