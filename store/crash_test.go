package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/durable"
	"github.com/inkan-acme/inkan/internal/durable/crashfs"
)

// The shipped file store over a disk that loses power (C23). A script is run
// and recorded; after each of its operations every state that a power loss may
// leave is opened with the shipped code, and each key must hold a value that
// the answers so far allow.

// long reports whether the full form of the proof is asked for.
func long() bool { return os.Getenv("INKAN_LONG") != "" }

// none stands for the absence of a key among its values.
const none = "(none)"

// ledger knows what the answers of a store promise.
type ledger struct {
	disk *crashfs.Disk
	mu   sync.Mutex
	keys map[string]*promise
}

// promise is what a key may hold: one of sure, or what an unfinished write puts
// there.
type promise struct {
	sure  []string
	tries []*try
}

type try struct {
	value   string
	failed  bool     // it returned an error, so it may have been carried out or not
	overlap []string // what others were told was there while it ran
}

func newLedger(d *crashfs.Disk) *ledger { return &ledger{disk: d, keys: map[string]*promise{}} }

func (l *ledger) begin(key, value string) *try {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.keys[key]
	if p == nil {
		p = &promise{sure: []string{none}}
		l.keys[key] = p
	}
	t := &try{value: value}
	p.tries = append(p.tries, t)
	return t
}

// end notes an answer. It is an operation of the disk, so that the states after
// it are looked at again with what it promises.
func (l *ledger) end(key string, t *try, create bool, err error) {
	l.disk.Do("answer", func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		p := l.keys[key]
		own := func(o *try) bool { return o == t }
		switch {
		case err == nil:
			p.tries = slices.DeleteFunc(p.tries, func(o *try) bool { return o == t || o.failed })
			for _, o := range p.tries {
				o.overlap = append(o.overlap, t.value)
			}
			p.sure = append(slices.Clone(t.overlap), t.value)
		case errors.Is(err, inkan.ErrConflict):
			p.tries = slices.DeleteFunc(p.tries, own)
			if create { // what it lost to is there, for ever
				p.sure = slices.DeleteFunc(p.sure, func(v string) bool { return v == none })
			}
		default:
			t.failed = true
		}
		return nil
	})
}

// allowed returns the values that each key may have.
func (l *ledger) allowed() map[string][]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make(map[string][]string, len(l.keys))
	for key, p := range l.keys {
		values := slices.Clone(p.sure)
		for _, t := range p.tries {
			values = append(values, t.value)
		}
		slices.Sort(values)
		all[key] = slices.Compact(values)
	}
	return all
}

// witnessed is a Store whose answers go into the ledger.
type witnessed struct {
	inkan.Store
	l      *ledger
	prefix string // tells two stores of one ledger apart
}

func (w witnessed) Put(ctx context.Context, key string, data []byte, old inkan.Rev) (inkan.Rev, error) {
	t := w.l.begin(w.prefix+key, string(data))
	rev, err := w.Store.Put(ctx, key, data, old)
	w.l.end(w.prefix+key, t, old == "", err)
	return rev, err
}

func (w witnessed) Delete(ctx context.Context, key string) error {
	t := w.l.begin(w.prefix+key, none)
	err := w.Store.Delete(ctx, key)
	w.l.end(w.prefix+key, t, false, err)
	return err
}

// over opens the shipped store below dir as the process sees it.
func over(p *crashfs.Process, dir string) *file {
	return newFile(p.FS(dir), "file store", durable.Private, func() time.Time { return time.Time{} })
}

// moment is the disk after one operation, with what must hold there.
type moment struct {
	op      string
	disk    *crashfs.Snapshot
	allowed map[string][]string
	outside any // a copy of the world outside the disk
}

// tape records moments.
type tape struct {
	l       *ledger
	moments []moment
	outside func() any
}

// record starts recording the disk of the ledger.
func record(l *ledger) *tape {
	tp := &tape{l: l}
	l.disk.After = func(op string, s *crashfs.Snapshot) {
		m := moment{op: op, disk: s, allowed: l.allowed()}
		if tp.outside != nil {
			m.outside = tp.outside()
		}
		tp.moments = append(tp.moments, m)
	}
	return tp
}

// tally counts distinct states.
type tally struct {
	states  map[[32]byte]bool // of the disk
	done    map[[32]byte]bool // with what they were held against
	checked int
}

