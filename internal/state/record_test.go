package state

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/testkit"
)

func TestEnvelopeRoundTrip(t *testing.T) {
	want := sampleState()
	data, _, err := encode(want, 41, "id")
	if err != nil {
		t.Fatal(err)
	}
	var got inkan.State
	e, err := Decode("state/a.example", data, &got)
	if err != nil || e.Counter != 41 || e.Write != "id" {
		t.Fatalf("%+v, %v", e, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	raw := inkan.HostRecord{Kind: "files", Options: json.RawMessage("{ \"dir\": \"<&>\" }")}
	if data, _, err = encode(raw, 1, "id"); err != nil {
		t.Fatal(err)
	}
	var host inkan.HostRecord
	if _, err := Decode("targets/a", data, &host); err != nil {
		t.Errorf("a record with raw JSON in it: %v", err)
	}
	if _, _, err := encode(make(chan int), 1, "id"); err == nil || inkan.KindOf(err) != inkan.Bug {
		t.Errorf("what JSON cannot hold: %v", err)
	}
}

// TestD07Damage flips every bit of a stored value and cuts it at every length:
// an error, or the value that was written; never another one.
func TestD07Damage(t *testing.T) {
	want := sampleState()
	data, _, err := encode(want, 7, "0123456789abcdef")
	if err != nil {
		t.Fatal(err)
	}
	equal, damaged := 0, 0
	try := func(what string, bad []byte) {
		var got inkan.State
		_, err := Decode("state/a.example", bad, &got)
		switch {
		case err == nil && reflect.DeepEqual(got, want):
			equal++
		case err == nil:
			t.Fatalf("%s: a wrong value was accepted: %+v", what, got)
		default:
			if d, ok := errors.AsType[*inkan.DamagedError](err); ok && d.Key == "state/a.example" && strings.Contains(d.Error(), d.Key) {
				damaged++
			} else if inkan.KindOf(err) != inkan.Operator || len(inkan.HintsOf(err)) == 0 { // a format of the future
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
	data, _, err := encode([]string{"a"}, 1, "id")
	if err != nil {
		t.Fatal(err)
	}
	var st inkan.State
	if _, err := Decode("state/a", data, &st); err == nil {
		t.Error("a list was read as a state")
	} else if _, ok := errors.AsType[*inkan.DamagedError](err); !ok {
		t.Error(err)
	}
}

func TestC28FutureFormat(t *testing.T) {
	data, _, err := encode(inkan.State{}, 1, "id")
	if err != nil {
		t.Fatal(err)
	}
	data = bytes.Replace(data, []byte(`"inkan":1`), []byte(`"inkan":2`), 1)
	var st inkan.State
	_, err = Decode("state/a", data, &st)
	if _, damaged := errors.AsType[*inkan.DamagedError](err); damaged || inkan.KindOf(err) != inkan.Operator || !strings.Contains(err.Error(), "format 2") {
		t.Errorf("got %v, want an operator error that is no damage", err)
	}
}

func TestKeep(t *testing.T) {
	ctx := t.Context()
	s := testkit.New()
	if _, err := CreateOnce(ctx, s, "v/a", "value", "id"); err != nil {
		t.Fatal(err)
	}
	if _, err := CreateOnce(ctx, s, "v/a", "value", "id"); err != nil {
		t.Errorf("the same value again: %v", err)
	}
	for _, c := range []struct{ v, id string }{{"other", "id"}, {"value", "other"}} {
		if _, err := CreateOnce(ctx, s, "v/a", c.v, c.id); err == nil || inkan.KindOf(err) != inkan.Bug {
			t.Errorf("another value (%v): %v, want an error of kind bug", c, err)
		}
	}
	lost := errors.New("reply lost")
	s.After = func(string) error { return lost }
	if _, err := CreateOnce(ctx, s, "v/b", "value", "id"); err != nil {
		t.Errorf("written, but the reply was lost: %v", err)
	}
	s.After, s.Before = nil, func(op, _ string) error {
		if op == "put" {
			return lost
		}
		return nil
	}
	if _, err := CreateOnce(ctx, s, "v/c", "value", "id"); !errors.Is(err, lost) {
		t.Errorf("not written: %v", err)
	}
}

// TestE01LostReply: a write that was carried out is recognised by its id, also
// when the Store then says that it lost.
func TestE01LostReply(t *testing.T) {
	ctx := t.Context()
	for _, reply := range []error{errors.New("connection reset"), inkan.ErrConflict} {
		s := testkit.New()
		s.After = func(string) error { return reply }
		r := Record[string]{Key: "state/a"}
		for want := range 3 {
			if err := r.Save(ctx, s, fmt.Sprint(want)); err != nil {
				t.Fatalf("%v: %v", reply, err)
			}
			if r.Value != fmt.Sprint(want) || r.counter != uint64(want+1) {
				t.Errorf("%v: after write %d: %+v", reply, want, r)
			}
		}
		if s.Puts != 3 {
			t.Errorf("%v: %d puts, want 3", reply, s.Puts)
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
		{"for a person", inkan.Errorf(inkan.Operator, "disk", "full"), 1, false, 1, false},
		{"somebody wrote", reset, 1, true, 1, false},
	} {
		s := testkit.New()
		r := Record[string]{Key: "state/a"}
		if err := r.Save(ctx, s, "old"); err != nil {
			t.Fatal(err)
		}
		s.Puts = 0
		s.Before = func(op, key string) error {
			if op != "put" || s.Puts > c.fails {
				return nil
			}
			if c.foreign {
				s.Values[key], s.Revs[key] = []byte("{}"), "foreign"
			}
			return c.err
		}
		err := r.Save(ctx, s, "new")
		if (err == nil) != c.ok || !c.ok && !errors.Is(err, c.err) || s.Puts != c.puts {
			t.Errorf("%s: %v after %d puts", c.what, err, s.Puts)
		}
		s.Before = func(op, _ string) error {
			if op == "put" && s.Puts <= c.puts+1 {
				return reset
			}
			return nil
		}
		if _, err := CreateOnce(ctx, s, "v/a", "value", "id"); err != nil {
			t.Errorf("%s: keeping after one failure: %v", c.what, err)
		}
	}
}

func TestSaveConflict(t *testing.T) {
	ctx := t.Context()
	s := testkit.New()
	a, b := Record[string]{Key: "state/a"}, Record[string]{Key: "state/a"}
	if err := a.Save(ctx, s, "a"); err != nil {
		t.Fatal(err)
	}
	if err := b.Save(ctx, s, "b"); !errors.Is(err, inkan.ErrConflict) {
		t.Errorf("the second creation: %v", err)
	}
	// A-B-A: the same content in between is a conflict all the same.
	c, err := Load[string](ctx, s, "state/a")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []string{"b", "a"} {
		if err := a.Save(ctx, s, v); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Save(ctx, s, "c"); !errors.Is(err, inkan.ErrConflict) {
		t.Errorf("after A-B-A: %v", err)
	}
	// The write went elsewhere, and the error is no conflict: it is returned.
	broken := errors.New("disk full")
	s.Before = func(op, _ string) error {
		if op == "put" {
			return broken
		}
		return nil
	}
	if err := a.Save(ctx, s, "x"); !errors.Is(err, broken) {
		t.Errorf("a failed write: %v", err)
	}
	if a.Value != "a" {
		t.Errorf("the record became %q", a.Value)
	}
}

func TestUpdate(t *testing.T) {
	ctx := t.Context()
	s := testkit.New()
	races := 3
	add := func(by int) error {
		_, err := Update(ctx, s, "n", func(n *int, exists bool) error {
			if races > 0 && by == 1 {
				races--
				if _, err := Update(ctx, s, "n", func(n *int, _ bool) error { *n += 10; return nil }); err != nil {
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
	r, err := Load[int](ctx, s, "n")
	if err != nil || r.Value != 31 || r.counter != 4 {
		t.Errorf("got %+v %v, want 31 after 4 writes", r, err)
	}
	puts := s.Puts
	if _, err := Update(ctx, s, "n", func(*int, bool) error { return ErrUnchanged }); err != nil || s.Puts != puts {
		t.Errorf("unchanged: %v, %d puts", err, s.Puts-puts)
	}
	stop := errors.New("stop")
	if _, err := Update(ctx, s, "n", func(*int, bool) error { return stop }); !errors.Is(err, stop) || s.Puts != puts {
		t.Errorf("refused: %v, %d puts", err, s.Puts-puts)
	}
	cancelled, cancel := context.WithCancel(ctx)
	s.Before = func(op, _ string) error {
		if op == "put" {
			cancel()
			return inkan.ErrConflict
		}
		return nil
	}
	if _, err := Update(cancelled, s, "n", func(n *int, _ bool) error { *n++; return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("conflicts without end: %v", err)
	}
}

// FuzzOpen: no input makes a value that was not sealed as it is.
func FuzzOpen(f *testing.F) {
	good, _, err := encode(sampleState(), 3, "id")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"inkan":1,"counter":1,"write":"x","sum":"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","body":{}}`))
	f.Add([]byte(`{"inkan":1,"INKAN":2,"body":{},"body":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var st inkan.State
		e, err := Decode("state/a", data, &st)
		if err != nil {
			return
		}
		if e.Format != 1 || Sum(e.Body) != e.Sum {
			t.Errorf("accepted %q", data)
		}
		again, _, err := encode(st, e.Counter, e.Write)
		if err != nil {
			t.Fatal(err)
		}
		var st2 inkan.State
		if _, err := Decode("state/a", again, &st2); err != nil {
			t.Errorf("written again it is refused: %v", err)
		}
	})
}
