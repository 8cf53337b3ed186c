// Package plugins holds the one table that names every plug-in.
package plugins

import (
	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/aws"
	"github.com/inkan-acme/inkan/deploy"
	"github.com/inkan-acme/inkan/dns"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/solve"
	"github.com/inkan-acme/inkan/store"
)

// All returns a new set of all plug-ins. A new one is a line here.
func All() *plug.Set {
	s := new(plug.Set)

	plug.Add(&s.Stores, "file", store.File)
	plug.Add(&s.Stores, "mem", store.MemPlugin)
	plug.Add(&s.Stores, "s3", aws.S3)

	plug.AddSolver(&s.Solvers, "dns-01", inkan.DNS01, solve.DNS01)
	plug.AddSolver(&s.Solvers, "dns-account-01", inkan.DNSAccount01, solve.DNSAccount01)
	plug.AddSolver(&s.Solvers, "dns-persist-01", inkan.DNSPersist01, solve.DNSPersist01)
	plug.AddSolver(&s.Solvers, "exec", inkan.DNS01, solve.Exec)
	plug.AddSolver(&s.Solvers, "exec-http", inkan.HTTP01, solve.ExecHTTP)
	plug.AddSolver(&s.Solvers, "http-01", inkan.HTTP01, solve.HTTP01)
	plug.AddSolver(&s.Solvers, "standalone", inkan.HTTP01, solve.Standalone)
	plug.AddSolver(&s.Solvers, "stateless", inkan.HTTP01, solve.StatelessSolver)
	plug.AddSolver(&s.Solvers, "tls-alpn", inkan.TLSALPN01, solve.NewTLSALPN)
	plug.AddSolver(&s.Solvers, "webroot", inkan.HTTP01, solve.Webroot(publicFiles))

	plug.Add(&s.DNS, "acme-dns", dns.ACMEDNS)
	plug.Add(&s.DNS, "acme-sh", dns.ACMESh)
	plug.Add(&s.DNS, "azure", dns.Azure)
	plug.Add(&s.DNS, "cloudflare", dns.Cloudflare)
	plug.Add(&s.DNS, "conoha", dns.ConoHa)
	plug.Add(&s.DNS, "desec", dns.DeSEC)
	plug.Add(&s.DNS, "digitalocean", dns.DigitalOcean)
	plug.Add(&s.DNS, "dnsimple", dns.DNSimple)
	plug.Add(&s.DNS, "exec", dns.Exec)
	plug.Add(&s.DNS, "gandi", dns.Gandi)
	plug.Add(&s.DNS, "google", dns.Google)
	plug.Add(&s.DNS, "hetzner", dns.Hetzner)
	plug.Add(&s.DNS, "linode", dns.Linode)
	plug.Add(&s.DNS, "ovh", dns.OVH)
	plug.Add(&s.DNS, "porkbun", dns.Porkbun)
	plug.Add(&s.DNS, "powerdns", dns.PowerDNS)
	plug.Add(&s.DNS, "rfc2136", dns.RFC2136)
	plug.Add(&s.DNS, "route53", new(aws.Pace).Route53)
	plug.Add(&s.DNS, "sakuracloud", dns.SakuraCloud)
	plug.Add(&s.DNS, "scaleway", dns.Scaleway)
	plug.Add(&s.DNS, "vultr", dns.Vultr)

	plug.Add(&s.Deployers, "exec", deploy.Exec)
	plug.Add(&s.Deployers, "files", deploy.Files)

	return s
}

// publicFiles opens a directory of a web server as a Store.
func publicFiles(env plug.Env, dir string) (inkan.Store, error) {
	return store.File(env, store.FileConfig{Dir: dir, Public: true})
}
