package engine

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
)

func lived(life time.Duration) *x509.Certificate {
	return &x509.Certificate{NotBefore: chainNow, NotAfter: chainNow.Add(life)}
}

// TestWhenToRenew: a share of the life, never a number of days, spread by at
// most 2 % of it towards the early side.
func TestWhenToRenew(t *testing.T) {
	for _, c := range []struct {
		life time.Duration
		left time.Duration
		word string
	}{
		{90 * day, 30 * day, "a third"},
		{64 * day, 64 * day / 3, "a third"},
		{45 * day, 15 * day, "a third"},
		{398 * day, 398 * day / 3, "a third"},
		{10 * day, 10 * day / 3, "a third"},
		{10*day - time.Second, (10*day - time.Second) / 2, "half"},
		{160 * time.Hour, 80 * time.Hour, "half"},
	} {
		leaf := lived(c.life)
		latest := leaf.NotAfter.Add(-c.left)
		seen := map[time.Time]bool{}
		var first, last time.Time
		for i := range 2000 {
			name := fmt.Sprintf("host%d.example", i)
			r := whenToRenew(name, leaf, inkan.ARIState{})
			if r.byCA || !strings.HasPrefix(r.reason, c.word) {
				t.Fatalf("%v: %+v", c.life, r)
			}
			if early := latest.Sub(r.at); early < 0 || early > c.life/50 {
				t.Fatalf("%v: %s is renewed %v before the latest instant", c.life, name, early)
			}
			if again := whenToRenew(name, leaf, inkan.ARIState{}); !again.at.Equal(r.at) {
				t.Fatalf("%v: another instant at the second look", c.life)
			}
			seen[r.at] = true
			if first.IsZero() || r.at.Before(first) {
				first = r.at
			}
			last = later(last, r.at)
		}
		if len(seen) < 500 || last.Sub(first) < c.life/60 {
			t.Errorf("%v: %d instants within %v", c.life, len(seen), last.Sub(first))
		}
	}
}

// TestA12Windows: windows that make no sense, or come too late, are not
// followed, and the renewal is never later than by the local rule.
func TestA12Windows(t *testing.T) {
	for _, life := range []time.Duration{90 * day, 45 * day, 160 * time.Hour} {
		leaf := lived(life)
		floor := leaf.NotAfter.Add(-life / 5)
		if life < shortLife {
			floor = leaf.NotAfter.Add(-life * 2 / 5)
		}
		for _, c := range []struct {
			what       string
			start, end time.Time
			sane       bool
		}{
			{"in the middle", leaf.NotBefore.Add(life / 3), leaf.NotBefore.Add(life / 2), true},
			{"always past", leaf.NotBefore.Add(-2 * day), leaf.NotBefore.Add(-day), true},
			{"up to the floor", leaf.NotBefore.Add(life / 3), floor, true},
			{"a second beyond it", leaf.NotBefore.Add(life / 3), floor.Add(time.Second), false},
			{"empty", leaf.NotBefore, leaf.NotBefore, false},
			{"turned round", leaf.NotBefore.Add(day), leaf.NotBefore, false},
			{"no start", time.Time{}, floor, false},
			{"nothing", time.Time{}, time.Time{}, false},
			{"ten years ahead", leaf.NotAfter.Add(3650 * day), leaf.NotAfter.Add(3651 * day), false},
			{"for ever", leaf.NotBefore, leaf.NotAfter.Add(3650 * day), false},
		} {
			if got := saneWindow(leaf, c.start, c.end); got != c.sane {
				t.Errorf("%v, %s: sane %v, want %v", life, c.what, got, c.sane)
			}
			info := &inkan.RenewalInfo{Start: c.start, End: c.end}
			local := whenToRenew("a.example", leaf, inkan.ARIState{}).at
			for range 20 {
				ari := advise(inkan.ARIState{}, 1, leaf, info, nil, chainNow)
				r := whenToRenew("a.example", leaf, ari)
				switch {
				case c.sane && (!r.byCA || ari.Pick.Before(c.start) || !ari.Pick.Before(c.end) || !r.at.Equal(ari.Pick)):
					t.Errorf("%v, %s: picked %v in %v to %v (%+v)", life, c.what, ari.Pick, c.start, c.end, r)
				case !c.sane && (r.byCA || !r.at.Equal(local) || !ari.Pick.IsZero() || ari.Error == ""):
					t.Errorf("%v, %s: %+v and %+v, want the local rule and a word about it", life, c.what, r, ari)
				}
				if r.at.After(leaf.NotAfter.Add(-life / 5)) {
					t.Errorf("%v, %s: renewed at %v, of a life until %v", life, c.what, r.at, leaf.NotAfter)
				}
			}
			// What a hostile Store put into the state is judged again.
			forged := inkan.ARIState{N: 1, Start: c.start, End: c.end, Pick: leaf.NotAfter.Add(day)}
			if r := whenToRenew("a.example", leaf, forged); r.at.After(later(local, floor)) {
				t.Errorf("%v, %s: a forged pick postpones to %v", life, c.what, r.at)
			}
		}
	}
}

