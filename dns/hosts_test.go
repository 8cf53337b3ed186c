package dns_test

import "slices"

// hosts are all DNS hosts that the contract is tested with.
func hosts() []hostTest { return slices.Concat(recordHosts(), setHosts(), cloudHosts()) }
