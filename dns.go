package inkan

import (
	"context"
)

// DNSProvider is a DNS host at which TXT values can be added and removed.
//
// zone is the zone apex and ends in a dot, as do the names in TXT. Other
// values at a name are kept: AddTXT adds exactly these values, RemoveTXT
// removes exactly these. To add a value that is there, or remove one that is
// absent, is success. A change is durable when the host has accepted it; the world
// sees it only after Wait or a propagation check. When ctx has ended before a call,
// it changes nothing and returns the error of ctx. The caller retries. The methods
// may be called concurrently.
type DNSProvider interface {
	AddTXT(ctx context.Context, zone string, records []TXT) error
	RemoveTXT(ctx context.Context, zone string, records []TXT) error
}

// DNSWaiter is an optional ability of a DNSProvider: Wait returns when the host
// says that its servers answer with the records.
type DNSWaiter interface {
	Wait(ctx context.Context, zone string, records []TXT) error
}

// TXT is one value at one name.
type TXT struct {
	Name  string // absolute, ends in a dot
	Value string // unquoted
	TTL   int    // seconds; 0 means the host's default
}
