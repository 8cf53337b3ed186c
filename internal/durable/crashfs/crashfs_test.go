package crashfs

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/inkan-acme/inkan/internal/durable"
)

// TestLikeTheSystem does the same at random to the twin and to a file system
// of this machine: both answer alike and hold the same in the end.
func TestLikeTheSystem(t *testing.T) {
	for seed := range uint64(30) {
		twin := New().Start().FS(".")
		real, err := durable.OS(t.TempDir(), durable.Private)
		if err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(seed, 1))
		var log []string
		handles := map[string][2]durable.Dir{} // some outlive their directory
		for range 200 {
			op, answers := step(r, handles, twin, real)
			log = append(log, op+": "+answers[0])
			if answers[0] != answers[1] {
				t.Fatalf("seed %d: the twin says %s, the system says %s after\n%s", seed, answers[0], answers[1], strings.Join(log, "\n"))
			}
		}
		if a, b := dump(t, twin, "."), dump(t, real, "."); a != b {
			t.Fatalf("seed %d: the twin holds\n%s\nthe system holds\n%s\nafter\n%s", seed, a, b, strings.Join(log, "\n"))
		}
		for _, h := range handles {
			h[0].Close()
			h[1].Close()
		}
	}
}

// step does one random thing to both.
func step(r *rand.Rand, handles map[string][2]durable.Dir, twin, real durable.FS) (op string, answers [2]string) {
	dirs := []string{".", "a", "b", "a/c", "a/f", "l"}
	names := []string{"a", "b", "c", "f", "g", "l", "x/y", "f0"}
	where, name, other := dirs[r.IntN(len(dirs))], names[r.IntN(len(names))], names[r.IntN(len(names))]
	h, known := handles[where]
	if !known || r.IntN(4) == 0 {
		a, errA := twin.OpenDir(where)
		b, errB := real.OpenDir(where)
		if errA != nil || errB != nil {
			return "open " + where, [2]string{answer(errA), answer(errB)}
		}
		h = [2]durable.Dir{a, b}
		handles[where] = h
	}
	var do func(d durable.Dir, f durable.FS) error
	switch r.IntN(11) {
	case 0, 1:
		op, do = "create "+where+" "+name, func(d durable.Dir, _ durable.FS) error {
			f, err := d.Create(name, 0o600)
			if err != nil {
				return err
			}
			_, err = f.Write([]byte(name + other))
			return errors.Join(err, f.Sync(), f.Close())
		}
	case 2:
		op, do = "mkdir "+where+" "+name, func(d durable.Dir, _ durable.FS) error { return d.Mkdir(name, 0o700) }
	case 3:
		op, do = "rename "+where+" "+name+" "+other, func(d durable.Dir, _ durable.FS) error { return d.Rename(name, other) }
	case 4:
		op, do = "publish "+where+" "+name+" "+other, func(d durable.Dir, _ durable.FS) error { return d.Publish(name, other) }
	case 5:
		op, do = "remove "+where+" "+name, func(d durable.Dir, _ durable.FS) error { return d.Remove(name) }
	case 6:
		op, do = "rmdir "+where+" "+name, func(d durable.Dir, _ durable.FS) error { return d.Rmdir(name) }
	case 7:
		op, do = "symlink "+where+" "+name, func(d durable.Dir, _ durable.FS) error { return d.Symlink("f", name) }
	case 8:
		op, do = "stat "+where+" "+name, func(d durable.Dir, _ durable.FS) error {
			i, err := d.Lstat(name)
			if err == nil && i.Mode.Type() != fs.ModeSymlink { // links have the mode of the system
				err = errors.New(i.Mode.String())
			}
			return err
		}
	case 9:
		op, do = "read "+path.Join(where, name), func(_ durable.Dir, f durable.FS) error {
			data, err := f.ReadFile(path.Join(where, name))
			if err == nil {
				err = fmt.Errorf("%q", data)
			}
			return err
		}
	case 10:
		op, do = "lock "+where+" "+name, func(d durable.Dir, _ durable.FS) error {
			l, err := d.TryLock(name)
			if err != nil {
				return err
			}
			_, again := d.TryLock(name)
			return errors.Join(again, l.Close())
		}
	}
	return op, [2]string{answer(do(h[0], twin)), answer(do(h[1], real))}
}

// answer makes an error comparable.
func answer(err error) string {
	if e, ok := errors.AsType[*durable.UnsafeError](err); ok && strings.Contains(e.Problem, "symbolic link") {
		err = syscall.ELOOP
	}
	for _, known := range []error{syscall.ENOTEMPTY, syscall.EEXIST, syscall.ENOTDIR, syscall.ELOOP, syscall.EISDIR, syscall.EINVAL, fs.ErrNotExist, durable.ErrLocked} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return fmt.Sprint(err)
}

func dump(t *testing.T, f durable.FS, name string) string {
	t.Helper()
	d, err := f.OpenDir(name)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	entries, err := d.ReadDir(-1)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(entries, func(a, b durable.Entry) int { return strings.Compare(a.Name, b.Name) })
	out := ""
	for _, e := range entries {
		p := path.Join(name, e.Name)
		switch e.Type {
		case fs.ModeDir:
			out += p + "/\n" + dump(t, f, p)
		case 0:
			data, err := f.ReadFile(p)
			out += fmt.Sprintf("%s %q %v\n", p, data, err)
		default:
			out += p + " " + e.Type.String() + "\n"
		}
	}
	return out
}

