package inkan

import (
	"context"
)

// DNSProvider is a DNS host at which TXT values can be added and removed.
//
// zone is the zone apex and ends in a dot, as do the names in TXT. Other
// values at a name are kept: AddTXT adds exactly these values, RemoveTXT
// removes exactly these; a value that is there already (or absent) is success.
// Durable when the host has accepted it; visible to the world only after Wait
// or a propagation check. Retries: the caller's. Concurrency: safe.
type DNSProvider interface {
	AddTXT(ctx context.Context, zone string, records []TXT) error
	RemoveTXT(ctx context.Context, zone string, records []TXT) error
}

// DNSWaiter is an optional ability of a DNSProvider: the host itself knows
// when its servers answer with the records.
type DNSWaiter interface {
	Wait(ctx context.Context, zone string, records []TXT) error
}

// TXT is one value at one name.
type TXT struct {
	Name  string // absolute, ends in a dot
	Value string // unquoted
	TTL   int    // seconds; 0 means the host's default
}
