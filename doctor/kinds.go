package doctor

// Kind describes one finding that can be made: a row of the table that
// docs/reference/doctor.md is made from.
type Kind struct {
	ID       string   `json:"id"` // stable
	Severity Severity `json:"severity"`
	Group    string   `json:"group"`   // what it is about
	Meaning  string   `json:"meaning"` // a sentence, without a full stop
	Remedy   string   `json:"remedy"`  // what to do
}

// The groups of findings.
const (
	groupMachine   = "this machine"
	groupAuthority = "certificate authorities and accounts"
	groupNames     = "names in the DNS"
	groupCAA       = "CAA records"
	groupProof     = "proofs of control"
)

// Kinds returns every finding that can be made.
func Kinds() []Kind {
	return []Kind{
		{"config-invalid", Error, groupMachine, "the configuration file cannot be used", "mend what the message names; inkan config check tells every fault with its place"},
		{"config-writable", Warning, groupMachine, "others may change the configuration file, which names the commands that Inkan runs", "chmod go-w the file"},
		{"secret-open", Warning, groupMachine, "others may read a file that holds a secret", "chmod 0600 the file, and change the secret if others are on this machine"},
		{"mode-open", Warning, groupMachine, "others may look into a directory of state, where private keys are kept", "chmod 0700 the directory"},
		{"owner-other", Warning, groupMachine, "a directory of state belongs to another user", "run inkan as that user, or chown the directory"},
		{"state-unusable", Error, groupMachine, "the state of Inkan cannot be opened", "mend what the message names"},
		{"space-low", Error, groupMachine, "there is no room for what an order leaves, so none would be made", "free some space or inodes on the file system"},
		{"target-unwritable", Error, groupMachine, "a certificate could not be put in place", "make the directory writable for the user that runs inkan (ReadWritePaths in its systemd unit), or choose another"},

		{"ca-unusable", Error, groupAuthority, "the CA or the account cannot be used as it is configured", "mend what the message names"},
		{"ca-unreachable", Error, groupAuthority, "the CA's directory cannot be read", "check the network and the firewall; the CA's status page tells whether it is down"},
		{"ca-untrusted", Error, groupAuthority, "the TLS certificate of the CA's own server is not trusted", "install ca-certificates, name the roots of a CA of your own, or find out who intercepts the connection; a clock that is far off looks the same"},
		{"proxy-broken", Error, groupAuthority, "the CA cannot be reached through the proxy", "check HTTPS_PROXY and NO_PROXY, and the proxy itself"},
		{"clock-off", Warning, groupAuthority, "the clock of this machine differs from the CA's by more than five minutes", "set the clock by NTP"},
		{"account-missing", Error, groupAuthority, "there is no account, and nobody agreed to the terms that a new one needs", "inkan account register"},
		{"account-lost", Error, groupAuthority, "the CA does not know the account on record", "restore the account key, or make a new account on purpose: inkan account register --recover"},
		{"account-unusable", Error, groupAuthority, "the account on record cannot be used", "see what the CA says about it; a deactivated account needs a new one"},
		{"eab-missing", Error, groupAuthority, "there is no account, and the CA makes one only with external account binding", "get a key id and an HMAC key from the CA's page and give both"},
		{"profile-unknown", Warning, groupAuthority, "the CA does not offer the certificate profile that is asked for", "choose one that it offers (inkan ca show), or none"},

		{"resolver-silent", Warning, groupNames, "the resolvers of this machine give no answers, so nothing can be told about names", "check /etc/resolv.conf, or name resolvers with --resolver"},
		{"nxdomain", Error, groupNames, "the name does not exist in the DNS", "create it, or mend the record that leads there"},
		{"servfail", Error, groupNames, "the resolver cannot find out about the name", "see whether the name servers of its zone answer"},
		{"cname-loop", Error, groupNames, "the CNAME records of the name lead in a circle, or through too many names", "mend one of the CNAME records"},
		{"no-address", Error, groupNames, "the name has no address to which the CA could connect", "add A or AAAA records, or validate by dns-01"},
		{"private-address", Error, groupNames, "the name has only addresses that a public CA cannot reach", "add a public address, or validate by dns-01"},
		{"dnssec-bogus", Error, groupNames, "the DNSSEC signatures of the name do not hold, so a CA sees no answer", "sign the zone anew, or correct the DS record at the registrar"},
		{"delegation-lame", Warning, groupNames, "a server that the zone is delegated to does not serve it; an error if none does", "have the server serve the zone, or take it out of the NS records"},
		{"ns-mismatch", Warning, groupNames, "the NS records of the zone and of its parent differ", "give the registrar the same name servers that the zone names"},
		{"authority-silent", Warning, groupNames, "this machine gets no answer from any server of the zone, although its resolver does", "let DNS through the firewall, or set check: resolvers for dns-01"},

		{"caa-forbids", Error, groupCAA, "CAA records let other CAs issue, but not this one", "add a record for this CA, or choose a CA that is allowed"},
		{"caa-account", Error, groupCAA, "CAA records let this CA issue, but for another account (RFC 8657)", "put the URL of this account into accounturi"},
		{"caa-method", Error, groupCAA, "CAA records let this CA issue, but not by this challenge (RFC 8657)", "add the challenge to validationmethods, or validate by one that is allowed"},
		{"caa-unanswered", Error, groupCAA, "it cannot be found out whether there are CAA records, so a CA must refuse", "see whether the name servers answer questions for CAA records"},

		{"solver-unusable", Error, groupProof, "the solver cannot be opened", "mend what the message names"},
		{"proof-refused", Error, groupProof, "the proof could not be put in place", "mend what the message names"},
		{"proof-left", Warning, groupProof, "the trial proof could not be removed again", "remove it by hand; it does no harm"},
		{"port80-unreachable", Error, groupProof, "nothing answers at port 80 of the name", "open port 80 in the firewall and forward it to the web server, or validate by dns-01"},
		{"port443-unreachable", Error, groupProof, "nothing answers at port 443 of the name", "open port 443 in the firewall and forward it to this machine, or validate by dns-01"},
		{"hairpin", Warning, groupProof, "this machine shows the proof, but cannot reach its own public address; the CA may well be able to", "try from outside; many routers do not forward from inside (hairpin NAT)"},
		{"ipv6-broken", Warning, groupProof, "an IPv6 address does not answer while others do; CAs ask it first", "make the server listen there, or take the AAAA record away"},
		{"ipv6-unseen", Warning, groupProof, "the name has only IPv6 addresses and this machine has no IPv6, so nothing can be told", "try from a machine with IPv6"},
		{"address-silent", Warning, groupProof, "one of several addresses does not answer; a CA may ask that one", "make the server listen there, or take the address away"},
		{"webroot-not-served", Error, groupProof, "the name serves something else than the proof", "name the webroot of this very name, pass /.well-known/acme-challenge/ on (inkan snippet proxy), or correct the address"},
		{"redirect-loop", Error, groupProof, "the challenge path is redirected in a circle, or more than ten times", "mend the redirects of the web server"},
		{"redirect-refused", Error, groupProof, "the challenge path is redirected to where a CA does not follow: http and https at ports 80 and 443 only", "leave /.well-known/acme-challenge/ out of the redirect"},
		{"alpn-not-served", Error, groupProof, "port 443 answers, but not with the proof of tls-alpn-01", "pass connections with the protocol acme-tls/1 on to Inkan, or validate by another way"},
		{"dns-write-refused", Error, groupProof, "the DNS host did not take a trial record", "if the host was not reached, check its address and the network; else give the credentials the right to change TXT records at _acme-challenge of the name (where a CNAME record leads elsewhere, those of that zone)"},
		{"dns-not-visible", Error, groupProof, "the trial record did not become visible", "see whether the named servers get the zone from where it was changed"},
		{"persist-missing", Error, groupProof, "no dns-persist-01 record lets this account have the name", "publish the record that the message shows (inkan dns records)"},
		{"persist-expiring", Warning, groupProof, "the dns-persist-01 record runs out within 30 days", "publish one with a later persistUntil"},
	}
}
