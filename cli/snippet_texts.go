package cli

import (
	"cmp"
	"net/url"
	"strings"
)

// The patterns match only tokens that RFC 8555 section 8.1 allows and leave other
// requests to the rest of the configuration. So nothing of a request but letters,
// digits, "-" and "_" is ever repeated.

func redirectSnippets() map[string]string {
	return map[string]string{
		"nginx": `# nginx: in each server block that answers on port 80.
location ~ "^/\.well-known/acme-challenge/([A-Za-z0-9_-]{22,255})$" {
    return 302 VALUE/.well-known/acme-challenge/$1;
}
`,
		"apache": `# Apache httpd with mod_alias: in the server or each virtual host on port 80.
RedirectMatch 302 "^/\.well-known/acme-challenge/([A-Za-z0-9_-]{22,255})$" "VALUE/.well-known/acme-challenge/$1"
`,
		"haproxy": `# HAProxy 2.2 or later: in each frontend that answers on port 80.
    http-request redirect code 302 location VALUE%[path] if { path_reg '^/\.well-known/acme-challenge/[A-Za-z0-9_-]{22,255}$' }
`,
		"caddy": `# Caddy: in the site block of each name, which must begin with http://.
@acme path_regexp token ^/\.well-known/acme-challenge/([A-Za-z0-9_-]+)$
redir @acme VALUE/.well-known/acme-challenge/{re.token.1} 302
`,
		"alb": "made by albRedirect",
	}
}

// albRedirect is the redirect of an AWS Application Load Balancer, whose parts
// stand apart. #{path} has no slash at its beginning.
func albRedirect(to string) string {
	u, err := url.Parse(to)
	if err != nil {
		return ""
	}
	port := cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
	return `# AWS Application Load Balancer: a rule of the listener on port 80. LISTENER is
# its ARN, PRIORITY a number that comes before your other rules.
aws elbv2 create-rule --listener-arn LISTENER --priority PRIORITY \
  --conditions '[{"Field":"path-pattern","Values":["/.well-known/acme-challenge/*"]}]' \
  --actions '[{"Type":"redirect","RedirectConfig":{"Protocol":"` + strings.ToUpper(u.Scheme) + `","Host":"` + u.Hostname() +
		`","Port":"` + port + `","Path":"` + u.Path + `/#{path}","Query":"","StatusCode":"HTTP_302"}}]'
`
}

func proxySnippets() map[string]string {
	return map[string]string{
		"nginx": `# nginx: in each server block that answers on port 80.
location ^~ /.well-known/acme-challenge/ {
    proxy_pass http://VALUE;
    proxy_set_header Host $host;
}
`,
		"apache": `# Apache httpd with mod_proxy_http: in the server or virtual hosts on port 80.
<Location "/.well-known/acme-challenge/">
    ProxyPass "http://VALUE/.well-known/acme-challenge/"
    ProxyPreserveHost On
</Location>
`,
		"haproxy": `# HAProxy: this line in each frontend that answers on port 80 ...
    use_backend inkan if { path_beg /.well-known/acme-challenge/ }

# ... and this as a section of its own.
backend inkan
    mode http
    server inkan VALUE
`,
		"caddy": `# Caddy: in the site block of each name, which must begin with http://.
reverse_proxy /.well-known/acme-challenge/* VALUE
`,
		"traefik": "# Traefik: a file of the file provider; web is the entry point on port 80.\n" +
			"http:\n  routers:\n    inkan:\n      rule: PathPrefix(`/.well-known/acme-challenge/`)\n      entryPoints: [web]\n      priority: 1000000\n      service: inkan\n" +
			"  services:\n    inkan:\n      loadBalancer:\n        servers:\n          - url: http://VALUE\n",
	}
}

func statelessSnippets() map[string]string {
	return map[string]string{
		"nginx": `# nginx: in each server block that answers on port 80.
location ~ "^/\.well-known/acme-challenge/([A-Za-z0-9_-]{22,255})$" {
    default_type text/plain;
    return 200 "$1.VALUE";
}
`,
		"apache": `# Apache httpd with mod_rewrite: in the server or each virtual host on port 80.
<LocationMatch "^/\.well-known/acme-challenge/(?<TOKEN>[A-Za-z0-9_-]{22,255})$">
    RewriteEngine On
    RewriteRule ^ - [R=200,L]
    ErrorDocument 200 "%{ENV:MATCH_TOKEN}.VALUE"
</LocationMatch>
`,
		"haproxy": `# HAProxy 2.2 or later: in each frontend that answers on port 80.
    http-request return status 200 content-type text/plain lf-string "%[path,field(-1,/)].VALUE" if { path_reg '^/\.well-known/acme-challenge/[A-Za-z0-9_-]{22,255}$' }
`,
		"caddy": `# Caddy: in the site block of each name, which must begin with http://.
@acme path_regexp token ^/\.well-known/acme-challenge/([A-Za-z0-9_-]+)$
respond @acme "{re.token.1}.VALUE" 200
`,
	}
}

func webrootSnippets() map[string]string {
	return map[string]string{
		"nginx": `# nginx: in each server block that answers on port 80.
location ^~ /.well-known/acme-challenge/ {
    root VALUE;
    default_type text/plain;
}
`,
		"apache": `# Apache httpd with mod_alias: in the server or each virtual host on port 80.
Alias "/.well-known/acme-challenge/" "VALUE/.well-known/acme-challenge/"
<Directory "VALUE/.well-known/acme-challenge/">
    Require all granted
    ForceType text/plain
    Options None
    AllowOverride None
</Directory>
`,
		"caddy": `# Caddy: in the site block of each name, which must begin with http://.
handle /.well-known/acme-challenge/* {
    root * VALUE
    file_server
}
`,
	}
}