func newTally() *tally { return &tally{states: map[[32]byte]bool{}, done: map[[32]byte]bool{}} }

// fresh counts a state and reports whether it has not been held against this
// yet.
func (c *tally) fresh(d *crashfs.Disk, against string) bool {
	h := d.Hash()
	c.states[h] = true
	with := sha256.Sum256(append(h[:], against...))
	if c.done[with] {
		return false
	}
	c.done[with] = true
	c.checked++
	return true
}

func (c *tally) String() string {
	return fmt.Sprintf("%d distinct states, %d checked", len(c.states), c.checked)
}

// states is how many states of one moment are looked at.
func states() int {
	if long() {
		return 4096
	}
	return 64
}

// faults returns what is wrong with the states after each moment.
func (tp *tape) faults(c *tally) (wrong []string) {
	for i, m := range tp.moments {
		against := fmt.Sprintf("%q", m.allowed)
		for d := range m.disk.States(states(), uint64(i)) {
			if !c.fresh(d, against) {
				continue
			}
			for _, w := range broken(over(d.Start(), "."), m.allowed, "") {
				wrong = append(wrong, fmt.Sprintf("power loss after operation %d (%s): %s", i+1, m.op, w))
			}
		}
	}
	return wrong
}

// broken compares a store with what it must hold below prefix.
func broken(s inkan.Store, allowed map[string][]string, prefix string) (wrong []string) {
	ctx := context.Background()
	listed := map[string]bool{}
	last := ""
	for key, err := range s.List(ctx, "", "") {
		if err != nil {
			return append(wrong, "List: "+err.Error())
		}
		if key <= last {
			wrong = append(wrong, fmt.Sprintf("List yields %q after %q", key, last))
		}
		last = key
		listed[key] = true
	}
	for _, full := range slices.Sorted(maps.Keys(allowed)) {
		key, ok := strings.CutPrefix(full, prefix)
		if !ok {
			continue
		}
		data, _, err := s.Get(ctx, key)
		got := string(data)
		if errors.Is(err, fs.ErrNotExist) {
			got, err = none, nil
		}
		switch {
		case err != nil:
			wrong = append(wrong, fmt.Sprintf("Get %s: %v", key, err))
		case !slices.Contains(allowed[full], got):
			wrong = append(wrong, fmt.Sprintf("%s holds %.60q, want one of %.60q", key, got, allowed[full]))
		case listed[key] != (got != none):
			wrong = append(wrong, fmt.Sprintf("%s: listed is %v, and it holds %.60q", key, listed[key], got))
		}
		delete(listed, key)
	}
	for key := range listed {
		wrong = append(wrong, fmt.Sprintf("List yields %q, which nobody put", key))
	}
	return wrong
}

// act is one thing that a process does with a store. What it returns is none of
// the test's business: the ledger sees the answers.
type act func(s inkan.Store)

func create(key, value string) act {
	return func(s inkan.Store) { s.Put(context.Background(), key, []byte(value), "") }
}

func replace(key, value string) act {
	return func(s inkan.Store) {
		if _, rev, err := s.Get(context.Background(), key); err == nil {
			s.Put(context.Background(), key, []byte(value), rev)
		}
	}
}

func remove(key string) act {
	return func(s inkan.Store) { s.Delete(context.Background(), key) }
}

// scripts is what the shipped store is put through.
var scripts = []struct {
	name  string
	acts  []act
	spare []int // flushes that no power loss misses: see TestC23EveryFlushIsNeeded
}{
	{"create", []act{create("a", "the first value")}, nil},
	{"create an empty value", []act{create("a", "")}, []int{0}},
	{"create and lose", []act{create("a", "1"), create("a", "2")}, []int{2, 3}},
	{"nested new directories", []act{create("v/example.com/0000000001-ab/ecdsa-p256/key", "key"), create("v/example.com/0000000001-ab/ecdsa-p256/cert", "cert"),
		create("v/example.com/0000000002-cd/ecdsa-p256/key", "key 2")}, nil},
	{"replace", []act{create("s/a", "one"), replace("s/a", "a longer second value"), replace("s/a", "3"), replace("s/a", ""), replace("s/a", "five")}, []int{7}},
	{"replace two", []act{create("s/a", "1"), create("s/b", "1"), replace("s/a", "22"), replace("s/b", "22"), replace("s/a", "333"), replace("s/b", "333")}, nil},
	{"delete", []act{create("d/a", "1"), create("d/b", "2"), remove("d/a"), remove("d/none"), remove("d/b"), remove("d/b")}, []int{6}},
	{"delete and make again", []act{create("d/e/f", "1"), remove("d/e/f"), create("d/e/f", "1"), remove("d/e/f"), create("d/g", "2")}, nil},
	{"due entries", []act{create("due/0/20260101/00/a", "{}"), create("due/0/20260102/00/a", "{}"), remove("due/0/20260101/00/a"),
		create("due/0/20260103/00/a", "{}"), remove("due/0/20260102/00/a"), remove("due/0/20260103/00/a")}, nil},
}

