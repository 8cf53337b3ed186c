package solve

import (
	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
)

// DNSAccount01Config holds the options of [DNSAccount01].
type DNSAccount01Config struct {
	_ struct{} `help:"is dns-01 with records that each account has under a name of its own, _<label>._acme-challenge; inkan dns records --delegate prints the CNAME records for it"`
	DNS01Config
}

// DNSAccount01 returns a Solver for dns-account-01. It is dns-01 with other names,
// so it is the same solver.
func DNSAccount01(env plug.Env, c DNSAccount01Config) (inkan.Solver, error) {
	return DNS01(env, c.DNS01Config)
}
