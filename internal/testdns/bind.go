package testdns

import (
	"cmp"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/inkan-acme/inkan/internal/testport"
)

// BIND starts named as the primary of the zones, and as many secondaries that
// it notifies.
func (n *Net) BIND(secondaries int, zones ...Zone) *Server {
	t := n.t
	t.Helper()
	s := &Server{Key: newKey()}
	for range secondaries + 1 {
		s.Addrs = append(s.Addrs, n.Addr())
	}
	// The primary must know whom to tell.
	backends := make([]int, secondaries+1)
	for i := range secondaries {
		backends[i+1] = freePort(t)
	}
	var also string
	for _, port := range backends[1:] {
		also += fmt.Sprintf("127.0.0.1 port %d; ", port)
	}
	backends[0] = named(t, 0, func(dir string) string {
		conf := "options { recursion no; notify-delay 0; };\n"
		conf += fmt.Sprintf("key %q { algorithm %s; secret %q; };\n", s.Key.Name, s.Key.Algorithm, s.Key.Secret)
		for j, z := range zones {
			conf += fmt.Sprintf("zone %q { type primary; file %q; notify explicit; also-notify { %s}; allow-transfer { any; }; update-policy { %s }; };\n",
				z.Name, write(t, dir, fmt.Sprintf("zone%d", j), z.file(s.Addrs)), also, cmp.Or(z.Policy, "grant "+s.Key.Name+" zonesub TXT;"))
		}
		return conf
	})
	for i := range backends[1:] {
		named(t, backends[i+1], func(string) string {
			conf := "options { recursion no; };\n"
			for j, z := range zones {
				conf += fmt.Sprintf("zone %q { type secondary; file \"zone%d\"; primaries { 127.0.0.1 port %d; }; allow-notify { any; }; };\n", z.Name, j, backends[0])
			}
			return conf
		})
	}
	for i, addr := range s.Addrs {
		s.fronts = append(s.fronts, newFront(t, addr, testport.Addr(backends[i])))
		serves(t, s.fronts[i].backend, zones...)
	}
	for _, z := range zones {
		n.Serve(s.Addrs[0], z.Name)
	}
	return s
}

// Resolver starts named as a recursive server that knows the zones served so
// far, and returns its address. It forgets positive answers at once, as those
// of CAs do, and remembers negative ones as long as the zone allows.
func (n *Net) Resolver() string {
	t := n.t
	t.Helper()
	var zones []Zone
	addr := testport.Addr(named(t, 0, func(string) string {
		zones = nil
		conf := "options { recursion yes; allow-recursion { any; }; max-cache-ttl 0; };\n"
		for z, server := range n.zones {
			host, port, _ := net.SplitHostPort(server)
			conf += fmt.Sprintf("zone %q { type forward; forward only; forwarders { %s port %s; }; };\n", z, host, port)
			zones = append(zones, Zone{Name: z})
		}
		return conf
	}))
	serves(t, addr, zones...)
	return addr
}

// named starts BIND at 127.0.0.1 and returns its port, which 0 leaves open.
// configure may write files into the directory it is given.
func named(t testing.TB, port int, configure func(dir string) string) int {
	t.Helper()
	path := program(t, "named")
	for range 5 {
		number := cmp.Or(port, freePort(t))
		dir := t.TempDir()
		options := fmt.Sprintf(`options {
	directory %q; pid-file none; lock-file none; session-keyfile %q; geoip-directory none;
	listen-on port %d { 127.0.0.1; }; listen-on-v6 { none; };
	dnssec-validation no; empty-zones-enable no; version none; `, dir, filepath.Join(dir, "session.key"), number)
		conf := strings.Replace(configure(dir), "options {", options, 1) + "controls { };\n"
		d := start(t, path, "-g", "-4", "-n", "1", "-c", write(t, dir, "named.conf", conf))
		if d.says(t, " running\n") && !strings.Contains(d.log.String(), "address in use") {
			return number
		}
		if port != 0 {
			break
		}
	}
	t.Fatalf("named found no port")
	return 0
}
