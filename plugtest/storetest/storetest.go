// Package storetest is the executable form of the contract of inkan.Store.
// Every Store passes it.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/inkan-acme/inkan"
)

// Run runs the suite. open returns a new, empty Store.
func Run(t *testing.T, open func(t *testing.T) inkan.Store) {
	tests := []struct {
		name string
		test func(t *testing.T, s inkan.Store)
	}{
		{"Absent", absent},
		{"CreateOnly", createOnly},
		{"Replace", replace},
		{"ExactBytes", exactBytes},
		{"CallerOwnsBytes", callerOwnsBytes},
		{"Keys", keys},
		{"BadKeys", badKeys},
		{"ListOrder", listOrder},
		{"ListAfter", listAfter},
		{"ListStops", listStops},
		{"ListWhileWriting", listWhileWriting},
		{"ListBadPrefix", listBadPrefix},
		{"Delete", deletes},
		{"CreateRace", func(t *testing.T, s inkan.Store) { CreateRace(t, []inkan.Store{s}, 50, 8) }},
		{"SwapRace", func(t *testing.T, s inkan.Store) { SwapRace(t, []inkan.Store{s}, 50, 8) }},
		{"DeleteRace", deleteRace},
		{"WholeValues", wholeValues},
		{"Cancelled", cancelled},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.test(t, open(t)) })
	}
}

func absent(t *testing.T, s inkan.Store) {
	ctx := t.Context()
	mustPut(t, s, "a/b", "x", "")
	for _, key := range []string{"missing", "missing/deep/key", "a/c", "a"} {
		data, rev, err := s.Get(ctx, key)
		if !errors.Is(err, fs.ErrNotExist) || data != nil || rev != "" {
			t.Errorf("Get(%q) = %q, %q, %v; want fs.ErrNotExist", key, data, rev, err)
		}
		if err := s.Delete(ctx, key); err != nil {
			t.Errorf("Delete(%q) = %v; an absent key is success", key, err)
		}
		if _, err := s.Put(ctx, key+"/x", []byte("y"), "0"); !errors.Is(err, inkan.ErrConflict) {
			t.Errorf("replacing the absent key %q = %v; want ErrConflict", key+"/x", err)
		}
	}
	if got := mustGet(t, s, "a/b"); got != "x" {
		t.Errorf("the key beside them holds %q", got)
	}
}

func createOnly(t *testing.T, s inkan.Store) {
	ctx := t.Context()
	rev := mustPut(t, s, "v/1/key", "first", "")
	for _, again := range []string{"second", "first"} {
		if rev, err := s.Put(ctx, "v/1/key", []byte(again), ""); !errors.Is(err, inkan.ErrConflict) || rev != "" {
			t.Errorf("creating it again with %q = %q, %v; want ErrConflict", again, rev, err)
		}
	}
	data, got, err := s.Get(ctx, "v/1/key")
	if string(data) != "first" || got != rev || err != nil {
		t.Errorf("Get = %q, %q, %v; want first, %q", data, got, err, rev)
	}
}

