// Command bench measures Inkan against the numbers it is built for and prints
// a table. The CA runs in process on loopback with a simulated round trip; the
// floor is what the least possible client needed in the same run.
//
//	go run ./bench [-run regexp] [-n repeats] [-dir directory]
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"slices"
	"syscall"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench: error:", err)
		os.Exit(1)
	}
}

func run() error {
	only := flag.String("run", "", "measure only rows whose name matches this `regexp`")
	repeats := flag.Int("n", 5, "repeat each measurement this often and print the median")
	dir := flag.String("dir", "", "work in a new directory below this `directory`, on the disk to measure (default: that for temporary files)")
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

	b := &bench{dir: work, repeats: *repeats}
	fmt.Printf("%s %s/%s, %d CPUs, files in %s, median of %d\n\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), work, *repeats)
	table := [][]string{{"name", "measured", "target", "floor of same run", "remark"}}
	failed := 0
	for _, r := range rows() {
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
		table = append(table, []string{r.name, got.measured, r.target, got.floor, got.remark})
		if ctx.Err() != nil {
			break
		}
	}
	if err := printTable(os.Stdout, table); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d rows could not be measured", failed)
	}
	return ctx.Err()
}

// rows lists every row in the order of the table.
func rows() []row {
	return slices.Concat(durableRows(), floorRows())
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
	remark   string
}

// bench is what the rows share.
type bench struct {
	dir     string // theirs to fill; removed at the end
	repeats int
}

// newDir returns a new empty directory.
func (b *bench) newDir() (string, error) {
	return os.MkdirTemp(b.dir, "row-")
}

// median runs f as often as asked and returns the middle of its times.
func (b *bench) median(f func() (time.Duration, error)) (time.Duration, error) {
	times := make([]time.Duration, b.repeats)
	for i := range times {
		var err error
		if times[i], err = f(); err != nil {
			return 0, err
		}
	}
	return middle(times), nil
}

// middle returns the median; of an even number the later one.
func middle(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}