// TestStates holds the possible outcomes of a power loss, case by case.
func TestStates(t *testing.T) {
	for _, test := range []struct {
		name string
		do   func(d durable.Dir)
		want []string
	}{
		{"nothing", func(durable.Dir) {}, []string{"a=1"}},
		{"a file that was not flushed, nor its entry", func(d durable.Dir) { create(d, "n", "ab", false) },
			[]string{"a=1", "a=1 n=", "a=1 n=a", "a=1 n=ab", "a=1 n=a0", "a=1 n=00", "a=1 n=0b"}},
		{"a flushed file under an entry that was not", func(d durable.Dir) { create(d, "n", "ab", true) }, []string{"a=1", "a=1 n=ab"}},
		{"all flushed", func(d durable.Dir) { create(d, "n", "ab", true); d.Sync() }, []string{"a=1 n=ab"}},
		{"a rename: what is replaced is never missing", func(d durable.Dir) { create(d, "n", "2", true); d.Sync(); d.Rename("n", "a") },
			[]string{"a=1 n=2", "a=1", "a=2 n=2", "a=2"}},
		{"a removal", func(d durable.Dir) { d.Remove("a") }, []string{"", "a=1"}},
		{"removed and made again: nothing between is impossible", func(d durable.Dir) { d.Remove("a"); create(d, "a", "2", true) }, []string{"", "a=1", "a=2"}},
		{"a directory takes with it what is below", func(d durable.Dir) {
			d.Mkdir("s", 0o700)
			s, _ := d.OpenDir("s")
			create(s, "n", "2", true)
			s.Sync()
		}, []string{"a=1", "a=1 s/n=2"}},
		{"a durable directory with an entry that is not", func(d durable.Dir) {
			d.Mkdir("s", 0o700)
			d.Sync()
			s, _ := d.OpenDir("s")
			create(s, "n", "2", true)
		}, []string{"a=1", "a=1 s/n=2"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			disk := New()
			d, err := disk.Start().FS(".").OpenDir(".")
			if err != nil {
				t.Fatal(err)
			}
			create(d, "a", "1", true)
			d.Sync()
			test.do(d)
			var got []string
			for state := range disk.Snapshot().States(1000, 0) {
				got = append(got, line(state))
				for again := range state.Snapshot().States(1000, 0) {
					if line(again) != line(state) {
						t.Errorf("a second power loss makes %q of %q", line(again), line(state))
					}
				}
			}
			slices.Sort(got)
			slices.Sort(test.want)
			// Directories without files do not show, so two states may look alike.
			if got = slices.Compact(got); !slices.Equal(got, test.want) {
				t.Errorf("got %q\nwant %q", got, test.want)
			}
		})
	}
}

func create(d durable.Dir, name, data string, sync bool) {
	f, err := d.Create(name, 0o600)
	if err != nil {
		panic(err)
	}
	f.Write([]byte(data))
	if sync {
		f.Sync()
	}
}

// line shows a disk: "a=1 n=ab"; zeros show as 0.
func line(d *Disk) string {
	var out []string
	for name, data := range d.Files() {
		out = append(out, name+"="+strings.ReplaceAll(string(data), "\x00", "0"))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// TestSamples: too many states are sampled, the same ones for the same seed,
// the oldest and the newest among them.
func TestSamples(t *testing.T) {
	disk := New()
	d, err := disk.Start().FS(".").OpenDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		create(d, fmt.Sprint(i), "x", true)
	}
	sample := func(seed uint64) (out []string) {
		for s := range disk.Snapshot().States(50, seed) {
			out = append(out, line(s))
		}
		return out
	}
	a := sample(1)
	if len(a) != 50 || a[0] != "" || a[1] != line(disk) {
		t.Errorf("%d samples, first %q, second %q", len(a), a[0], a[1])
	}
	if !slices.Equal(a, sample(1)) || slices.Equal(a, sample(2)) {
		t.Error("the seed does not decide")
	}
}

// TestKill: a killed process does nothing more, and its locks are free.
func TestKill(t *testing.T) {
	disk := New()
	a, b := disk.Start(), disk.Start()
	da, _ := a.FS(".").OpenDir(".")
	db, _ := b.FS(".").OpenDir(".")
	if _, err := da.TryLock("l"); err != nil {
		t.Fatal(err)
	}
	if _, err := db.TryLock("l"); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("the lock of another: %v", err)
	}
	a.Kill()
	if err := da.Mkdir("x", 0o700); !errors.Is(err, ErrKilled) {
		t.Errorf("a dead process made a directory: %v", err)
	}
	if _, err := db.TryLock("l"); err != nil {
		t.Errorf("the lock of a dead process: %v", err)
	}
}

// TestFaults: an operation may fail without being done or although it was
// done, and a flush that failed is not made good by another on the same file.
func TestFaults(t *testing.T) {
	broken := errors.New("input/output error")
	for _, done := range []bool{false, true} {
		disk := New()
		d, _ := disk.Start().FS(".").OpenDir(".")
		f, _ := d.Create("n", 0o600)
		d.Sync()
		f.Write([]byte("x"))
		var ops []string
		disk.After = func(op string, _ *Snapshot) { ops = append(ops, op) }
		disk.Before = func(string) Fault { return Fault{Err: broken, Done: done} }
		if err := f.Sync(); err != broken {
			t.Errorf("the flush said %v", err)
		}
		disk.Before = nil
		if err := f.Sync(); err != nil {
			t.Error(err)
		}
		n := 0
		for range disk.Snapshot().States(100, 0) {
			n++
		}
		if (n == 1) != done || len(ops) == 2 != done {
			t.Errorf("done=%v: %d states, operations %q", done, n, ops)
		}
	}
}
