package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestCasesOf(t *testing.T) {
	for name, want := range map[string][]string{
		"TestC22KillIssue":       {"C22"},
		"TestModelC01ToC03Kill":  {"C01", "C02", "C03"},
		"TestA14A15Replaces":     {"A14", "A15"},
		"TestWhenToRenew":        nil,
		"TestRFC2136":            nil,
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
{"Action":"output","Package":"x/acme","Test":"TestA01Nonces","Output":"        inkan: error: presenting the proof: nobody is there\n"}
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
	p := page{record: r, about: facts{Commit: "abc", Code: "1"}, now: "1", cases: []testCase{{"A01", "nonces", ""}, {"B09", "reset", "wants a proxy"},
		{"D01", "disk", ""}, {"F01", "race", ""}, {"F02", "pause", ""}}}
	text := p.render()
	for _, want := range []string{
		`| A01 | nonces | TestA01Nonces | holds<br>500 of 500 \| issued |`, "| B09 | reset |  | not run: wants a proxy |", "| D01 | disk | TestD01Disk | not run: no tmpfs |",
		"| F01 | race | TestF01Race | FAILS |", "| F02 | pause | TestF02Pause (1) | FAILS |", "1 of 5 shown to hold", "| fuzzing | not run |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "different code") {
		t.Error("parts of the same code are said to differ")
	}
	p.fuzz = fuzzing{facts: facts{Commit: "def", Code: "2"}, Goal: 10, Targets: []*target{
		{Dir: "acme", Name: "FuzzA", CPU: 11, Execs: 5, Commit: "def", Code: "7", outdated: true}, {Dir: "acme", Name: "FuzzB", CPU: 9}, {Dir: "acme", Name: "FuzzC"}, {Dir: "acme", Name: "FuzzD", CPU: 1, Failed: "testdata/fuzz/FuzzD/1"},
	}}
	text = p.render()
	for _, want := range []string{"different code", "| FuzzA | 11 | 5 | 0 | def | 7 | nothing found, in other code |", "| FuzzB | 9 | 0 | 0 |  |  | nothing found, unfinished |",
		"| FuzzC | 0 | 0 | 0 |  |  | not run |", "| FuzzD | 1 | 0 | 0 |  |  | FAILS: testdata/fuzz/FuzzD/1 |"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q:\n%s", want, text)
		}
	}
}

func TestCodeOf(t *testing.T) {
	const tree = "100644 blob 1\tgo.mod\n"
	if codeOf(tree, "") != codeOf(tree+"100644 blob 2\tdocs/proof.md\n", "") {
		t.Error("committing the page makes it other code")
	}
	if codeOf(tree, "") == codeOf(tree, " M go.mod\n") || codeOf(tree, "") == codeOf(strings.Replace(tree, "1", "2", 1), "") {
		t.Error("a change is the same code")
	}
}

func TestFuzzFigures(t *testing.T) {
	const out = `fuzz: elapsed: 0s, gathering baseline coverage: 2/2 completed, now fuzzing with 2 workers
fuzz: elapsed: 3s, execs: 20671 (6885/sec), new interesting: 35 (total: 37)
fuzz: elapsed: 6s, execs: 49143 (9496/sec), new interesting: 55 (total: 57)
--- FAIL: FuzzX (6.00s)
    Failing input written to testdata/fuzz/FuzzX/0123
FAIL
`
	if execs, total := fuzzFigures(out); execs != 49143 || total != 57 {
		t.Errorf("%d inputs, %d in the corpus", execs, total)
	}
	if got := fuzzFailure(out); got != "testdata/fuzz/FuzzX/0123" {
		t.Errorf("the failure is %q", got)
	}
}

// Go's own mistake at the end of the time is no finding; all else is.
func TestOutOfTime(t *testing.T) {
	const ran = "fuzz: elapsed: 7s, execs: 80125 (17877/sec), new interesting: 18 (total: 169)\n"
	const deadline = "--- FAIL: FuzzOpen (7.08s)\n    context deadline exceeded\nFAIL\n"
	for out, want := range map[string]bool{
		ran + deadline: true,
		deadline:       false,
		ran + "--- FAIL: FuzzOpen (7.08s)\n    --- FAIL: FuzzOpen (0.00s)\n        x_test.go:1: context deadline exceeded\n\n    Failing input written to testdata/fuzz/FuzzOpen/1\nFAIL\n": false,
		ran + "--- FAIL: FuzzOpen (7.08s)\n    fuzzing process hung or terminated unexpectedly: exit status 2\nFAIL\n":                                                                      false,
	} {
		if outOfTime(out) != want {
			t.Errorf("%v is wrong for\n%s", !want, out)
		}
	}
}

