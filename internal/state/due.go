package state

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/inkan-acme/inkan"
)

// The due index is an ordered list of what must be looked at, and when:
// due/<queue>/<shard>/<yyyymmdd>/<hh>/<mmss>-<name>-<8 hex>. Reading its head
// costs the same with ten certificates and with a million. An entry is a hint:
// state.due names the one in force.
const (
	CertQueue = FamilyDue + "cert/" // in the Store
	HostQueue = FamilyDue + "host/" // in the Host store; an entry names the certificate, whatever the target

	dueShard = "0/" // the only one that is written and listed; keys of others are parsed
	dueStamp = "20060102/15/0405"
)

// FarAhead reports whether an instant lies so far ahead that nobody waits for it (see
// [Farthest]).
func FarAhead(t, now time.Time) bool { return t.After(now.Add(Farthest)) }

// Farthest is the longest time for which anything is put off, with an hour to
// spare: advice, failures and requests to wait are looked at again within a day.
// An instant further ahead was written or is read by a wrong clock, so nobody waits
// for it.
const Farthest = 25 * time.Hour

// DueKey returns the key of a new entry.
func DueKey(queue string, at time.Time, name string) string {
	at = at.UTC()
	if at.Year() > 9999 {
		at = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	return queue + dueShard + at.Format(dueStamp) + "-" + name + "-" + NewID()[:8]
}

// ParseDue takes a due key of any shard apart.
func ParseDue(key, queue string) (at time.Time, name string, err error) {
	rest, ok := strings.CutPrefix(key, queue)
	shard, rest, _ := strings.Cut(rest, "/")
	if ok && shard != "" && len(rest) > len(dueStamp)+1+1+8 && rest[len(dueStamp)] == '-' && rest[len(rest)-9] == '-' {
		at, err = time.Parse(dueStamp, rest[:len(dueStamp)])
		name = rest[len(dueStamp)+1 : len(rest)-9]
		if err == nil && inkan.CheckName(name) == nil {
			return at, name, nil
		}
	}
	return time.Time{}, "", fmt.Errorf("the key %q is not a due entry", key)
}

// PutDue creates an entry.
func PutDue(ctx context.Context, s inkan.Store, key string) error {
	_, err := CreateOnce(ctx, s, key, json.RawMessage(`{}`), key[len(key)-8:])
	return err
}

// DueEntry is one entry of the index.
type DueEntry struct {
	Key, Name string
	at        time.Time
}

// DueUntil returns the entries up to now, oldest first, and behind them those
// that are so far ahead that only a wrong clock can have put them there: nobody
// would look at them for as long as the clock was off.
func DueUntil(ctx context.Context, s inkan.Store, queue string, now time.Time) ([]DueEntry, error) {
	var entries []DueEntry
	shard := queue + dueShard
	list := func(after string, until time.Time) error {
		for key, err := range s.List(ctx, shard, after) {
			if err != nil {
				return fmt.Errorf("listing %s: %w", queue, err)
			}
			at, name, err := ParseDue(key, queue)
			if err != nil {
				continue // not ours; fsck names it
			}
			if at.After(until) {
				break
			}
			entries = append(entries, DueEntry{key, name, at})
		}
		return nil
	}
	if err := list("", now); err != nil {
		return nil, err
	}
	err := list(shard+now.UTC().Add(Farthest+time.Second).Format(dueStamp), time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC))
	return entries, err
}
