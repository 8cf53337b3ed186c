package engine

import (
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/inkan-acme/inkan"
)

var chainNow = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

func sampleState() inkan.State {
	at := time.Date(2026, 11, 1, 12, 0, 0, 5, time.UTC)
	return inkan.State{Due: "due/cert/0/20261101/12/0000-a.example-0123abcd", Attempts: 3, Running: "0123456789abcdef", NotBefore: at,
		LastError: &inkan.LastError{At: at, Kind: inkan.RateLimited, Message: `a <b> & "c"  é`, Hints: []string{"wait"}},
		Lease:     &inkan.Lease{Owner: inkan.Owner{Host: "h", Boot: "b", PID: 7}, Token: "t", Counter: 9},
		ARI:       inkan.ARIState{N: 2, Start: at, End: at.Add(time.Hour), Pick: at.Add(time.Minute)}, Renewals: []time.Time{at}, Revoked: []string{"ff\u2028"}}
}

var errTime = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func hidden(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) || r == utf8.RuneError
}
