package solve

import "github.com/inkan-acme/inkan"

// SetDNSPort makes a solver for dns-01 ask authoritative servers at a port
// other than 53.
func SetDNSPort(s inkan.Solver, port int) { s.(interface{ setPort(int) }).setPort(port) }

func (p *prover) setPort(port int) { p.client.Port = port }
