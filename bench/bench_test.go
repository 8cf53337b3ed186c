package main

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"
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
