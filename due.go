package inkan

import (
	"context"
	"encoding/json"
	"fmt"
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
)

func dueKey(queue string, at time.Time, name string) string {
	at = at.UTC()
	if at.Year() > 9999 {
		at = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	return queue + at.Format("20060102/15/0405") + "-" + name + "-" + newID()[:8]
}

// parseDue takes a due key apart.
func parseDue(key, queue string) (at time.Time, name string, err error) {
	rest, ok := strings.CutPrefix(key, queue)
	const stamp = "20060102/15/0405"
	if ok && len(rest) > len(stamp)+1+1+8 && rest[len(stamp)] == '-' && rest[len(rest)-9] == '-' {
		at, err = time.Parse(stamp, rest[:len(stamp)])
		name = rest[len(stamp)+1 : len(rest)-9]
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

// dueEntry is one entry of the index.
type dueEntry struct {
	key, name string
	at        time.Time
}

// dueUntil returns the entries up to now, oldest first.
func dueUntil(ctx context.Context, s Store, queue string, now time.Time) ([]dueEntry, error) {
	var entries []dueEntry
	for key, err := range s.List(ctx, queue, "") {
		if err != nil {
			return nil, fmt.Errorf("listing %s: %w", queue, err)
		}
		at, name, err := parseDue(key, queue)
		if err != nil {
			continue // not ours; fsck names it
		}
		if at.After(now) {
			break
		}
		entries = append(entries, dueEntry{key, name, at})
	}
	return entries, nil
}
