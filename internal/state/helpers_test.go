package state

import (
	"time"

	"github.com/inkan-acme/inkan"
)

var chainNow = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func sampleState() inkan.State {
	at := time.Date(2026, 11, 1, 12, 0, 0, 5, time.UTC)
	return inkan.State{Due: "due/cert/0/20261101/12/0000-a.example-0123abcd", Attempts: 3, Running: "0123456789abcdef", NotBefore: at,
		LastError: &inkan.LastError{At: at, Kind: inkan.RateLimited, Message: `a <b> & "c"  é`, Hints: []string{"wait"}},
		Lease:     &inkan.Lease{Owner: inkan.Owner{Host: "h", Boot: "b", PID: 7}, Token: "t", Counter: 9},
		ARI:       inkan.ARIState{N: 2, Start: at, End: at.Add(time.Hour), Pick: at.Add(time.Minute)}, Renewals: []time.Time{at}, Revoked: []string{"ff\u2028"}}
}
