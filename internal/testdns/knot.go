package testdns

import (
	"fmt"
	"net"
)

// Knot starts knotd with the zones.
func (n *Net) Knot(zones ...Zone) *Server {
	t := n.t
	t.Helper()
	path := program(t, "knotd")
	s := &Server{Key: newKey(), Addrs: []string{n.Addr()}}
	host, port, _ := net.SplitHostPort(s.Addrs[0])
	dir := t.TempDir()
	conf := fmt.Sprintf(`server:
    rundir: %[1]q
    listen: %[2]s@%[3]s
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: %[1]q
control:
    listen: "%[1]s/control"
key:
  - id: %[4]s
    algorithm: %[5]s
    secret: %[6]s
acl:
  - id: update
    key: %[4]s
    action: update
    update-type: TXT
zone:
`, dir, host, port, s.Key.Name, s.Key.Algorithm, s.Key.Secret)
	for i, z := range zones {
		conf += fmt.Sprintf("  - domain: %s\n    file: %q\n    acl: update\n", z.Name, write(t, dir, fmt.Sprintf("zone%d", i), z.file(s.Addrs)))
		n.Serve(s.Addrs[0], z.Name)
	}
	start(t, path, "-c", write(t, dir, "knot.conf", conf))
	serves(t, s.Addrs[0], zones...)
	return s
}