// TestA12Pick: picked once in a window, again when the window moves, for a new
// version afresh.
func TestA12Pick(t *testing.T) {
	leaf := lived(90 * day)
	info := &inkan.RenewalInfo{Start: chainNow.Add(50 * day), End: chainNow.Add(60 * day), ExplanationURL: "https://ca.example/why\x1b[31m"}
	first := advise(inkan.ARIState{}, 1, leaf, info, nil, chainNow)
	if strings.ContainsFunc(first.ExplanationURL, hidden) {
		t.Errorf("the explanation is %q", first.ExplanationURL)
	}
	state := first
	for range 20 {
		state = advise(state, 1, leaf, info, nil, chainNow.Add(day))
		if !state.Pick.Equal(first.Pick) {
			t.Fatal("the instant moved in the same window")
		}
	}
	failed := advise(state, 1, leaf, nil, errors.New("503"), chainNow.Add(2*day))
	if !failed.Pick.Equal(first.Pick) || failed.Error == "" {
		t.Errorf("a failed look forgot the pick: %+v", failed)
	}
	if again := advise(failed, 1, leaf, info, nil, chainNow.Add(3*day)); again.Error != "" || !again.Pick.Equal(first.Pick) {
		t.Errorf("after the failure: %+v", again)
	}
	pulled := &inkan.RenewalInfo{Start: chainNow.Add(-2 * day), End: chainNow.Add(-day)}
	moved := advise(state, 1, leaf, pulled, nil, chainNow)
	if r := whenToRenew("a", leaf, moved); r.at.After(chainNow) || !r.byCA {
		t.Errorf("a window in the past: %+v", r)
	}
	insane := advise(moved, 1, leaf, &inkan.RenewalInfo{Start: chainNow, End: chainNow.Add(400 * day)}, nil, chainNow)
	if !insane.Pick.IsZero() {
		t.Errorf("the pick of a window that is gone stays: %+v", insane)
	}
	next := advise(moved, 2, leaf, info, nil, chainNow)
	if next.N != 2 || next.Pick.Equal(moved.Pick) {
		t.Errorf("the next version: %+v", next)
	}
}

// TestA13Look: the next look is in 1 minute to 24 hours, in 6 hours if nobody
// says anything.
func TestA13Look(t *testing.T) {
	leaf := lived(90 * day)
	window := inkan.RenewalInfo{Start: chainNow.Add(50 * day), End: chainNow.Add(60 * day)}
	for _, c := range []struct {
		after time.Duration // 0: nothing said
		want  time.Duration
	}{{0, 6 * time.Hour}, {time.Nanosecond, time.Minute}, {time.Second, time.Minute}, {-time.Hour, time.Minute}, {time.Hour, time.Hour}, {30 * day, 24 * time.Hour}} {
		info := window
		err := inkan.Errorf(inkan.Temporary, "ari", "503")
		if c.after != 0 {
			info.RetryAfter = chainNow.Add(c.after)
			err = err.After(info.RetryAfter)
		}
		if got := advise(inkan.ARIState{}, 1, leaf, &info, nil, chainNow); got.Look.Sub(chainNow) != c.want || !got.Looked.Equal(chainNow) {
			t.Errorf("Retry-After %v: looks again after %v, want %v", c.after, got.Look.Sub(chainNow), c.want)
		}
		// At first hourly, then like an answer that says nothing.
		for _, failing := range []time.Duration{0, 11 * time.Hour, 12 * time.Hour, 30 * day} {
			want := c.want
			if c.after == 0 && failing < 12*time.Hour {
				want = time.Hour
			}
			before := inkan.ARIState{N: 1, Failing: chainNow.Add(-failing)}
			if failing == 0 {
				before = inkan.ARIState{}
			}
			got := advise(before, 1, leaf, nil, err, chainNow)
			if got.Look.Sub(chainNow) != want || chainNow.Sub(got.Failing) != failing {
				t.Errorf("an error with Retry-After %v after %v: looks again after %v, want %v; failing since %v", c.after, failing, got.Look.Sub(chainNow), want, got.Failing)
			}
			if got := advise(got, 1, leaf, &info, nil, chainNow); !got.Failing.IsZero() {
				t.Error("an answer leaves it failing")
			}
		}
		if got := advise(inkan.ARIState{}, 1, leaf, nil, inkan.Errorf(inkan.Rejected, "ari", "none"), chainNow); !got.Failing.IsZero() || got.Look.Sub(chainNow) != 6*time.Hour {
			t.Errorf("a CA that gives none: %+v", got)
		}
	}
}

