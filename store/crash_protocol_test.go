package store

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/internal/durable/crashfs"
	"github.com/inkan-acme/inkan/internal/testsign"
)

// The whole commit protocol over a disk that loses power: the shipped engine
// over the shipped store, with the world outside put back to the same moment.

// play is one run of the engine on a prepared machine.
type play struct {
	name  string
	old   bool               // there is a certificate already
	at    time.Time          // when the run begins
	names []inkan.Identifier // asked for now; nil: the usual ones
}

var plays = []play{
	{"issue", false, worldStart, nil},
	{"renew", true, worldStart.Add(61 * 24 * time.Hour), nil},
	{"issue for other names", true, worldStart.Add(24 * time.Hour), []inkan.Identifier{{Type: inkan.DNS, Value: "www.example.com"}, {Type: inkan.DNS, Value: "example.net"}}},
}

// prepare returns the machine before the run.
func (pl play) prepare(t *testing.T, ca *testsign.Authority) *scene {
	t.Helper()
	s := newScene(crashfs.New(), ca, newOutside())
	s.l = newLedger(s.disk)
	if pl.old {
		m, _ := s.start()
		if err := s.issue(m); err != nil {
			t.Fatal(err)
		}
		s.bury()
		s.now = pl.at
	}
	if pl.names != nil {
		s.req.Identifiers = pl.names
	}
	return s
}

// run is what the play does, by a new process.
func (pl play) run(s *scene, m *engine.Manager) error {
	if pl.old && pl.names == nil {
		return s.renew(m)
	}
	return s.issue(m)
}

// want is the outcome: n, certificates and orders.
func (pl play) want() (n uint64, certs, orders int) {
	if pl.old {
		return 2, 2, 2
	}
	return 1, 1, 1
}

// record does something on the machine and returns its moments.
func (pl play) record(s *scene, do func() error) (*tape, error) {
	tp := record(s.l)
	tp.outside = func() any { return s.out.clone() }
	err := do()
	s.disk.After = nil
	return tp, err
}

// after checks one state after a power loss: every value, then a recovery.
func (pl play) after(d *crashfs.Disk, m moment, s *scene) []string {
	p := d.Start()
	wrong := broken(over(p, "store"), m.allowed, "store/")
	wrong = append(wrong, broken(over(p, "host"), m.allowed, "host/")...)
	if len(wrong) > 0 {
		return wrong
	}
	next := newScene(d, s.ca, m.outside.(*outside).clone())
	next.now, next.req, next.pids = s.now, s.req, s.pids
	if wrong := next.undue(); wrong != nil {
		return wrong
	}
	if err := next.recover(); err != nil {
		return []string{"recovery: " + err.Error()}
	}
	return next.lost(pl.want())
}

// check looks at every state after each of the moments that step leaves.
func (pl play) check(tp *tape, s *scene, c *tally, limit, step int) (wrong []string) {
	for i := 0; i < len(tp.moments); i += step {
		m := tp.moments[i]
		against := fmt.Sprintf("%q %v", m.allowed, m.outside)
		for d := range m.disk.States(limit, uint64(i)) {
			if !c.fresh(d, against) {
				continue
			}
			for _, w := range pl.after(d, m, s) {
				wrong = append(wrong, fmt.Sprintf("power loss after operation %d (%s): %s", i+1, m.op, w))
			}
		}
	}
	return wrong
}

func TestC23Protocol(t *testing.T) {
	limit, step := 2, 3
	if long() {
		limit, step = 256, 1
	}
	ca, total := testsign.New(worldStart), newTally()
	for _, pl := range plays {
		s := pl.prepare(t, ca)
		tp, err := pl.record(s, func() error {
			m, _ := s.start()
			return pl.run(s, m)
		})
		if err != nil {
			t.Fatal(err)
		}
		if wrong := s.lost(pl.want()); wrong != nil {
			t.Fatalf("%s, undisturbed: %s", pl.name, wrong)
		}
		report(t, pl.name, pl.check(tp, s, total, limit, step))
		t.Logf("proof: %s: %d operations, so far %v", pl.name, len(tp.moments), total)
	}
	if long() && len(total.states) < 5000 {
		t.Errorf("%v; want at least 5,000", total)
	}
}