func run(l *ledger, p *crashfs.Process, acts []act) {
	s := witnessed{over(p, "."), l, ""}
	for _, a := range acts {
		a(s)
	}
}

func TestC23PowerLossAfterEveryOperation(t *testing.T) {
	total := newTally()
	for _, script := range scripts {
		l := newLedger(crashfs.New())
		tp := record(l)
		run(l, l.disk.Start(), script.acts)
		if len(tp.moments) == 0 {
			t.Fatal("nothing was recorded")
		}
		report(t, script.name, tp.faults(total))
	}
	t.Log(total)
}

// report prints the first of the faults.
func report(t *testing.T, what string, wrong []string) {
	t.Helper()
	for _, w := range wrong[:min(len(wrong), 3)] {
		t.Errorf("%s: %s", what, w)
	}
	if len(wrong) > 3 {
		t.Errorf("%s: %d more", what, len(wrong)-3)
	}
}

// TestC23EveryFlushIsNeeded leaves out each flush of the scripts in turn, and
// the checker must notice every one: were a flush needless, or the checker
// blind, this test would say so. Spare are the flushes of files that are empty
// or whose creation lost, and those after which nothing had changed.
func TestC23EveryFlushIsNeeded(t *testing.T) {
	flushes := 0
	for _, script := range scripts {
		for n := 0; ; n++ {
			l := newLedger(crashfs.New())
			seen, left := 0, ""
			l.disk.Before = func(op string) crashfs.Fault {
				if !strings.HasPrefix(op, "sync") {
					return crashfs.Fault{}
				}
				seen++
				if seen-1 != n {
					return crashfs.Fault{}
				}
				left = op
				return crashfs.Fault{Lost: true}
			}
			tp := record(l)
			run(l, l.disk.Start(), script.acts)
			if left == "" {
				break
			}
			flushes++
			if tp.faults(newTally()) == nil && !slices.Contains(script.spare, n) {
				t.Errorf("%s: flush %d (%s) was left out, and no power loss shows it", script.name, n, left)
			}
		}
	}
	t.Logf("proof: %d flushes left out, one at a time", flushes)
}

// TestC23BrokenWriters: a store that flushes no file, or no directory, is found
// out by every script.
func TestC23BrokenWriters(t *testing.T) {
	for _, forget := range []string{"sync ", "syncdir "} {
		for _, script := range scripts {
			l := newLedger(crashfs.New())
			l.disk.Before = func(op string) crashfs.Fault { return crashfs.Fault{Lost: strings.HasPrefix(op, forget)} }
			tp := record(l)
			run(l, l.disk.Start(), script.acts)
			wrong := tp.faults(newTally())
			if len(wrong) == 0 && !(forget == "sync " && script.name == "create an empty value") {
				t.Errorf("%s: a writer without %q passes", script.name, forget)
			}
		}
	}
}

// pairs of processes, each with what stands there before.
var pairs = []struct {
	name    string
	first   []act
	a, b    act
	bLocks  bool // b takes a lock, so it cannot run while a holds it
	resumes bool // b may also come after a was killed
}{
	{"two create one key", nil, create("d/k", "of a"), create("d/k", "of b"), false, true},
	{"two create in one new directory", nil, create("d/e/a", "of a"), create("d/e/b", "of b"), false, true},
	{"two replace one value", []act{create("d/k", "old")}, replace("d/k", "of a"), replace("d/k", "of b"), true, true},
	{"creation beside the last deletion", []act{create("d/e/k", "old")}, create("d/e/a", "of a"), remove("d/e/k"), true, true},
	{"the last deletion beside a creation", []act{create("d/e/k", "old")}, remove("d/e/k"), create("d/e/b", "of b"), false, true},
	{"two delete one key", []act{create("d/k", "old"), create("d/l", "stays")}, remove("d/k"), remove("d/k"), true, true},
	{"two delete the only key", []act{create("d/e/k", "old")}, remove("d/e/k"), remove("d/e/k"), true, true},
	{"replacement beside deletion", []act{create("d/k", "old")}, replace("d/k", "of a"), remove("d/k"), true, true},
}

