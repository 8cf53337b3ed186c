package inkan

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// The due index is an ordered list of what must be looked at, and when:
// due/<queue>/<shard>/<yyyymmdd>/<hh>/<mmss>-<name>-<8 hex>. Reading its head
// costs the same with ten certificates and with a million. An entry is a hint:
// state.due names the one in force.
const (
	certQueue = "due/cert/0/" // in the Store
	hostQueue = "due/host/0/" // in the Host store; an entry names the certificate, whatever the target

	dueStamp = "20060102/15/0405"
)

// farthest is the longest time for which anything is put off, with an hour to
// spare: advice, failures and requests to wait are looked at again within a day.
// An instant further ahead was written by a clock that was wrong, or is read by
// one, and binds nobody.
const farthest = 25 * time.Hour

func dueKey(queue string, at time.Time, name string) string {
	at = at.UTC()
	if at.Year() > 9999 {
		at = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	return queue + at.Format(dueStamp) + "-" + name + "-" + newID()[:8]
}

// parseDue takes a due key apart.
func parseDue(key, queue string) (at time.Time, name string, err error) {
	rest, ok := strings.CutPrefix(key, queue)
	if ok && len(rest) > len(dueStamp)+1+1+8 && rest[len(dueStamp)] == '-' && rest[len(rest)-9] == '-' {
		at, err = time.Parse(dueStamp, rest[:len(dueStamp)])
		name = rest[len(dueStamp)+1 : len(rest)-9]
		if err == nil && CheckName(name) == nil {
			return at, name, nil
		}
	}
	return time.Time{}, "", fmt.Errorf("the key %q is not a due entry", key)
}

// putDue creates an entry.
func putDue(ctx context.Context, s Store, key string) error {
	return keep(ctx, s, key, json.RawMessage(`{}`), key[len(key)-8:])
}

// dropDue deletes entries that are not in force. One that cannot be deleted is
// met when its time comes and deleted then: no reason for work that is done to
// count as failed.
func (m *Manager) dropDue(ctx context.Context, s Store, keys ...string) {
	for _, key := range keys {
		if key == "" {
			continue
		}
		if err := s.Delete(ctx, key); err != nil {
			m.log().LogAttrs(ctx, slog.LevelWarn, "a due entry could not be deleted; it is when it is met again", slog.String("key", key), logError(err))
		}
	}
}

// dueEntry is one entry of the index.
type dueEntry struct {
	key, name string
	at        time.Time
}

// dueUntil returns the entries up to now, oldest first, and behind them those
// that are so far ahead that only a wrong clock can have put them there: nobody
// would look at them for as long as the clock was off.
func dueUntil(ctx context.Context, s Store, queue string, now time.Time) ([]dueEntry, error) {
	var entries []dueEntry
	list := func(after string, until time.Time) error {
		for key, err := range s.List(ctx, queue, after) {
			if err != nil {
				return fmt.Errorf("listing %s: %w", queue, err)
			}
			at, name, err := parseDue(key, queue)
			if err != nil {
				continue // not ours; fsck names it
			}
			if at.After(until) {
				break
			}
			entries = append(entries, dueEntry{key, name, at})
		}
		return nil
	}
	if err := list("", now); err != nil {
		return nil, err
	}
	err := list(queue+now.UTC().Add(farthest+time.Second).Format(dueStamp), time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC))
	return entries, err
}
