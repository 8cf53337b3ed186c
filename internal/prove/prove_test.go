package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCasesOf(t *testing.T) {
	for name, want := range map[string][]string{
		"TestC22KillIssue":       {"C22"},
		"TestModelC01ToC03Kill":  {"C01", "C02", "C03"},
		"TestA14A15Replaces":     {"A14", "A15"},
		"TestWhenToRenew":        nil,
		"TestD01FullDuringOrder": {"D01"},
	} {
		if got := casesOf(name); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

func TestRender(t *testing.T) {
	const stream = `{"Action":"run","Package":"x/acme","Test":"TestA01Nonces"}
{"Action":"output","Package":"x/acme","Test":"TestA01Nonces","Output":"    a_test.go:1: proof: 500 of 500 | issued\n"}
{"Action":"pass","Package":"x/acme","Test":"TestA01Nonces","Elapsed":1}
{"Action":"output","Package":"x/acme","Test":"TestD01Disk","Output":"    SKIPPED: no tmpfs\n"}
{"Action":"skip","Package":"x/acme","Test":"TestD01Disk"}
{"Action":"fail","Package":"x/acme","Test":"TestF01Race"}
not json
{"Action":"pass","Package":"x/acme","Test":"TestF02Pause/one"}
{"Action":"run","Package":"x/acme","Test":"TestF02Pause"}
`
	r, err := readRecord(strings.NewReader(stream))
	if err != nil {
		t.Fatal(err)
	}
	if r.failed() != 2 {
		t.Errorf("%d failed, want 2: one that failed and one that did not end", r.failed())
	}
	page := render([]testCase{{"A01", "nonces"}, {"B09", "reset"}, {"D01", "disk"}, {"F01", "race"}, {"F02", "pause"}}, r, "", facts{Commit: "abc", Date: time.Unix(0, 0).UTC()})
	for _, want := range []string{
		"| A01 | nonces | TestA01Nonces | holds |", "| B09 | reset |  | not run |", "| D01 | disk | TestD01Disk | not run: no tmpfs |",
		"| F01 | race | TestF01Race | FAILS |", "| F02 | pause | TestF02Pause (1) | FAILS |", `| TestA01Nonces | 500 of 500 \| issued |`, "1 of 5 shown to hold",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
}

func TestCases(t *testing.T) {
	cases, err := readCases()
	if err != nil || len(cases) != 185 {
		t.Errorf("%d cases, %v", len(cases), err)
	}
}