// TestC23TwoProcesses runs the whole of one process before each operation of
// another, and cuts the power after every operation of both (F02).
func TestC23TwoProcesses(t *testing.T) {
	total := newTally()
	for _, pair := range pairs {
		for at := 1; ; at++ {
			l := newLedger(crashfs.New())
			run(l, l.disk.Start(), pair.first)
			n, busy := 0, false
			l.disk.Before = func(op string) crashfs.Fault {
				if busy || op == "answer" {
					return crashfs.Fault{}
				}
				n++
				locked := strings.HasPrefix(op, "rename ") || strings.HasPrefix(op, "remove ")
				if n == at && !(locked && pair.bLocks) {
					busy = true
					run(l, l.disk.Start(), []act{pair.b})
					busy = false
				}
				return crashfs.Fault{}
			}
			tp := record(l)
			run(l, l.disk.Start(), []act{pair.a})
			report(t, fmt.Sprintf("%s, b before operation %d of a", pair.name, at), tp.faults(total))
			if n < at {
				break
			}
		}
	}
	t.Log(total)
}

// TestC23KillThenPowerLoss kills one process at each operation, lets another go
// on, and then cuts the power: what the second one was told must hold although
// the first one died before it flushed.
func TestC23KillThenPowerLoss(t *testing.T) {
	total := newTally()
	for _, pair := range pairs {
		for at := 1; ; at++ {
			l := newLedger(crashfs.New())
			run(l, l.disk.Start(), pair.first)
			a, n := l.disk.Start(), 0
			l.disk.Before = func(op string) crashfs.Fault {
				if op != "answer" {
					if n++; n == at {
						a.Kill()
					}
				}
				return crashfs.Fault{}
			}
			run(l, a, []act{pair.a})
			l.disk.Before = nil
			tp := record(l)
			run(l, l.disk.Start(), []act{pair.b})
			report(t, fmt.Sprintf("%s, a killed before its operation %d", pair.name, at), tp.faults(total))
			if n < at {
				break
			}
		}
	}
	t.Log(total)
}

// errDisk is what a broken disk says.
var errDisk = fmt.Errorf("a broken disk: %w", syscall.EIO)

// TestD04FaultThenPowerLoss fails each operation, not done and done, lets the
// process look what became of it, and then cuts the power: what Get returned
// after an error is durable.
func TestD04FaultThenPowerLoss(t *testing.T) {
	total, step := newTally(), 3
	if long() {
		step = 1
	}
	for _, script := range scripts {
		for _, done := range []bool{false, true} {
			for at := 1; ; at += step {
				l := newLedger(crashfs.New())
				n := 0
				l.disk.Before = func(op string) crashfs.Fault {
					if op == "answer" {
						return crashfs.Fault{}
					}
					if n++; n != at {
						return crashfs.Fault{}
					}
					return crashfs.Fault{Err: errDisk, Done: done}
				}
				tp := record(l)
				s := witnessed{over(l.disk.Start(), "."), l, ""}
				for _, a := range script.acts {
					a(s)
					l.look(s)
				}
				report(t, fmt.Sprintf("%s, operation %d failed, done=%v", script.name, at, done), tp.faults(total))
				if n < at {
					break
				}
			}
		}
	}
	t.Log(total)
}

// look reads every key whose last write failed: what is found is promised.
func (l *ledger) look(s inkan.Store) {
	for key, p := range l.keys {
		if !slices.ContainsFunc(p.tries, func(t *try) bool { return t.failed }) {
			continue
		}
		data, _, err := s.Get(context.Background(), key)
		if err != nil {
			continue // it stays in doubt
		}
		l.disk.Do("answer", func() error {
			p.sure, p.tries = []string{string(bytes.Clone(data))}, nil
			return nil
		})
	}
}
