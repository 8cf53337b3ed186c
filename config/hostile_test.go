package config_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// H12: no environment variable and no other file gets into the configuration.
func TestH12NoExpansion(t *testing.T) {
	t.Setenv("EVIL", "evil")
	c := mustLoad(t, base+"    profile: ${EVIL} $EVIL $(id) !include x\n")
	if got := c.Certificates[0].Profile; got != "${EVIL} $EVIL $(id) !include x" {
		t.Errorf("profile %q", got)
	}
}

// H12: a YAML bomb is refused quickly; ordinary aliases work.
func TestH12Bomb(t *testing.T) {
	c := mustLoad(t, "solvers: {web: {type: standalone}}\ncertificates:\n  a: {validate: &v web, names: [a.example]}\n  b: {validate: *v, names: [b.example]}\n")
	if c.Certificates[1].Validations[0].Solver != "web" {
		t.Error("the alias did not work")
	}
	var bomb strings.Builder
	bomb.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 12; i++ {
		ref := fmt.Sprintf("*a%d", i-1)
		fmt.Fprintf(&bomb, "a%d: &a%d [%s]\n", i, i, strings.Join([]string{ref, ref, ref, ref, ref, ref, ref, ref, ref, ref}, ", "))
	}
	start := time.Now()
	if _, err := load(bomb.String()); err == nil || !strings.Contains(err.Error(), "aliases repeat more than 100000 values") {
		t.Errorf("%.300v", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	if _, err := load("a: &x [*x]\n"); err == nil {
		t.Error("an alias to itself was taken")
	}
}

func TestM06LargeFile(t *testing.T) {
	certificates := 5_000
	if testing.Short() {
		certificates = 2_000
	}
	text := large(certificates)
	start := time.Now()
	c, err := load(text)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d certificates, %d KB: %v", certificates, len(text)>>10, time.Since(start))
	if len(c.Certificates) != certificates {
		t.Errorf("%d certificates were read", len(c.Certificates))
	}
	// Faults far down have their true places.
	lines := strings.Count(text, "\n")
	_, err = load(text + "  c000007: {names: [x.example]}\n  z: {nams: [z.example], validate: web}\nbogus: 1\n")
	for _, want := range []string{
		fmt.Sprintf("inkan.yaml:%d:3: certificates.c000007: the key is given twice; the first is in line %d", lines+1, 4+4*7),
		fmt.Sprintf("inkan.yaml:%d:7: certificates.z.nams: unknown key", lines+2),
		fmt.Sprintf("inkan.yaml:%d:1: bogus: unknown key", lines+3),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v\nwant %s", err, want)
		}
	}
	if _, err := load(text + "  z: {names: [\n"); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("inkan.yaml:%d:", lines+1)) {
		t.Errorf("a syntax error: %v", err)
	}
	if _, err := load(strings.Repeat("#", 50<<20+1)); err == nil || !strings.Contains(err.Error(), "the file has 50 MB; at most 50 are read") {
		t.Errorf("a file that is too large: %v", err)
	}
}

func large(certificates int) string {
	var b strings.Builder
	b.WriteString("solvers: {web: {type: standalone}}\ntargets: {files: {type: files, dir: /x}}\ncertificates:\n")
	for i := range certificates {
		fmt.Fprintf(&b, "  c%06d:\n    names: [a%d.example.com, b%d.example.com]\n    validate: web\n    deploy: files\n", i, i, i)
	}
	return b.String()
}