// TestA12AfterRenewals: whatever the CA suggests, once a day and twice a week.
func TestA12AfterRenewals(t *testing.T) {
	for _, c := range []struct {
		ago  []time.Duration
		want time.Duration
	}{
		{nil, 0},
		{[]time.Duration{25 * time.Hour}, 0},
		{[]time.Duration{time.Hour}, 23 * time.Hour},
		{[]time.Duration{3 * day, 2 * day}, 4 * day},
		{[]time.Duration{6 * day, time.Hour}, day},
		{[]time.Duration{8 * day, 7 * day}, 0},
		{[]time.Duration{20 * day, 3 * day, 2 * day}, 4 * day},
	} {
		var renewals []time.Time
		for _, ago := range c.ago {
			renewals = append(renewals, chainNow.Add(-ago))
		}
		got := later(chainNow, afterRenewals(chainNow.Add(-day), renewals)).Sub(chainNow)
		if got != c.want {
			t.Errorf("renewed %v ago: again in %v, want %v", c.ago, got, c.want)
		}
	}
	// Two years of a window that is always past.
	now := chainNow
	var all []time.Time
	for now.Sub(chainNow) < 730*day {
		now = later(now.Add(time.Minute), afterRenewals(now, all))
		all = append(all, now)
	}
	for i := range all {
		if i >= 1 && all[i].Sub(all[i-1]) < day || i >= 2 && all[i].Sub(all[i-2]) < 7*day {
			t.Fatalf("renewal %d came too soon", i)
		}
	}
}

// TestA16Missed: a day of looks in vain is told once, through a renewal too; two
// looks with a sleep between them are no day of looks.
func TestA16Missed(t *testing.T) {
	leaf := lived(90 * day)
	down := inkan.Errorf(inkan.Temporary, "ari", "503")
	at := chainNow
	var a inkan.ARIState
	look := func(after time.Duration, n uint64, err error) bool {
		at = at.Add(after)
		a = advise(a, n, leaf, &inkan.RenewalInfo{Start: at.Add(50 * day), End: at.Add(60 * day)}, err, at)
		told := missed(a)
		a.Told = a.Told || told
		return told
	}
	for i, c := range []struct {
		after time.Duration
		n     uint64
		err   error
		want  bool
	}{
		{0, 1, down, false},
		{48 * time.Hour, 1, down, false}, // the machine was off
		{time.Hour, 1, down, true},
		{6 * time.Hour, 1, down, false},
		{6 * time.Hour, 2, down, false}, // renewed meanwhile
		{time.Hour, 2, nil, false},      // it answers
		{6 * time.Hour, 2, down, false},
		{time.Hour, 2, down, false},
		{22 * time.Hour, 2, down, false},
		{time.Hour, 2, down, true},
		{time.Hour, 2, inkan.Errorf(inkan.Rejected, "ari", "none"), false}, // so does this
		{time.Hour, 2, down, false},
	} {
		if got := look(c.after, c.n, c.err); got != c.want {
			t.Errorf("look %d: told is %v: %+v", i+1, got, a)
		}
	}
}
