package testdns

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/inkan-acme/inkan/internal/testport"
)

// schemas are where Debian and the makers' packages put the database schema.
var schemas = [...]string{
	"/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql",
	"/usr/share/doc/pdns-backend-sqlite3/schema.sqlite3.sql",
	"/usr/share/doc/pdns/schema.sqlite3.sql",
}

// PowerDNS starts pdns_server with the zones in an SQLite database. It takes
// updates by RFC 2136 and over its HTTP API.
func (n *Net) PowerDNS(zones ...Zone) *Server {
	t := n.t
	t.Helper()
	server, tool, sqlite := program(t, "pdns_server"), program(t, "pdnsutil"), program(t, "sqlite3")
	s := &Server{Key: newKey(), Addrs: []string{n.Addr()}, APIKey: "api-key-of-the-test"}
	host, port, _ := net.SplitHostPort(s.Addrs[0])
	dir := t.TempDir()
	db := filepath.Join(dir, "pdns.sqlite3")
	call := func(name string, args ...string) {
		t.Helper()
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
		}
	}
	var schema []byte
	for _, path := range schemas {
		if text, err := os.ReadFile(path); err == nil {
			schema = text
		}
	}
	if schema == nil {
		t.Fatal("no schema of the PowerDNS database")
	}
	call(sqlite, db, "PRAGMA journal_mode=WAL; "+string(schema))
	api := testport.For(t)
	s.API = "http://" + testport.Addr(api)
	write(t, dir, "pdns.conf", fmt.Sprintf(`launch=gsqlite3
gsqlite3-database=%s
local-address=%s
local-port=%s
socket-dir=%s
daemon=no
guardian=no
disable-syslog=yes
receiver-threads=1
distributor-threads=1
dnsupdate=yes
allow-dnsupdate-from=
zone-cache-refresh-interval=0
cache-ttl=0
query-cache-ttl=0
negquery-cache-ttl=0
webserver=yes
webserver-address=127.0.0.1
webserver-port=%d
api=yes
api-key=%s
`, db, host, port, dir, api, s.APIKey))
	pdnsutil := func(args ...string) { t.Helper(); call(tool, append([]string{"--config-dir=" + dir}, args...)...) }
	pdnsutil("import-tsig-key", strings.TrimSuffix(s.Key.Name, "."), s.Key.Algorithm, s.Key.Secret)
	for i, z := range zones {
		pdnsutil("load-zone", z.Name, write(t, dir, fmt.Sprintf("zone%d", i), z.file(s.Addrs)))
		pdnsutil("set-meta", z.Name, "ALLOW-DNSUPDATE-FROM", "127.0.0.0/8")
		pdnsutil("set-meta", z.Name, "TSIG-ALLOW-DNSUPDATE", strings.TrimSuffix(s.Key.Name, "."))
		n.Serve(s.Addrs[0], z.Name)
	}
	start(t, server, "--config-dir="+dir)
	serves(t, s.Addrs[0], zones...)
	return s
}