func replace(t *testing.T, s inkan.Store) {
	ctx := t.Context()
	first := mustPut(t, s, "current/a", "1", "")
	second := mustPut(t, s, "current/a", "2", first)
	if first == second {
		t.Errorf("two different values have the revision %q", first)
	}
	if _, err := s.Put(ctx, "current/a", []byte("3"), first); !errors.Is(err, inkan.ErrConflict) {
		t.Errorf("replacing an old revision = %v; want ErrConflict", err)
	}
	if _, err := s.Put(ctx, "current/a", []byte("3"), "no-such-revision"); !errors.Is(err, inkan.ErrConflict) {
		t.Errorf("replacing an unknown revision = %v; want ErrConflict", err)
	}
	if got := mustGet(t, s, "current/a"); got != "2" {
		t.Errorf("the losers left %q", got)
	}
	// A value may be replaced by an equal one.
	third := mustPut(t, s, "current/a", "2", second)
	mustPut(t, s, "current/a", "4", third)
	if err := s.Delete(ctx, "current/a"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(ctx, "current/a", []byte("5"), third); !errors.Is(err, inkan.ErrConflict) {
		t.Errorf("replacing a deleted key = %v; want ErrConflict", err)
	}
	if _, _, err := s.Get(ctx, "current/a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("that brought it back: %v", err)
	}
}

func exactBytes(t *testing.T, s inkan.Store) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	values := map[string][]byte{
		"bytes/empty":   {},
		"bytes/every":   every,
		"bytes/crlf":    []byte("a\r\nb\n\n"),
		"bytes/notutf8": {0xff, 0xfe, 0x80},
		"bytes/largest": bytes.Repeat(every, inkan.MaxValue/len(every)),
	}
	for key, want := range values {
		rev, err := s.Put(t.Context(), key, want, "")
		if err != nil || rev == "" {
			t.Fatalf("Put(%s) = %q, %v", key, rev, err)
		}
		got, again, err := s.Get(t.Context(), key)
		if err != nil || !bytes.Equal(got, want) || again != rev {
			t.Errorf("%s: put %d bytes as %q, got %d bytes as %q, %v", key, len(want), rev, len(got), again, err)
		}
	}
	// A nil value is an empty one, in both directions.
	mustPut(t, s, "bytes/nil", "", "")
	mustPut(t, s, "bytes/every", "short", revision(t, s, "bytes/every"))
	if got := mustGet(t, s, "bytes/every"); got != "short" {
		t.Errorf("a shorter value left %q", got)
	}
}

func callerOwnsBytes(t *testing.T, s inkan.Store) {
	data := []byte("value")
	if _, err := s.Put(t.Context(), "k", data, ""); err != nil {
		t.Fatal(err)
	}
	data[0] = 'X'
	got, _, err := s.Get(t.Context(), "k")
	if err != nil || string(got) != "value" {
		t.Fatalf("Get = %q, %v after the caller changed its slice", got, err)
	}
	got[0] = 'Y'
	if again := mustGet(t, s, "k"); again != "value" {
		t.Errorf("Get = %q after a reader changed its slice", again)
	}
}

func keys(t *testing.T, s inkan.Store) {
	long := strings.Repeat("x", 255)
	want := []string{
		".well-known/acme-challenge/-_AZaz09-abcdefghijklmnop",
		"_.example.com/0000000001-ab/ecdsa-p256/cert",
		"a..b/..c/d..", "a", "b/c/d/e/f/g/h", long,
		strings.Join([]string{"z", long, long, long, strings.Repeat("y", 250)}, "/"),
	}
	for _, key := range want {
		mustPut(t, s, key, "value of "+key, "")
	}
	for _, key := range want {
		if got := mustGet(t, s, key); got != "value of "+key {
			t.Errorf("Get(%q) = %q", key, got)
		}
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, list(t, s, "", "")); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
}

func badKeys(t *testing.T, s inkan.Store) {
	ctx := t.Context()
	for _, key := range []string{"", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "ä", "a b", "a\x00b", "a\\b", "a\nb", strings.Repeat("x", 256), strings.Repeat("x/", 512) + "x"} {
		if _, err := s.Put(ctx, key, nil, ""); err == nil || errors.Is(err, inkan.ErrConflict) {
			t.Errorf("Put(%q) = %v; want an error", key, err)
		}
		if _, _, err := s.Get(ctx, key); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Get(%q) = %v; want an error other than absence", key, err)
		}
		if err := s.Delete(ctx, key); err == nil {
			t.Errorf("Delete(%q) = nil; want an error", key)
		}
	}
	if got := list(t, s, "", ""); len(got) != 0 {
		t.Errorf("bad keys left %q", got)
	}
}

// tricky sorts differently by bytes and by directories.
var tricky = []string{
	"a", "a-b", "a-b/c", "a.b", "a0", "aB/c", "a_b", "ab",
	"d-/x", "d-e", "d./x", "d.e/f", "d/0", "d/a-b", "d/a.b", "d/a/b", "d/ab", "d0", "d0/e-", "da",
}

func fill(t *testing.T, s inkan.Store) []string {
	t.Helper()
	// "a-b" and "d0" are directories of others: no key is. Drop those.
	want := slices.DeleteFunc(slices.Clone(tricky), func(k string) bool { return k == "a-b" || k == "d0" })
	for i := range want {
		mustPut(t, s, want[(i*7)%len(want)], "x", "")
	}
	slices.Sort(want)
	return want
}

