package dnslookup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"

	"github.com/inkan-acme/inkan"
)

const (
	// A server that does not show a record yet is asked again after 50 ms,
	// 100 ms ... and never later than lastPause, so that what has become
	// visible everywhere is noticed within half a second.
	firstPause = 50 * time.Millisecond
	lastPause  = 250 * time.Millisecond
	// awaitTimeout is for one question.
	awaitTimeout = 2 * time.Second
	// silentAfter is how long a server may say nothing at all before it is
	// left out, if others show the records: a CA gets no answer there either.
	silentAfter = 10 * time.Second
	// atOnce is how many names one server is asked for at once.
	atOnce = 16
)

// Wanted are TXT values that shall stand at a name.
type Wanted struct {
	Name   string
	Values []string
}

// Await returns when every server shows every value, whatever else stands
// there. recurse says that the servers are resolvers. When ctx's deadline
// passes, the error, of kind Temporary, names the servers that lag and what
// they answer.
func (c *Client) Await(ctx context.Context, servers []Server, wanted []Wanted, recurse bool) error {
	if len(wanted) == 0 {
		return nil
	}
	start := time.Now()
	asking, stop := context.WithCancel(ctx)
	defer stop()
	patient := *c
	patient.Timeout = awaitTimeout
	changed := make(chan struct{}, 1)
	watches := make([]*watch, len(servers))
	var running sync.WaitGroup
	for i, s := range servers {
		w := &watch{client: &patient, server: s, recurse: recurse, changed: changed}
		watches[i] = w
		running.Go(func() { w.run(asking, slices.Clone(wanted)) })
	}
	defer running.Wait()
	defer stop()
	giveUp := time.NewTimer(silentAfter)
	defer giveUp.Stop()
	for {
		if enough(watches, time.Since(start) >= silentAfter) {
			return nil
		}
		select {
		case <-changed:
		case <-giveUp.C:
		case <-ctx.Done():
			return late(ctx, wanted, watches, time.Since(start))
		}
	}
}

// enough reports whether no server has anything more to say: all that can be
// reached show everything, and at least one does.
func enough(watches []*watch, patienceEnded bool) bool {
	shown := 0
	for _, w := range watches {
		switch s := w.state(); {
		case s.done:
			shown++
		case s.noRoute: // this machine has no IPv6, for instance
		case patienceEnded && !s.heard:
		default:
			return false
		}
	}
	return shown > 0
}

// watch asks one server until it shows everything.
type watch struct {
	client  *Client
	server  Server
	recurse bool
	changed chan<- struct{}

	mu sync.Mutex
	s  watchState
}

type watchState struct {
	done    bool
	heard   bool   // it has answered something
	noRoute bool   // this machine cannot send to its address
	name    string // the last name that was missing
	said    string // and what the server said of it
}

func (w *watch) state() watchState {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.s
}

// run asks for one name as long as that is missing, then for all others at
// once: what is published together mostly appears together.
func (w *watch) run(ctx context.Context, pending []Wanted) {
	pause := firstPause
	for ctx.Err() == nil {
		if w.shows(ctx, pending[0]) {
			pending = w.missing(ctx, pending[1:])
		}
		if len(pending) == 0 {
			w.set(func(s *watchState) { s.done = true })
			return
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
		pause = min(2*pause, lastPause)
	}
}

func (w *watch) missing(ctx context.Context, wanted []Wanted) []Wanted {
	shown := make([]bool, len(wanted))
	var g errgroup.Group
	g.SetLimit(atOnce)
	for i, want := range wanted {
		g.Go(func() error {
			shown[i] = w.shows(ctx, want)
			return nil
		})
	}
	_ = g.Wait()
	var missing []Wanted
	for i, want := range wanted {
		if !shown[i] {
			missing = append(missing, want)
		}
	}
	return missing
}

// shows asks for one name once.
func (w *watch) shows(ctx context.Context, want Wanted) bool {
	a, err := w.client.Ask(ctx, Question{Server: w.server.Addr, Name: want.Name, Type: dns.TypeTXT, Recurse: w.recurse})
	if ended(ctx) != nil {
		return false
	}
	var values []string
	if err == nil {
		values = a.TXT()
	}
	absent := slices.DeleteFunc(slices.Clone(want.Values), func(v string) bool { return slices.Contains(values, v) })
	if err == nil && len(absent) == 0 {
		w.set(func(s *watchState) { s.heard = true })
		return true
	}
	_, silent := errors.AsType[*SilentError](err)
	w.set(func(s *watchState) {
		s.heard = s.heard || !silent
		s.noRoute = errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL)
		s.name, s.said = want.Name, describe(a, err, values)
	})
	return false
}

func (w *watch) set(f func(*watchState)) {
	w.mu.Lock()
	f(&w.s)
	w.mu.Unlock()
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// describe puts what a server said in words.
func describe(a *Answer, err error, values []string) string {
	var e *inkan.Error
	switch {
	case errors.As(err, &e):
		return e.Err.Error()
	case err != nil:
		return err.Error()
	case len(values) > 0:
		if len(values) == 1 {
			return fmt.Sprintf("it answers with another value, %q", inkan.Printable(values[0], 80))
		}
		return fmt.Sprintf("it answers with %d values, and one is missing", len(values))
	case a.Code == dns.RcodeNameError:
		return "it answers that there is no such name (NXDOMAIN)"
	case a.Authoritative:
		return "it answers that there is no TXT record"
	}
	return "it has no answer, and is not authoritative for the name"
}

// late names the servers that lag.
func late(ctx context.Context, wanted []Wanted, watches []*watch, after time.Duration) error {
	op := "waiting for the TXT record of " + inkan.Printable(wanted[0].Name, 260)
	if len(wanted) > 1 {
		op += fmt.Sprintf(" and %d more", len(wanted)-1)
	}
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &inkan.Error{Op: op, Kind: inkan.KindOf(ctx.Err()), Err: ctx.Err()}
	}
	var lag []string
	for _, w := range watches {
		switch s := w.state(); {
		case s.done:
		case s.said == "":
			lag = append(lag, w.server.String()+": no answer yet")
		default:
			lag = append(lag, fmt.Sprintf("%s: %s at %s", w.server, s.said, inkan.Printable(s.name, 260)))
		}
	}
	count, more := len(lag), ""
	if count > 3 {
		lag, more = lag[:3], fmt.Sprintf("; and %d more", count-3)
	}
	return inkan.Errorf(inkan.Temporary, op, "after %v %d of %d servers do not show it: %s%s",
		after.Round(100*time.Millisecond), count, len(watches), strings.Join(lag, "; "), more).
		WithHint("if the host is that slow, raise propagation_timeout; a server that no longer serves the zone must leave its NS records")
}
