package inkan

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func sampleState() State {
	at := time.Date(2026, 11, 1, 12, 0, 0, 5, time.UTC)
	return State{Due: "due/cert/0/20261101/12/0000-a.example-0123abcd", Attempts: 3, Running: "0123456789abcdef", NotBefore: at,
		LastError: &LastError{At: at, Kind: RateLimited, Message: `a <b> & "c"  é`, Hints: []string{"wait"}},
		Lease:     &Lease{Owner: Owner{Host: "h", Boot: "b", PID: 7}, Token: "t", Counter: 9},
		ARI:       ARIState{N: 2, Start: at, End: at.Add(time.Hour), Pick: at.Add(time.Minute)}, Renewals: []time.Time{at}, Revoked: []string{"ff\u2028"}}
}

func TestEnvelopeRoundTrip(t *testing.T) {
	want := sampleState()
	data, err := seal(want, 41, "id")
	if err != nil {
		t.Fatal(err)
	}
	var got State
	e, err := open("state/a", data, &got)
	if err != nil || e.Counter != 41 || e.Write != "id" {
		t.Fatalf("%+v, %v", e, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	raw := HostRecord{Kind: "files", Options: json.RawMessage("{ \"dir\": \"<&>\" }")}
	if data, err = seal(raw, 1, "id"); err != nil {
		t.Fatal(err)
	}
	var host HostRecord
	if _, err := open("targets/a", data, &host); err != nil {
		t.Errorf("a record with raw JSON in it: %v", err)
	}
	if _, err := seal(make(chan int), 1, "id"); err == nil || KindOf(err) != Bug {
		t.Errorf("what JSON cannot hold: %v", err)
	}
}

// TestD07Damage flips every bit of a stored value and cuts it at every length:
// an error, or the value that was written; never another one.
func TestD07Damage(t *testing.T) {
	want := sampleState()
	data, err := seal(want, 7, "0123456789abcdef")
	if err != nil {
		t.Fatal(err)
	}
	equal, damaged := 0, 0
	try := func(what string, bad []byte) {
		var got State
		_, err := open("state/a.example", bad, &got)
		switch {
		case err == nil && reflect.DeepEqual(got, want):
			equal++
		case err == nil:
			t.Fatalf("%s: a wrong value was accepted: %+v", what, got)
		default:
			if d, ok := errors.AsType[*DamagedError](err); ok && d.Key == "state/a.example" && strings.Contains(d.Error(), d.Key) {
				damaged++
			} else if KindOf(err) != Operator || len(HintsOf(err)) == 0 { // a format of the future
				t.Fatalf("%s: %v", what, err)
			}
		}
	}
	for i := range data {
		for bit := range 8 {
			bad := bytes.Clone(data)
			bad[i] ^= 1 << bit
			try(fmt.Sprintf("bit %d of byte %d", bit, i), bad)
		}
		try(fmt.Sprintf("cut to %d bytes", i), data[:i])
		try(fmt.Sprintf("byte %d missing", i), append(bytes.Clone(data[:i]), data[i+1:]...))
		zeros := bytes.Clone(data)
		clear(zeros[i:])
		try(fmt.Sprintf("zeros from byte %d", i), zeros)
	}
	for what, bad := range map[string][]byte{"empty": nil, "twice": append(bytes.Clone(data), data...), "null": []byte("null"), "a list": []byte("[]"), "no format": []byte(`{"body":{}}`)} {
		try(what, bad)
	}
	if damaged < 8*len(data) {
		t.Errorf("only %d of the damages were named so; %d were without effect", damaged, equal)
	}
}

// TestD07Kinds: a record in the place of another one does not fit.
func TestD07Kinds(t *testing.T) {
	data, err := seal([]string{"a"}, 1, "id")
	if err != nil {
		t.Fatal(err)
	}
	var st State
	if _, err := open("state/a", data, &st); err == nil {
		t.Error("a list was read as a state")
	} else if _, ok := errors.AsType[*DamagedError](err); !ok {
		t.Error(err)
	}
}

func TestC28FutureFormat(t *testing.T) {
	data, err := seal(State{}, 1, "id")
	if err != nil {
		t.Fatal(err)
	}
	data = bytes.Replace(data, []byte(`"inkan":1`), []byte(`"inkan":2`), 1)
	var st State
	_, err = open("state/a", data, &st)
	if _, damaged := errors.AsType[*DamagedError](err); damaged || KindOf(err) != Operator || !strings.Contains(err.Error(), "format 2") {
		t.Errorf("got %v, want an operator error that is no damage", err)
	}
}

func TestKeep(t *testing.T) {
	ctx := t.Context()
	s := newFakeStore()
	if err := keep(ctx, s, "v/a", "value", "id"); err != nil {
		t.Fatal(err)
	}
	if err := keep(ctx, s, "v/a", "value", "id"); err != nil {
		t.Errorf("the same value again: %v", err)
	}
	for _, c := range []struct{ v, id string }{{"other", "id"}, {"value", "other"}} {
		if err := keep(ctx, s, "v/a", c.v, c.id); err == nil || KindOf(err) != Bug {
			t.Errorf("another value (%v): %v, want an error of kind bug", c, err)
		}
	}
	lost := errors.New("reply lost")
	s.after = func(string) error { return lost }
	if err := keep(ctx, s, "v/b", "value", "id"); err != nil {
		t.Errorf("written, but the reply was lost: %v", err)
	}
	s.after, s.before = nil, func(op, _ string) error {
		if op == "put" {
			return lost
		}
		return nil
	}
	if err := keep(ctx, s, "v/c", "value", "id"); !errors.Is(err, lost) {
		t.Errorf("not written: %v", err)
	}
}

// TestE01LostReply: a write that was carried out is recognised by its id, also
// when the Store then says that it lost.
func TestE01LostReply(t *testing.T) {
	ctx := t.Context()
	for _, reply := range []error{errors.New("connection reset"), ErrConflict} {
		s := newFakeStore()
		s.after = func(string) error { return reply }
		r := record[string]{key: "state/a"}
		for want := range 3 {
			if err := r.save(ctx, s, fmt.Sprint(want)); err != nil {
				t.Fatalf("%v: %v", reply, err)
			}
			if r.v != fmt.Sprint(want) || r.counter != uint64(want+1) {
				t.Errorf("%v: after write %d: %+v", reply, want, r)
			}
		}
		if s.puts != 3 {
			t.Errorf("%v: %d puts, want 3", reply, s.puts)
		}
	}
}

// TestB02WriteAgain: a write that was not carried out is tried once more if the
// error is a passing one and nobody wrote meanwhile.
func TestB02WriteAgain(t *testing.T) {
	ctx := t.Context()
	reset := errors.New("connection reset")
	for _, c := range []struct {
		what    string
		err     error
		fails   int
		foreign bool
		puts    int
		ok      bool
	}{
		{"once", reset, 1, false, 2, true},
		{"twice", reset, 2, false, 2, false},
		{"for a person", Errorf(Operator, "disk", "full"), 1, false, 1, false},
		{"somebody wrote", reset, 1, true, 1, false},
	} {
		s := newFakeStore()
		r := record[string]{key: "state/a"}
		if err := r.save(ctx, s, "old"); err != nil {
			t.Fatal(err)
		}
		s.puts = 0
		s.before = func(op, key string) error {
			if op != "put" || s.puts > c.fails {
				return nil
			}
			if c.foreign {
				s.values[key], s.revs[key] = []byte("{}"), "foreign"
			}
			return c.err
		}
		err := r.save(ctx, s, "new")
		if (err == nil) != c.ok || !c.ok && !errors.Is(err, c.err) || s.puts != c.puts {
			t.Errorf("%s: %v after %d puts", c.what, err, s.puts)
		}
		s.before = func(op, _ string) error {
			if op == "put" && s.puts <= c.puts+1 {
				return reset
			}
			return nil
		}
		if err := keep(ctx, s, "v/a", "value", "id"); err != nil {
			t.Errorf("%s: keeping after one failure: %v", c.what, err)
		}
	}
}

func TestSaveConflict(t *testing.T) {
	ctx := t.Context()
	s := newFakeStore()
	a, b := record[string]{key: "state/a"}, record[string]{key: "state/a"}
	if err := a.save(ctx, s, "a"); err != nil {
		t.Fatal(err)
	}
	if err := b.save(ctx, s, "b"); !errors.Is(err, ErrConflict) {
		t.Errorf("the second creation: %v", err)
	}
	// A-B-A: the same content in between is a conflict all the same.
	c, err := load[string](ctx, s, "state/a")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []string{"b", "a"} {
		if err := a.save(ctx, s, v); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.save(ctx, s, "c"); !errors.Is(err, ErrConflict) {
		t.Errorf("after A-B-A: %v", err)
	}
	// The write went elsewhere, and the error is no conflict: it is returned.
	broken := errors.New("disk full")
	s.before = func(op, _ string) error {
		if op == "put" {
			return broken
		}
		return nil
	}
	if err := a.save(ctx, s, "x"); !errors.Is(err, broken) {
		t.Errorf("a failed write: %v", err)
	}
	if a.v != "a" {
		t.Errorf("the record became %q", a.v)
	}
}

func TestUpdate(t *testing.T) {
	ctx := t.Context()
	s := newFakeStore()
	races := 3
	add := func(by int) error {
		_, err := update(ctx, s, "n", func(n *int, exists bool) error {
			if races > 0 && by == 1 {
				races--
				if _, err := update(ctx, s, "n", func(n *int, _ bool) error { *n += 10; return nil }); err != nil {
					return err
				}
			}
			*n += by
			return nil
		})
		return err
	}
	if err := add(1); err != nil {
		t.Fatal(err)
	}
	r, err := load[int](ctx, s, "n")
	if err != nil || r.v != 31 || r.counter != 4 {
		t.Errorf("got %+v %v, want 31 after 4 writes", r, err)
	}
	puts := s.puts
	if _, err := update(ctx, s, "n", func(*int, bool) error { return errUnchanged }); err != nil || s.puts != puts {
		t.Errorf("unchanged: %v, %d puts", err, s.puts-puts)
	}
	stop := errors.New("stop")
	if _, err := update(ctx, s, "n", func(*int, bool) error { return stop }); !errors.Is(err, stop) || s.puts != puts {
		t.Errorf("refused: %v, %d puts", err, s.puts-puts)
	}
	cancelled, cancel := context.WithCancel(ctx)
	s.before = func(op, _ string) error {
		if op == "put" {
			cancel()
			return ErrConflict
		}
		return nil
	}
	if _, err := update(cancelled, s, "n", func(n *int, _ bool) error { *n++; return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("conflicts without end: %v", err)
	}
}

// FuzzOpen: no input makes a value that was not sealed as it is.
func FuzzOpen(f *testing.F) {
	good, err := seal(sampleState(), 3, "id")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"inkan":1,"counter":1,"write":"x","sum":"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","body":{}}`))
	f.Add([]byte(`{"inkan":1,"INKAN":2,"body":{},"body":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var st State
		e, err := open("state/a", data, &st)
		if err != nil {
			return
		}
		if e.Format != 1 || sumOf(e.Body) != e.Sum {
			t.Errorf("accepted %q", data)
		}
		again, err := seal(st, e.Counter, e.Write)
		if err != nil {
			t.Fatal(err)
		}
		var st2 State
		if _, err := open("state/a", again, &st2); err != nil {
			t.Errorf("written again it is refused: %v", err)
		}
	})
}