// A target that came after the run is on the page, as not run.
func TestCompare(t *testing.T) {
	f := fuzzing{Goal: 1, Targets: []*target{{Package: "p", Name: "A", Code: "1", CPU: 2}, {Package: "p", Name: "B", Code: "1", CPU: 2}, {Package: "p", Name: "Gone", CPU: 2}}}
	f.compare([]*target{{Package: "p", Name: "A", Code: "1"}, {Package: "p", Name: "B", Code: "2"}, {Package: "p", Name: "C", Code: "1"}})
	for i, want := range []string{"nothing found", "nothing found, in other code", "nothing found, in other code", "not run"} {
		if got := f.Targets[i].result(f.Goal); got != want {
			t.Errorf("%s: %s, want %s", f.Targets[i].Name, got, want)
		}
	}
}

// A run that was ended goes on with what it has; a target that failed is tried
// again, and one whose code has changed.
func TestResume(t *testing.T) {
	f := fuzzing{Targets: []*target{{Package: "p", Name: "A", Code: "1"}, {Package: "p", Name: "B"}, {Package: "q", Name: "A"}, {Package: "q", Name: "B", Code: "2"}}}
	f.resume([]*target{{Package: "p", Name: "A", CPU: 600, Code: "1"}, {Package: "p", Name: "B", CPU: 3, Failed: "x"}, {Package: "q", Name: "B", CPU: 600, Code: "1"}})
	if f.Targets[3].CPU != 0 {
		t.Error("what was done on other code is taken over")
	}
	if !f.Targets[0].done(600) || f.Targets[1].CPU != 0 || f.Targets[1].Failed != "" || f.Targets[2].CPU != 0 {
		t.Errorf("resumed %+v %+v %+v", f.Targets[0], f.Targets[1], f.Targets[2])
	}
}

// Every package with a fuzz target is found: this one has none, acme some.
func TestFindTargets(t *testing.T) {
	t.Chdir("../..")
	targets, err := findTargets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(targets, func(t *target) bool { return t.Dir == "acme" && t.Name == "FuzzProblem" }) {
		t.Errorf("%d targets without FuzzProblem", len(targets))
	}
}

func TestCases(t *testing.T) {
	cases, err := readCases()
	for _, c := range cases {
		if strings.Contains(c.reason, "\t") || c.fault == "" {
			t.Errorf("%s: %q, %q", c.id, c.fault, c.reason)
		}
	}
	if err != nil || len(cases) != 185 {
		t.Errorf("%d cases, %v", len(cases), err)
	}
}

// TestCorpora: every fuzz target has a corpus that is committed, of few and small
// files, so that go test tries again what fuzzing found worth keeping.
func TestCorpora(t *testing.T) {
	t.Chdir("../..")
	targets, err := findTargets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range targets {
		dir := filepath.Join(target.Dir, "testdata", "fuzz", target.Name)
		files, err := os.ReadDir(dir)
		if err != nil || len(files) == 0 || len(files) > 50 {
			t.Errorf("%s holds %d files (%v); want 1 to 50: copy some from PROVE_DIR/corpus", dir, len(files), err)
		}
		for _, f := range files {
			if info, err := f.Info(); err != nil || info.Size() > 4096 {
				t.Errorf("%s/%s: more than 4 KB (%v)", dir, f.Name(), err)
			}
		}
	}
}

// A target's code changes with what it tries, and with nothing else.
func TestTargetCode(t *testing.T) {
	t.Chdir(t.TempDir())
	write := func(name, text string) { writeFile(t, name, text) }
	code := func() string {
		t.Helper()
		targets, err := findTargets(t.Context())
		if err != nil || len(targets) != 1 {
			t.Fatalf("%d targets, %v", len(targets), err)
		}
		return targets[0].Code
	}
	write("go.mod", "module example.com/x\n\ngo 1.26\n")
	write("a/a.go", "package a\n\nimport _ \"example.com/x/b\"\n")
	write("a/fuzz_test.go", "package a\n\nimport (\n\t\"testing\"\n\n\t_ \"example.com/x/d\"\n)\n\nfunc FuzzA(f *testing.F) {}\n")
	write("d/d.go", "package d\n")
	write("b/b.go", "package b\n")
	write("c/c.go", "package c\n")
	last := code()
	for _, c := range []struct {
		name, text string
		changes    bool
	}{
		{"a/other_test.go", "package a\n", false},
		{"c/c.go", "package c\n\nvar C int\n", false},
		{"docs/x.md", "x\n", false},
		{"a/a.go", "package a\n\nimport _ \"example.com/x/b\"\n\nvar A int\n", true},
		{"b/b.go", "package b\n\nvar B int\n", true},
		{"d/d.go", "package d\n\nvar D int\n", true},
		{"a/fuzz_test.go", "package a\n\nimport \"testing\"\n\nfunc FuzzA(f *testing.F) { f.Add(1) }\n", true},
	} {
		write(c.name, c.text)
		now := code()
		if (now != last) != c.changes {
			t.Errorf("%s: the code is %s after %s", c.name, now, last)
		}
		last = now
	}
}
