package crashfs

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"io/fs"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/inkan-acme/inkan/internal/durable"
)

// Snapshot is a Disk at one moment, with all that is not durable yet.
type Snapshot struct{ root *node }

// Snapshot returns the Disk as it is now.
func (d *Disk) Snapshot() *Snapshot {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.snapshot()
}

func (d *Disk) snapshot() *Snapshot { return &Snapshot{d.root.copy(map[*node]*node{})} }

// copy copies a tree. A node with two names stays one.
func (n *node) copy(done map[*node]*node) *node {
	if n == nil {
		return nil
	}
	if c := done[n]; c != nil {
		return c
	}
	c := new(node)
	done[n] = c
	*c = *n
	c.holder = nil
	c.pending = slices.Clone(n.pending)
	if n.mode.IsDir() {
		c.entries = make(map[string]*node, len(n.entries))
		for name, e := range n.entries {
			c.entries[name] = e.copy(done)
		}
		c.past = make(map[string][]*node, len(n.past))
		for name, past := range n.past {
			list := make([]*node, len(past))
			for i, e := range past {
				list[i] = e.copy(done)
			}
			c.past[name] = list
		}
	}
	return c
}

// Live returns the Disk as the processes saw it: what they find when one of
// them was killed and the machine goes on.
func (s *Snapshot) Live() *Disk { return &Disk{root: s.root.copy(map[*node]*node{})} }

// States yields what a power loss at this moment may leave, each state once.
// If there are more than limit, it yields limit samples, chosen by seed, the
// oldest and the newest state among them. Each is a new Disk, all of it
// durable.
func (s *Snapshot) States(limit int, seed uint64) iter.Seq[*Disk] {
	return func(yield func(*Disk) bool) {
		seen := map[[32]byte]bool{}
		emit := func(d *Disk) bool {
			h := d.Hash()
			if seen[h] {
				return true
			}
			seen[h] = true
			return yield(d)
		}
		if s.count(limit) <= limit {
			for o := (odometer{}); ; {
				if !emit(s.lose(o.choose)) || !o.next() {
					return
				}
			}
		}
		// The last choice is the newest everywhere, the first the oldest.
		if !emit(s.lose(func(int) int { return 0 })) || !emit(s.lose(func(n int) int { return n - 1 })) {
			return
		}
		r := rand.New(rand.NewPCG(seed, 0))
		for tries := 0; len(seen) < limit && tries < 4*limit; tries++ {
			if !emit(s.lose(r.IntN)) {
				return
			}
		}
	}
}

// count returns the number of ways to choose, or a number over limit.
func (s *Snapshot) count(limit int) int {
	n := 1
	for o := (odometer{}); n <= limit; n++ {
		s.lose(o.choose)
		if !o.next() {
			break
		}
	}
	return n
}

// odometer runs through all sequences of choices, where each choice may depend
// on those before it.
type odometer struct {
	digits, sizes []int
	pos           int
}

func (o *odometer) choose(n int) int {
	if o.pos == len(o.digits) {
		o.digits, o.sizes = append(o.digits, 0), append(o.sizes, n)
	}
	o.pos++
	return o.digits[o.pos-1]
}

func (o *odometer) next() bool {
	o.pos = 0
	for i := len(o.digits) - 1; i >= 0; i-- {
		if o.digits[i]+1 < o.sizes[i] {
			o.digits[i]++
			o.digits, o.sizes = o.digits[:i+1], o.sizes[:i+1]
			return true
		}
	}
	return false
}

// lose returns one state after a power loss; choose(n) picks one of n
// possibilities, the oldest first.
func (s *Snapshot) lose(choose func(n int) int) *Disk {
	done := map[*node]*node{}
	var rest func(n *node) *node
	rest = func(n *node) *node {
		if c := done[n]; c != nil {
			return c
		}
		c := &node{mode: n.mode, modTime: n.modTime, data: n.data}
		done[n] = c
		if !n.mode.IsDir() {
			if possible := n.contents(); len(possible) > 1 {
				c.data = possible[choose(len(possible))]
			}
			return c
		}
		c.entries, c.past = map[string]*node{}, map[string][]*node{}
		names := slices.Collect(maps.Keys(n.entries))
		for name := range n.past {
			if n.entries[name] == nil {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		for _, name := range names {
			e := n.entries[name]
			if past := n.past[name]; len(past) > 0 {
				possible := distinct(append(slices.Clone(past), e))
				if len(possible) > 1 {
					e = possible[choose(len(possible))]
				}
			}
			if e != nil {
				c.entries[name] = rest(e)
			}
		}
		return c
	}
	return &Disk{root: rest(s.root)}
}

func distinct(nodes []*node) (out []*node) {
	for _, n := range nodes {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

// contents returns what a power loss may leave of a file, the flushed content
// first and the newest last.
func (n *node) contents() [][]byte {
	if len(n.pending) == 0 {
		return [][]byte{n.data}
	}
	var out [][]byte
	add := func(b []byte) {
		known := func(o []byte) bool { return bytes.Equal(o, b) }
		if !known(n.data) && !slices.ContainsFunc(out, known) {
			out = append(out, b)
		}
	}
	flushed := n.pending[0]
	add(flushed)
	for _, b := range slices.Concat(n.pending[1:], [][]byte{n.data}) {
		for _, cut := range []int{0, 1, len(b) / 2, len(b) - 1} {
			if cut < 0 || cut > len(b) {
				continue
			}
			add(b[:cut])                                          // the rest was not written
			add(slices.Concat(b[:cut], make([]byte, len(b)-cut))) // only its length was
		}
		// The second half reached the disk, the first did not.
		half := make([]byte, len(b))
		copy(half, flushed)
		copy(half[len(b)/2:], b[len(b)/2:])
		add(half)
	}
	return append(out, n.data)
}

// Hash identifies the content of the Disk: names, types, permissions, bytes.
// Temporary files count by their content, not by their random names.
func (d *Disk) Hash() [32]byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.root.hash()
}

func (n *node) hash() [32]byte {
	h := sha256.New()
	put := func(b []byte) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b))))
		h.Write(b)
	}
	put(binary.BigEndian.AppendUint32(nil, uint32(n.mode)))
	put(n.data)
	var temps [][]byte
	for _, name := range slices.Sorted(maps.Keys(n.entries)) {
		sum := n.entries[name].hash()
		if durable.IsTemp(name) {
			temps = append(temps, sum[:])
			continue
		}
		put([]byte(name))
		put(sum[:])
	}
	slices.SortFunc(temps, bytes.Compare)
	for _, sum := range temps {
		put(sum)
	}
	return [32]byte(h.Sum(nil))
}

// Files returns the content of every file, by path.
func (d *Disk) Files() map[string][]byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	files := map[string][]byte{}
	var walk func(n *node, name string)
	walk = func(n *node, name string) {
		for e, c := range n.entries {
			switch {
			case c.mode.IsDir():
				walk(c, name+e+"/")
			case c.mode.Type() != fs.ModeSymlink:
				files[name+e] = bytes.Clone(c.data)
			}
		}
	}
	walk(d.root, "")
	return files
}