func listOrder(t *testing.T, s inkan.Store) {
	want := fill(t, s)
	if diff := cmp.Diff(want, list(t, s, "", "")); diff != "" {
		t.Errorf("all keys (-want +got):\n%s", diff)
	}
	below := slices.DeleteFunc(slices.Clone(want), func(k string) bool { return !strings.HasPrefix(k, "d/") })
	if diff := cmp.Diff(below, list(t, s, "d/", "")); diff != "" {
		t.Errorf("keys below d/ (-want +got):\n%s", diff)
	}
	for _, prefix := range []string{"missing/", "missing/deep/", "a/", "d/0/"} {
		if got := list(t, s, prefix, ""); len(got) != 0 {
			t.Errorf("List(%q) = %q; want nothing", prefix, got)
		}
	}
}

func listAfter(t *testing.T, s inkan.Store) {
	want := fill(t, s)
	for _, prefix := range []string{"", "d/", "d-/"} {
		// Any string may be given, not only keys that exist.
		for _, after := range append(slices.Clone(want), "A", "a-", "a/", "a-b/c/d", "b", "d", "d/", "d/a", "d/a/", "d/zzz", "d0", "e", "~") {
			expect := slices.DeleteFunc(slices.Clone(want), func(k string) bool { return k <= after || !strings.HasPrefix(k, prefix) })
			got := list(t, s, prefix, after)
			if !slices.Equal(got, expect) {
				t.Errorf("List(%q, %q) = %q; want %q", prefix, after, got, expect)
			}
		}
	}
	// Paging by one key at a time sees each once.
	var paged []string
	for after := ""; ; after = paged[len(paged)-1] {
		key, ok := first(t, s, "", after)
		if !ok {
			break
		}
		if paged = append(paged, key); len(paged) > len(want) {
			break
		}
	}
	if diff := cmp.Diff(want, paged); diff != "" {
		t.Errorf("paging (-want +got):\n%s", diff)
	}
}

func listStops(t *testing.T, s inkan.Store) {
	want := fill(t, s)
	for n := 1; n <= len(want); n++ {
		var got []string
		for key, err := range s.List(t.Context(), "", "") {
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, key); len(got) == n {
				break
			}
		}
		if !slices.Equal(got, want[:n]) {
			t.Errorf("the first %d keys are %q; want %q", n, got, want[:n])
		}
	}
}

// listWhileWriting: the consumer uses the Store between two keys, and keys
// that stand all the time are listed whatever else comes and goes.
func listWhileWriting(t *testing.T, s inkan.Store) {
	var want []string
	for i := range 20 {
		key := fmt.Sprintf("w/%02d/stays", i)
		mustPut(t, s, key, "x", "")
		mustPut(t, s, fmt.Sprintf("w/%02d/goes/away", i), "x", "")
		want = append(want, key)
	}
	var got []string
	i := 0
	for key, err := range s.List(t.Context(), "w/", "") {
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(key, "stays") {
			got = append(got, key)
		}
		if i < 20 {
			if err := s.Delete(t.Context(), fmt.Sprintf("w/%02d/goes/away", 19-i)); err != nil {
				t.Fatal(err)
			}
			mustPut(t, s, fmt.Sprintf("w/%02d/comes", i), "x", "")
		}
		i++
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys that stood all the time (-want +got):\n%s", diff)
	}
}

func listBadPrefix(t *testing.T, s inkan.Store) {
	mustPut(t, s, "abc", "x", "")
	failed := false
	for key, err := range s.List(t.Context(), "ab", "") {
		if failed {
			t.Error("something follows an error")
		}
		failed = err != nil
		if err == nil {
			t.Errorf("the prefix %q has no slash behind it and yields %q", "ab", key)
		}
	}
	if !failed {
		t.Error("a prefix without a slash behind it is no error")
	}
}

