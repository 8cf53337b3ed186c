package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/internal/testca"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/store"
)

// TestMain turns the test binary into a child that costs a known amount.
func TestMain(m *testing.M) {
	if os.Getenv("BENCH_CHILD") == "1" {
		block := make([]byte, 64<<20)
		for i := range block {
			block[i] = 1
		}
		for start := time.Now(); time.Since(start) < 50*time.Millisecond; {
		}
		os.Stdout.WriteString("done")
		os.Exit(int(block[0]) - 1)
	}
	os.Exit(m.Run())
}

func TestRunProcess(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	u, err := runProcess(t.Context(), []string{"BENCH_CHILD=1"}, self)
	if err != nil {
		t.Fatal(err)
	}
	if string(u.out) != "done" {
		t.Errorf("output %q", u.out)
	}
	if u.peak < 64<<20 || u.peak > 512<<20 {
		t.Errorf("peak memory %s, want a little above 64 MiB", mebibytes(u.peak))
	}
	if u.cpu < 20*time.Millisecond || u.cpu > 20*u.wall {
		t.Errorf("CPU %v in %v", u.cpu, u.wall)
	}
	if _, err := runProcess(t.Context(), nil, self, "-no-such-flag"); err == nil || !strings.Contains(err.Error(), "no-such-flag") {
		t.Errorf("failing process: %v", err)
	}
}

// TestFloorRows runs the rows that need nothing but the test CA once.
func TestFloorRows(t *testing.T) {
	b := &bench{dir: t.TempDir(), repeats: 1}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, r := range append(durableRows(), floorRows()...) {
		got, err := r.measure(ctx, b)
		if err != nil || got.measured == "" {
			t.Errorf("%s: %+v, %v", r.name, got, err)
		}
	}
}

// TestRows runs the other rows once, the long ones with less.
func TestRows(t *testing.T) {
	b := &bench{dir: t.TempDir(), repeats: 1}
	b.peerErr = errors.New("TestPeers measures them")
	t.Cleanup(func() {
		if err := b.close(); err != nil {
			t.Error(err)
		}
	})
	for name, measure := range map[string]func(context.Context, *bench) (result, error){
		"one":     one(3, testca.Options{}, limits{wall: time.Hour, cost: &fewest}),
		"tmpfs":   onTmpfs,
		"hundred": hundred,
		"process": issueProcess,
		"renew":   renewProcess(20),
		"serve":   serving(20, 20, time.Hour),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := measure(t.Context(), b)
			if err != nil || got.measured == "" {
				t.Errorf("%+v, %v", got, err)
			}
			t.Logf("%+v", got)
		})
	}
}

// TestSeeds: what is recorded quickly is what the engine reads: nothing due,
// and every certificate whole.
func TestSeeds(t *testing.T) {
	b := &bench{dir: t.TempDir(), repeats: 1}
	data, _, err := b.seeded(t.Context(), 10)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.close(); err != nil {
			t.Error(err)
		}
	})
	s, err := store.File(plug.Env{}, store.FileConfig{Dir: filepath.Join(data, "store")})
	if err != nil {
		t.Fatal(err)
	}
	m := &engine.Manager{Store: s}
	p, err := m.Plan(t.Context(), engine.PlanOptions{})
	if err != nil || len(p.Certificates) > 0 {
		t.Errorf("due: %+v, %v", p, err)
	}
	p, err = m.Plan(t.Context(), engine.PlanOptions{Scope: engine.All()})
	if err != nil || len(p.Certificates) != 10 {
		t.Fatalf("recorded: %+v, %v", p, err)
	}
	for _, c := range p.Certificates {
		o, err := m.Observe(t.Context(), c.Name)
		if err != nil || o.Version == nil || c.Actions() || o.State.ARI.Looked.IsZero() {
			t.Errorf("%s: %+v, %v", c.Name, c.Steps, err)
		}
	}
}

func TestMissed(t *testing.T) {
	l := limits{wall: time.Second, cost: &fewest}
	if got := l.missed(time.Second, fewest); got != "" {
		t.Errorf("met, but: %s", got)
	}
	got := l.missed(1500*time.Millisecond, cost{requests: 12, connections: 2, puts: 21})
	for _, want := range []string{"0.500 s over", "2 requests over", "1 connections over", "1 Puts over"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q lacks %q", got, want)
		}
	}
	u := usage{cpu: maxCPU + time.Millisecond, wall: maxRenew + time.Millisecond, peak: maxPeak + 1<<20}
	if got := u.missed(maxCPU, maxRenew); strings.Count(got, "MISSED") != 3 {
		t.Errorf("%q", got)
	}
}

func TestPrintTable(t *testing.T) {
	var b strings.Builder
	if err := printTable(&b, [][]string{{"a", "bb"}, {"ü", "x\ny"}}); err != nil {
		t.Fatal(err)
	}
	want := "| a | bb  |\n|---|-----|\n| ü | x y |\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

func TestUpdate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(file, []byte("a\n"+updateBegin+"old\n"+updateEnd+"z\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := update(file, []byte("new\n")); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if want := "a\n" + updateBegin + "new\n" + updateEnd + "z\n"; err != nil || string(got) != want {
		t.Errorf("%q, %v", got, err)
	}
	if err := os.WriteFile(file, []byte(updateEnd+updateBegin), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := update(file, nil); err == nil {
		t.Error("a page without its place was written")
	}
}

// TestPeers gets a certificate with each of the other libraries; it needs
// their modules.
func TestPeers(t *testing.T) {
	if os.Getenv("INKAN_LONG") == "" {
		t.Skip("the peers are built and measured in the long form (INKAN_LONG=1)")
	}
	b := &bench{dir: t.TempDir(), repeats: 1}
	if _, ok := b.peerPrograms(t.Context()); !ok {
		if os.Getenv("CI") == "true" {
			t.Fatal(b.peerErr)
		}
		t.Skip("SKIPPED: the comparison with other libraries, which could not be built:", b.peerErr)
	}
	for _, name := range []string{acmez, certMagic, autocert} {
		p, err := b.newPeer(t.Context(), name, testca.Options{})
		if err != nil {
			t.Fatal(err)
		}
		took, used, err := p.issue(t.Context(), true, 1)
		if err := errors.Join(err, p.Close()); err != nil || took <= 0 || used.peak == 0 {
			t.Errorf("%s: %v, %+v, %v", name, took, used, err)
		}
		if n := len(p.Certificates()); n != 2 {
			t.Errorf("%s: %d certificates, want one for the account and one", name, n)
		}
	}
	for _, name := range []string{certMagic, autocert} {
		if s, err := b.peerServes(t.Context(), name, 20); err != nil || s.Hot.Nanoseconds <= 0 || s.Random.Nanoseconds <= 0 {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
}
