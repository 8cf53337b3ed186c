package failpoint

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/plugtest/storetest"
	"github.com/inkan-acme/inkan/store"
)

func TestParseSpec(t *testing.T) {
	for text, want := range map[string]Spec{
		"":                          {},
		"before put store/orders#2": {Point: "put store/orders#2"},
		"after POST /order-plz#1":   {After: true, Point: "POST /order-plz#1"},
		"after 17":                  {After: true, Index: 17},
	} {
		got, err := ParseSpec(text)
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
		if text != "" && got.String() != text {
			t.Errorf("%q comes back as %q", text, got)
		}
	}
	for _, text := range []string{"before", "during put#1", "put#1"} {
		if _, err := ParseSpec(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

// TestDies: before the point nothing has happened, after it all; other points of
// the same kind pass.
func TestDies(t *testing.T) {
	for _, after := range []bool{false, true} {
		p := New(Spec{After: after, Point: "x#2"}, nil)
		changes, deathAt := 0, -1
		p.Die = func() { deathAt = changes }
		for range 3 {
			if err := p.Pass("y", func() error { return nil }); err != nil {
				t.Fatal(err)
			}
			if err := p.Pass("x", func() error { changes++; return nil }); err != nil {
				t.Fatal(err)
			}
		}
		want := 1
		if after {
			want = 2
		}
		if deathAt != want {
			t.Errorf("after=%v: died at %d changes, want %d", after, deathAt, want)
		}
	}
}

func TestTrace(t *testing.T) {
	var out bytes.Buffer
	p := New(Spec{}, &out)
	s := p.Store("store", store.Mem())
	ctx := t.Context()
	rev, err := s.Put(ctx, "v/a/0000000001-x/ecdsa-p256/key", []byte("k"), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(ctx, "v/a/0000000001-x/ecdsa-p256/key", []byte("k"), ""); !errors.Is(err, inkan.ErrConflict) {
		t.Fatalf("creating it twice with %q: %v", rev, err)
	}
	if _, _, err := s.Get(ctx, "v/a/0000000001-x/ecdsa-p256/key"); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	client := http.Client{Transport: p.Transport(srv.Client().Transport)}
	resp, err := client.Get(srv.URL + "/dir/x")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	out.WriteString("> delete host/due#1\n")
	got, err := ParseTrace(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	want := Trace{{"put store/v/key#1", true, 0}, {"put store/v/key#2", true, 1}, {"GET /dir#1", true, 2}, {"delete host/due#1", false, 3}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got[0].Kind() != "put store/v/key" {
		t.Error(got[0].Kind())
	}
	if _, err := ParseTrace([]byte("< never begun#1\n")); err == nil {
		t.Error("an end without a beginning is taken")
	}
}

func serve(t *testing.T, s *Server) inkan.Store {
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	r, err := Remote(plug.Env{HTTP: srv.Client()}, RemoteConfig{URL: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRemoteStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) inkan.Store { return serve(t, &Server{Store: store.Mem()}) })
}

func TestWatchedStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) inkan.Store { return New(Spec{}, nil).Store("store", store.Mem()) })
}

// TestLosses: a lost request is not done, a lost reply is, and both are errors
// that say nothing of it.
func TestLosses(t *testing.T) {
	behind := store.Mem()
	srv := &Server{Store: behind}
	srv.Lose(func(n int) Loss { return Loss(n % 3) })
	s := serve(t, srv)
	for i, want := range []struct{ err, done bool }{{true, false}, {true, true}, {false, true}} {
		key := "due/" + strings.Repeat("x", i+1)
		_, err := s.Put(context.Background(), key, []byte("1"), "")
		_, _, there := behind.Get(t.Context(), key)
		if (err != nil) != want.err || (there == nil) != want.done || errors.Is(err, inkan.ErrConflict) {
			t.Errorf("write %d: %v, there: %v", i+1, err, there)
		}
	}
	if srv.Lost(LostReply) != 1 || srv.Lost(LostRequest) != 1 || srv.Lost(Kept) != 1 {
		t.Error("the losses are not counted")
	}
}

// zone keeps what a DNSHost serves.
type zone map[string]int

func (z zone) AddTXT(name, value string)    { z[name+" "+value]++ }
func (z zone) RemoveTXT(name, value string) { delete(z, name+" "+value) }

// TestDNS: records are removed with the journalled id and without it, twice.
func TestDNS(t *testing.T) {
	z := zone{}
	host := &DNSHost{Zone: z}
	srv := httptest.NewServer(host)
	defer srv.Close()
	s := DNS(srv.Client(), DNSConfig{URL: srv.URL})
	cs := []inkan.Challenge{
		{Type: inkan.DNS01, Identifier: inkan.Identifier{Type: inkan.DNS, Value: "a.example"}, KeyAuthorization: "one"},
		{Type: inkan.DNS01, Identifier: inkan.Identifier{Type: inkan.DNS, Value: "a.example"}, KeyAuthorization: "two", Wildcard: true},
	}
	for _, journalled := range []bool{false, true} {
		for range 2 {
			undo, err := s.Present(t.Context(), cs)
			if err != nil {
				t.Fatal(err)
			}
			for i := range cs {
				if cs[i].Undo = nil; journalled {
					cs[i].Undo = undo[i]
				}
			}
		}
		if len(z) != 2 || len(host.Names()) != 2 {
			t.Fatalf("served: %v", z)
		}
		for range 2 {
			if err := s.CleanUp(t.Context(), cs); err != nil {
				t.Fatal(err)
			}
			if len(z) != 0 || len(host.Names()) != 0 {
				t.Fatalf("left: %v", z)
			}
		}
	}
}
