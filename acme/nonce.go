package acme

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/inkan-acme/inkan"
)

const (
	maxNonceAge = 10 * time.Minute // older ones are thrown away (reliability A03)
	maxNonces   = 256              // kept at most
)

// nonces is the pool of replay nonces (RFC 8555 section 6.5). Whoever finds it
// empty gets the first nonce that comes: from a newNonce request of its own or
// from the answer to somebody else's request, so that many requests at once
// need fewer newNonce requests than there are of them.
type nonces struct {
	now func() time.Time
	// fetch makes one newNonce request. It returns errNotNeeded instead if
	// needed, asked right before, says that other answers brought enough.
	fetch func(ctx context.Context, needed func() bool) (string, error)
	tasks *tasks

	mu       sync.Mutex
	free     []agedNonce        // the newest last
	waiting  []chan nonceResult // the oldest first
	want     int                // how many free ones were asked for ahead
	fetching int
}

type agedNonce struct {
	value string
	at    time.Time
}

type nonceResult struct {
	value string
	err   error
}

// put hands a nonce to whoever waits longest, else keeps it. "" is ignored.
func (n *nonces) put(value string) {
	if value == "" {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.waiting) > 0 {
		n.waiting[0] <- nonceResult{value: value}
		n.waiting = n.waiting[1:]
		return
	}
	if len(n.free) < maxNonces {
		// Without its monotonic reading, which stands still while a machine sleeps.
		n.free = append(n.free, agedNonce{value, n.now().Round(0)})
	}
}

// get returns a nonce, the newest there is.
func (n *nonces) get(ctx context.Context) (string, error) {
	n.mu.Lock()
	n.discardOld()
	n.want = max(0, n.want-1) // this call is one of those prefetched for
	if k := len(n.free); k > 0 {
		value := n.free[k-1].value
		n.free = n.free[:k-1]
		n.mu.Unlock()
		return value, nil
	}
	mine := make(chan nonceResult, 1)
	n.waiting = append(n.waiting, mine)
	n.start(ctx)
	if n.fetching == 0 { // nothing can be started any more
		n.waiting = n.waiting[:len(n.waiting)-1]
		n.mu.Unlock()
		return "", errClosed
	}
	n.mu.Unlock()

	select {
	case got := <-mine:
		return got.value, got.err
	case <-ctx.Done():
	}
	n.mu.Lock()
	i := slices.Index(n.waiting, mine)
	if i >= 0 {
		n.waiting = slices.Delete(n.waiting, i, i+1)
	}
	n.mu.Unlock()
	if i < 0 { // it was served at the same moment
		n.put((<-mine).value)
	}
	return "", ctx.Err()
}

// prefetch asks for nonces until there are enough for the next count calls of
// get, without waiting for them.
func (n *nonces) prefetch(ctx context.Context, count int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.discardOld()
	n.want = min(max(n.want, count), maxNonces/2)
	n.start(ctx)
}

// start brings the number of running newNonce requests to what is missing. The
// caller holds mu.
func (n *nonces) start(ctx context.Context) {
	for n.fetching < len(n.waiting)+n.want-len(n.free) {
		n.fetching++
		if !n.tasks.run(ctx, n.fetchOne) {
			n.fetching--
			return
		}
	}
}

func (n *nonces) fetchOne(ctx context.Context) {
	value, err := n.fetch(ctx, n.needed)
	if err == errNotNeeded {
		return // needed has counted it
	}
	n.mu.Lock()
	n.fetched()
	if err != nil && len(n.waiting) > 0 {
		n.waiting[0] <- nonceResult{err: err}
		n.waiting = n.waiting[1:]
	}
	n.mu.Unlock()
	if err == nil {
		n.put(value)
	}
}

// errNotNeeded ends a request before it goes out.
var errNotNeeded = errors.New("the answer is not needed any more")

// needed reports whether a newNonce request is still of use. If not, it counts
// the fetch as finished, so that whoever comes next starts another.
func (n *nonces) needed() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.waiting) > 0 || len(n.free) < n.want {
		return true
	}
	n.fetched()
	return false
}

// fetched counts a finished fetch. What was asked for ahead is forgotten once
// nothing runs for it any more. The caller holds mu.
func (n *nonces) fetched() {
	if n.fetching--; n.fetching == 0 {
		n.want = 0
	}
}

// discardOld drops what is too old, and everything if the clock went back. The
// caller holds mu.
func (n *nonces) discardOld() {
	now := n.now().Round(0)
	n.free = slices.DeleteFunc(n.free, func(a agedNonce) bool {
		age := now.Sub(a.at)
		return age > maxNonceAge || age < 0
	})
}

// fetchNonce makes one newNonce request (RFC 8555 section 7.2) if needed still
// says so when it may go out.
func (c *Client) fetchNonce(ctx context.Context, needed func() bool) (string, error) {
	op := c.op("new nonce")
	dir, err := c.directory(ctx)
	if err != nil {
		return "", err
	}
	for again := false; ; again = true {
		resp, err := c.sendIf(ctx, needed, epNewNonce, op, http.MethodHead, dir.NewNonce, nil)
		if err != nil {
			return "", err
		}
		if resp.ok() {
			if nonce := resp.nonce(); nonce != "" {
				return nonce, nil
			}
			return "", inkan.Errorf(inkan.Temporary, op, "the answer has no usable Replay-Nonce")
		}
		err = c.refused(op, readProblem(resp, c.now()))
		if again || !movedAway(err) {
			return "", err
		}
		fresh, readErr := c.readDirectory(ctx)
		if readErr != nil || fresh.NewNonce == dir.NewNonce {
			return "", err
		}
		dir = fresh
	}
}