func deletes(t *testing.T, s inkan.Store) {
	ctx := t.Context()
	for _, key := range []string{"due/host/0/20260102/03/0405-a-00000000", "due/host/0/20260102/03/0406-b-00000000", "due/x"} {
		mustPut(t, s, key, "x", "")
	}
	for range 2 {
		if err := s.Delete(ctx, "due/host/0/20260102/03/0405-a-00000000"); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := s.Get(ctx, "due/host/0/20260102/03/0405-a-00000000"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Get of a deleted key = %v; want fs.ErrNotExist", err)
	}
	if diff := cmp.Diff([]string{"due/host/0/20260102/03/0406-b-00000000", "due/x"}, list(t, s, "", "")); diff != "" {
		t.Errorf("what is left (-want +got):\n%s", diff)
	}
	// The last key of a directory, and a new key there.
	if err := s.Delete(ctx, "due/host/0/20260102/03/0406-b-00000000"); err != nil {
		t.Fatal(err)
	}
	mustPut(t, s, "due/host/0/20260102/03/0407-c-00000000", "x", "")
	if diff := cmp.Diff([]string{"due/host/0/20260102/03/0407-c-00000000", "due/x"}, list(t, s, "due/", "")); diff != "" {
		t.Errorf("what is left (-want +got):\n%s", diff)
	}
}

func wholeValues(t *testing.T, s inkan.Store) {
	const rounds = 100
	value := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, 1+i*331) }
	rev, err := s.Put(t.Context(), "whole", value(0), "")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			last := 0
			for {
				select {
				case <-done:
					return
				default:
				}
				data, _, err := s.Get(t.Context(), "whole")
				if err != nil || len(data) == 0 || !bytes.Equal(data, value(int(data[0]))) {
					t.Errorf("a reader saw %d bytes of no value, %v", len(data), err)
					return
				}
				if int(data[0]) < last {
					t.Errorf("a reader saw value %d after value %d", data[0], last)
				}
				last = int(data[0])
			}
		})
	}
	for i := 1; i <= rounds; i++ {
		if rev, err = s.Put(t.Context(), "whole", value(i), rev); err != nil {
			t.Error(err)
			break
		}
	}
	close(done)
	wg.Wait()
}

func cancelled(t *testing.T, s inkan.Store) {
	mustPut(t, s, "there", "x", "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.Get(ctx, "there"); !errors.Is(err, context.Canceled) {
		t.Errorf("Get = %v; want context.Canceled", err)
	}
	if _, err := s.Put(ctx, "new", nil, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("Put = %v; want context.Canceled", err)
	}
	if err := s.Delete(ctx, "there"); !errors.Is(err, context.Canceled) {
		t.Errorf("Delete = %v; want context.Canceled", err)
	}
	n := 0
	for _, err := range s.List(ctx, "", "") {
		if n++; !errors.Is(err, context.Canceled) {
			t.Errorf("List yields %v; want context.Canceled", err)
		}
	}
	if n != 1 {
		t.Errorf("List yields %d times; want one error", n)
	}
	if diff := cmp.Diff([]string{"there"}, list(t, s, "", "")); diff != "" {
		t.Errorf("after all that (-want +got):\n%s", diff)
	}
}

// The helpers fail the test; they run in its goroutine only.

func mustPut(t *testing.T, s inkan.Store, key, value string, old inkan.Rev) inkan.Rev {
	t.Helper()
	rev, err := s.Put(t.Context(), key, []byte(value), old)
	if err != nil || rev == "" {
		t.Fatalf("Put(%.80q, %.80q, %q) = %q, %v", key, value, old, rev, err)
	}
	return rev
}

func mustGet(t *testing.T, s inkan.Store, key string) string {
	t.Helper()
	data, rev, err := s.Get(t.Context(), key)
	if err != nil || rev == "" {
		t.Fatalf("Get(%q) = %q, %q, %v", key, data, rev, err)
	}
	return string(data)
}

func revision(t *testing.T, s inkan.Store, key string) inkan.Rev {
	t.Helper()
	_, rev, err := s.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

func list(t *testing.T, s inkan.Store, prefix, after string) []string {
	t.Helper()
	keys, err := collect(s.List(t.Context(), prefix, after))
	if err != nil {
		t.Fatalf("List(%q, %q): %v", prefix, after, err)
	}
	return keys
}

func collect(seq iter.Seq2[string, error]) (keys []string, err error) {
	for key, err := range seq {
		if err != nil {
			return keys, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func first(t *testing.T, s inkan.Store, prefix, after string) (string, bool) {
	t.Helper()
	for key, err := range s.List(t.Context(), prefix, after) {
		if err != nil {
			t.Fatal(err)
		}
		return key, true
	}
	return "", false
}
