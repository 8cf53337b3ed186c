// Command bench measures Inkan against the numbers it is built for and prints
// a table. The CA runs in process on loopback with a simulated round trip; the
// floor is what the least possible client needed in the same run.
//
// Beside Inkan it measures acmez, CertMagic and autocert, the other ACME
// libraries for Go, each as its documentation shows: see bench/peers. What they
// need is fetched and built on the first run; without it their column is empty.
//
//	go run ./bench [-run regexp] [-n repeats] [-long] [-json] [-update file] [-dir directory] [-cpuprofile file]
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/inkan-acme/inkan"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench: error:", err)
		os.Exit(1)
	}
}

func run() (err error) {
	only := flag.String("run", "", "measure only rows whose name matches this `regexp`")
	repeats := flag.Int("n", 5, "repeat each measurement this often and print the median")
	long := flag.Bool("long", false, "also measure what takes minutes: CertMagic with its limiter")
	asJSON := flag.Bool("json", false, "print one JSON object a line in place of the table; keys that end in _s are seconds, _ns nanoseconds, _bytes bytes")
	page := flag.String("update", "", "also write the table into the generated part of this `file`, such as docs/performance.md")
	dir := flag.String("dir", "", "work in a new directory below this `directory`, on the disk to measure (default: that for temporary files)")
	profile := flag.String("cpuprofile", "", "write a CPU profile to `file`")
	flag.Parse()
	if flag.NArg() > 0 || *repeats < 1 {
		flag.Usage()
		os.Exit(2)
	}
	match, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp(*dir, "inkan-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	if *profile != "" {
		f, err := os.Create(*profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	b := &bench{dir: work, repeats: *repeats}
	defer func() { err = errors.Join(err, b.close()) }()
	machine := fmt.Sprintf("%s %s/%s, %d CPUs, files in %s, median of %d", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), work, *repeats)
	out := json.NewEncoder(os.Stdout)
	if !*asJSON {
		fmt.Printf("%s\n\n", machine)
	}
	table := [][]string{{"name", "measured", "target", "floor of same run", "others in the same run, and times Inkan", "remark"}}
	failed := 0
	for _, r := range rows(*long) {
		if !match.MatchString(r.name) {
			continue
		}
		start := time.Now()
		fmt.Fprintf(os.Stderr, "%s ...", r.name)
		got, err := r.measure(ctx, b)
		fmt.Fprintf(os.Stderr, " %.1f s\n", time.Since(start).Seconds())
		if err != nil {
			failed++
			got = result{measured: "failed", remark: err.Error()}
		}
		table = append(table, []string{r.name, got.measured, r.target, got.floor, got.peers, got.remark})
		if *asJSON {
			line := jsonRow{machine, r.name, r.target, got.measured, got.floor, got.peers, got.remark, strings.Contains(got.remark, "MISSED"), err != nil, got.values}
			if err := out.Encode(line); err != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			break
		}
	}
	var text bytes.Buffer
	if err := printTable(&text, table); err != nil {
		return err
	}
	if !*asJSON {
		os.Stdout.Write(text.Bytes())
	}
	if failed > 0 {
		return fmt.Errorf("%d rows could not be measured", failed)
	}
	if *page != "" && ctx.Err() == nil {
		heading := fmt.Sprintf("%s, %s/%s, %d CPUs, %s, median of %d\n\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), time.Now().UTC().Format(time.DateOnly), *repeats)
		return update(*page, append([]byte(heading), text.Bytes()...))
	}
	return ctx.Err()
}

// rows lists every row in the order of the table.
func rows(long bool) []row {
	return slices.Concat(durableRows(), floorRows(), issueRows(long), commandRows(), serveRows())
}

// jsonRow is one row for machines.
type jsonRow struct {
	Machine  string             `json:"machine"`
	Name     string             `json:"name"`
	Target   string             `json:"target,omitempty"`
	Measured string             `json:"measured"`
	Floor    string             `json:"floor,omitempty"`
	Others   string             `json:"others,omitempty"`
	Remark   string             `json:"remark,omitempty"`
	Missed   bool               `json:"missed"`
	Failed   bool               `json:"failed"`
	Values   map[string]float64 `json:"values,omitempty"`
}

// row is one line of the table.
type row struct {
	name    string
	target  string // in words; "" has none
	measure func(context.Context, *bench) (result, error)
}

// result is what a row found, in words for the table.
type result struct {
	measured string
	floor    string
	peers    string
	remark   string
	values   map[string]float64 // for machines; the unit is the end of the key
}

// bench is what the rows share.
type bench struct {
	dir     string // theirs to fill; removed at the end
	repeats int

	binary string      // the inkan command, once it is built
	seeds  *seeds      // for the renew rows
	memory inkan.Store // for the GetCertificate rows
	atEnd  []func() error

	peerDir    string // the peers' programs, once they are built
	peerErr    error  // why they could not be
	peerServed map[string]*peerSpeeds
}

// close ends what rows left for each other.
func (b *bench) close() error {
	var errs []error
	for _, f := range b.atEnd {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// newDir returns a new empty directory.
func (b *bench) newDir() (string, error) {
	return os.MkdirTemp(b.dir, "row-")
}

// median runs f as often as asked and returns the middle of its times.
func (b *bench) median(f func() (time.Duration, error)) (time.Duration, error) {
	m, err := b.medians(f)
	return m[0], err
}

// patience bounds how long one function is repeated.
const patience = 10 * time.Second

// medians runs the functions in turn, so that all meet the same weather, and
// returns the middle of the times of each. What has run for patience is not
// repeated again.
func (b *bench) medians(fs ...func() (time.Duration, error)) ([]time.Duration, error) {
	times := make([][]time.Duration, len(fs))
	m := make([]time.Duration, len(fs))
	total := make([]time.Duration, len(fs))
	for range b.repeats {
		for i, f := range fs {
			if total[i] >= patience {
				continue
			}
			took, err := f()
			if err != nil {
				return m, err
			}
			times[i] = append(times[i], took)
			total[i] += took
		}
	}
	for i := range fs {
		m[i] = middle(times[i])
	}
	return m, nil
}

// middle returns the median; of an even number the later one.
func middle(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}