// TestC23ProtocolBrokenWriters: the checker finds an engine over a store that
// forgets a flush.
func TestC23ProtocolBrokenWriters(t *testing.T) {
	ca := testsign.New(worldStart)
	for _, forget := range []string{"sync store/", "syncdir store/"} {
		pl := plays[0]
		s := pl.prepare(t, ca)
		s.disk.Before = func(op string) crashfs.Fault { return crashfs.Fault{Lost: strings.HasPrefix(op, forget)} }
		tp, err := pl.record(s, func() error {
			m, _ := s.start()
			return pl.run(s, m)
		})
		if err != nil {
			t.Fatal(err)
		}
		if wrong := pl.check(tp, s, newTally(), 4, 20); len(wrong) == 0 {
			t.Errorf("an engine over a store without %q passes", forget)
		}
	}
}

// TestC21KillThenPowerLoss kills the engine at an operation, lets another
// process recover, and cuts the power after one of its operations.
func TestC21KillThenPowerLoss(t *testing.T) {
	kills, step, limit := 37, 23, 2
	if long() {
		kills, step, limit = 1, 5, 4
	}
	ca, total := testsign.New(worldStart), newTally()
	for _, pl := range plays {
		for at := 1; ; at += kills {
			s := pl.prepare(t, ca)
			m, p := s.start()
			var n atomic.Int64 // the engine works on several keys at once
			s.disk.Before = func(string) crashfs.Fault {
				if n.Add(1) == int64(at) {
					p.Kill()
				}
				return crashfs.Fault{}
			}
			pl.run(s, m)
			s.disk.Before = nil
			s.bury()
			tp, err := pl.record(s, s.recover)
			what := fmt.Sprintf("%s, killed before operation %d", pl.name, at)
			if err != nil {
				t.Fatalf("%s: recovery: %v", what, err)
			}
			if wrong := s.lost(pl.want()); wrong != nil {
				t.Fatalf("%s: %s", what, wrong)
			}
			report(t, what, pl.check(tp, s, total, limit, step))
			if n.Load() < int64(at) {
				break
			}
		}
	}
	t.Log(total)
}

// TestD04ProtocolFaults fails every operation of the disk, not done and done,
// once and from then on, and lets the process live with it. A day later, with
// the disk in order, everything is finished and nothing was lost.
func TestD04ProtocolFaults(t *testing.T) {
	step := 29
	if long() {
		step = 1
	}
	ca, runs := testsign.New(worldStart), 0
	for _, pl := range plays {
		for _, f := range []crashfs.Fault{{Err: errDisk}, {Err: errDisk, Done: true}} {
			for _, forever := range []bool{false, true} {
				for at := 1; ; at += step {
					s := pl.prepare(t, ca)
					m, _ := s.start()
					var n atomic.Int64
					var first atomic.Value
					s.disk.Before = func(op string) crashfs.Fault {
						if outsideOp(op) {
							return crashfs.Fault{}
						}
						if k := n.Add(1); k == int64(at) || forever && k > int64(at) {
							first.CompareAndSwap(nil, op)
							return f
						}
						return crashfs.Fault{}
					}
					pl.run(s, m)
					s.disk.Before = nil
					s.bury()
					runs++
					s.now = s.now.Add(25 * time.Hour)
					what := fmt.Sprintf("%s: operation %d (%v) failed, done=%v, forever=%v", pl.name, at, first.Load(), f.Done, forever)
					if wrong := s.undue(); wrong != nil {
						t.Errorf("%s: %s", what, wrong)
					}
					if err := s.recover(); err != nil {
						t.Errorf("%s: recovery: %v", what, err)
					} else if wrong := s.lost(pl.want()); wrong != nil {
						t.Errorf("%s: %s", what, wrong)
					}
					if n.Load() < int64(at) {
						break
					}
				}
			}
		}
	}
	t.Logf("proof: %d runs", runs)
}

// outsideOp reports whether an operation is none of the file system.
func outsideOp(op string) bool {
	return strings.HasPrefix(op, "ca ") || slices.Contains([]string{"answer", "present", "clean up", "deploy", "look"}, op)
}
