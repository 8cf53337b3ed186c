// Package failpoint kills a program at a chosen change of the world: before or
// after a write to a Store or a request to a CA.
//
// Nothing marks the points in the code that is tested. They come from a run that
// was recorded: every Put, every Delete and every HTTP request is one, and is
// called by what it is and the how-manieth of its kind it is in the run, such as
// "put store/orders#2". Reads are no points: between two changes the world is the
// same for whoever comes next. The program cmd/inkan is built with it by the
// build tag failpoint; the tests in internal/endtoend drive that.
package failpoint

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// Points counts the changes that one process makes and ends it at one of them.
// It is safe for concurrent use.
type Points struct {
	// Die ends the process; nil is SIGKILL, of which nothing can be caught.
	Die func()

	spec Spec

	mu    sync.Mutex
	trace io.Writer
	count map[string]int // by name
	all   int
}

// Spec says at which point to die. The zero value is nowhere.
type Spec struct {
	After bool   // the change is made and nobody hears of it
	Point string // "put store/orders#2"
	Index int    // or: the how-manieth point of all, from 1
}

// ParseSpec reads "before POINT" or "after POINT", where POINT may be the number
// of a point among all. "" is nowhere.
func ParseSpec(text string) (Spec, error) {
	if text == "" {
		return Spec{}, nil
	}
	when, point, _ := strings.Cut(text, " ")
	if when != "before" && when != "after" || point == "" {
		return Spec{}, fmt.Errorf("failpoint %q: want before POINT or after POINT", text)
	}
	s := Spec{After: when == "after", Point: point}
	if i, err := strconv.Atoi(point); err == nil {
		s.Point, s.Index = "", i
	}
	return s, nil
}

// String is what ParseSpec reads.
func (s Spec) String() string {
	when, point := "before ", s.Point
	if s.After {
		when = "after "
	}
	if s.Index > 0 {
		point = strconv.Itoa(s.Index)
	}
	return when + point
}

// New returns Points that die at spec. trace, if not nil, is written a line for
// the beginning and the end of every change: see [ParseTrace].
func New(spec Spec, trace io.Writer) *Points {
	return &Points{spec: spec, trace: trace, count: map[string]int{}}
}

// Pass makes one change of the world and returns its error.
func (p *Points) Pass(name string, change func() error) error {
	point, here := p.begin(name)
	if here && !p.spec.After {
		p.die()
	}
	err := change()
	if here && p.spec.After {
		p.die()
	}
	p.note(ended, point)
	return err
}

func (p *Points) begin(name string) (point string, here bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all++
	p.count[name]++
	point = name + "#" + strconv.Itoa(p.count[name])
	p.write(began, point)
	return point, point == p.spec.Point || p.all == p.spec.Index
}

const (
	began = "> "
	ended = "< "
)

func (p *Points) note(mark, point string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.write(mark, point)
}

// write writes one line with one call, so that a kill leaves whole lines.
func (p *Points) write(mark, point string) {
	if p.trace == nil {
		return
	}
	if _, err := io.WriteString(p.trace, mark+point+"\n"); err != nil {
		panic("failpoint: the trace cannot be written: " + err.Error())
	}
}

func (p *Points) die() {
	if p.Die != nil {
		p.Die()
		return
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
		panic("failpoint: " + err.Error())
	}
	select {} // the signal is on its way
}

// Trace is what a run did, in order.
type Trace []Change

// Change is one change of a Trace.
type Change struct {
	Point string
	Ended bool // the program heard the outcome
	After int  // how many changes had ended when it began
}

// ParseTrace reads what [New] was made to write.
func ParseTrace(data []byte) (Trace, error) {
	var t Trace
	open := map[string]int{}
	done := 0
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSuffix(line, "\n")
		point, begins := strings.CutPrefix(line, began)
		if begins {
			open[point] = len(t)
			t = append(t, Change{Point: point, After: done})
			continue
		}
		point, ends := strings.CutPrefix(line, ended)
		i, known := open[point]
		if !ends || !known {
			return nil, fmt.Errorf("not a line of a trace: %q", line)
		}
		t[i].Ended = true
		done++
	}
	return t, nil
}

// Kind returns the point's name without its number: "put store/orders".
func (c Change) Kind() string {
	kind, _, _ := strings.Cut(c.Point, "#")
	return kind
}
