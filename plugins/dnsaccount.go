package plugins

import (
	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/solve"
)

// dnsAccount01Config holds the options of dns-account-01.
type dnsAccount01Config struct {
	_ struct{} `help:"is dns-01 with records that each account has under a name of its own, _<label>._acme-challenge; inkan dns records --delegate prints the CNAME records for it"`
	solve.DNS01Config
}

// dnsAccount01 is dns-01 with other names, so it is the same solver.
func dnsAccount01(env plug.Env, c dnsAccount01Config) (inkan.Solver, error) {
	return solve.DNS01(env, c.DNS01Config)
}
