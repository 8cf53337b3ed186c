package config_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/config"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/plugins"
)

func load(text string) (*config.Config, error) {
	return config.Load("inkan.yaml", []byte(text), plugins.All(), config.Options{CAs: []string{"letsencrypt", "letsencrypt-staging", "google", "zerossl"}})
}

func mustLoad(t *testing.T, text string) *config.Config {
	t.Helper()
	c, err := load(text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const full = `# everything there is
defaults:
  ca: [letsencrypt, myca]
  account: ops
  key: ecdsa-p384
  validate: web
  deploy: [nginx-files, reload]
  profile: tlsserver
  preferred_chain: ISRG Root X1
accounts:
  ops:
    email: [ops@example.com, admin@example.com]
    agree_terms: true
    cas:
      myca: {eab: {kid: kid-1, hmac_key: {file: /etc/inkan/hmac}}}
      zerossl:
        email: zero@example.com
        eab: {kid: kid-2, hmac_key: c2VjcmV0, alg: HS512}
cas:
  myca: {directory: "https://ca.example.com/dir", roots: /etc/inkan/root.pem, staging: true}
store: {type: mem}
stores:
  bucket: {type: mem}
solvers:
  web: {type: webroot, dir: /var/www/acme}
  alone: {type: standalone, addr: ":8080"}
  stored: {type: http-01, store: bucket}
targets:
  nginx-files: {type: files, dir: /etc/ssl/inkan, mode: 0640, names: {www: site}}
  reload: {type: exec, command: [systemctl, reload, nginx]}
certificates:
  www:
    names: [Example.com., www.example.com, bücher.example]
  mail:
    names: mail.example.com
    ca: google
    account: default
    key: rsa-3072
    validate: {mail.example.com: alone, "*": stored}
    deploy: nginx-files
    profile: shortlived
    require_profile: true
    preferred_chain: Other Root
    lifetime: 90d
    reuse_key: true
  "192.0.2.1":
    names: [192.0.2.1]
    deploy: []
`

func TestLoad(t *testing.T) {
	c := mustLoad(t, full)
	dns := func(names ...string) (ids []inkan.Identifier) {
		for _, n := range names {
			ids = append(ids, inkan.Identifier{Type: inkan.DNS, Value: n})
		}
		return ids
	}
	want := []inkan.CertificateRequest{
		{
			Name: "www", Identifiers: dns("example.com", "www.example.com", "xn--bcher-kva.example"),
			CAs: []string{"letsencrypt", "myca"}, Account: "ops", KeyTypes: []inkan.KeyType{inkan.ECDSAP384},
			Profile: "tlsserver", PreferredChain: "ISRG Root X1",
			Validations: []inkan.Validation{{Type: "http-01", Solver: "web"}},
			Targets:     []string{"nginx-files", "reload"},
		},
		{
			Name: "mail", Identifiers: dns("mail.example.com"),
			CAs: []string{"google"}, Account: "default", KeyTypes: []inkan.KeyType{inkan.RSA3072},
			Key: inkan.KeyPolicy{Mode: inkan.KeyReuse}, Profile: "shortlived", RequireProfile: true,
			Lifetime: 90 * 24 * time.Hour, PreferredChain: "Other Root",
			Validations: []inkan.Validation{
				{Match: "mail.example.com", Type: "http-01", Solver: "alone"},
				{Match: "*", Type: "http-01", Solver: "stored"},
			},
			Targets: []string{"nginx-files"},
		},
		{
			Name: "192.0.2.1", Identifiers: []inkan.Identifier{{Type: inkan.IP, Value: "192.0.2.1"}},
			CAs: []string{"letsencrypt", "myca"}, Account: "ops", KeyTypes: []inkan.KeyType{inkan.ECDSAP384},
			Profile: "tlsserver", PreferredChain: "ISRG Root X1",
			Validations: []inkan.Validation{{Type: "http-01", Solver: "web"}},
			Targets:     []string{},
		},
	}
	if diff := cmp.Diff(want, c.Certificates); diff != "" {
		t.Error(diff)
	}
	for _, r := range c.Certificates {
		if err := r.Check(); err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff(map[string]config.CA{"myca": {Directory: "https://ca.example.com/dir", Roots: "/etc/inkan/root.pem", Staging: true}}, c.CAs); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([][]string{{"web", "alone", "stored"}, {"nginx-files", "reload"}, {"ops"}},
		[][]string{c.Solvers(), c.Targets(), c.Accounts()}); diff != "" {
		t.Error(diff)
	}
}

func TestMinimal(t *testing.T) {
	c := mustLoad(t, "solvers: {web: {type: standalone}}\ncertificates: {www: {names: [example.com], validate: web}}\n")
	want := inkan.CertificateRequest{
		Name: "www", Identifiers: []inkan.Identifier{{Type: inkan.DNS, Value: "example.com"}}, CAs: []string{"letsencrypt"},
		Account: "default", KeyTypes: []inkan.KeyType{inkan.ECDSAP256}, Validations: []inkan.Validation{{Type: "http-01", Solver: "web"}}, Targets: []string{},
	}
	if diff := cmp.Diff([]inkan.CertificateRequest{want}, c.Certificates); diff != "" {
		t.Error(diff)
	}
	for _, empty := range []string{"", "# nothing\n", "---\n", "\ufeff# nothing", "certificates: {}\n"} {
		if c, err := load(empty); err != nil || len(c.Certificates) != 0 {
			t.Errorf("%q: %v", empty, err)
		}
	}
}

func TestAccounts(t *testing.T) {
	c := mustLoad(t, full)
	var asked []plug.SecretSource
	secret := func(s plug.SecretSource) (string, error) {
		asked = append(asked, s)
		return "aG1hYw\n", nil
	}
	a, err := c.Account("ops", "letsencrypt", secret)
	if err != nil || a.EAB != nil || !a.AgreeTerms || len(a.Emails) != 2 || a.Key != inkan.ECDSAP256 {
		t.Errorf("ops at letsencrypt: %+v, %v", a, err)
	}
	a, err = c.Account("ops", "myca", secret)
	if err != nil || a.EAB == nil || a.EAB.KeyID != "kid-1" || a.EAB.HMACKey.Reveal() != "aG1hYw" || a.EAB.Alg != "HS256" || len(a.Emails) != 2 || !a.AgreeTerms {
		t.Errorf("ops at myca: %+v, %v", a, err)
	}
	if diff := cmp.Diff([]plug.SecretSource{{File: "/etc/inkan/hmac"}}, asked); diff != "" {
		t.Error(diff)
	}
	a, err = c.Account("ops", "zerossl", nil)
	if err != nil || a.EAB.KeyID != "kid-2" || a.EAB.HMACKey.Reveal() != "c2VjcmV0" || a.EAB.Alg != "HS512" || !cmp.Equal(a.Emails, []string{"zero@example.com"}) {
		t.Errorf("ops at zerossl: %+v, %v", a, err)
	}
	if _, err = c.Account("ops", "myca", nil); err == nil || !strings.Contains(err.Error(), "inkan.yaml:15:43: accounts.ops.cas.myca.eab.hmac_key: the secret in file /etc/inkan/hmac cannot be read here") {
		t.Errorf("without a reader: %v", err)
	}
	a, err = c.Account("default", "letsencrypt", nil)
	if err != nil || a.AgreeTerms || a.Key != inkan.ECDSAP256 {
		t.Errorf("an account that is not in the file: %+v, %v", a, err)
	}
}

// base is a sound file to which the tables below add one fault.
const base = `solvers:
  web: {type: standalone}
targets:
  files: {type: files, dir: /etc/ssl/inkan}
certificates:
  www:
    names: [example.com]
    validate: web
`

func TestRefuses(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		// unknown keys, with the nearest right one
		{"certificate: {}\n", `inkan.yaml:1:1: certificate: unknown key; did you mean "certificates"?`},
		{base + "    name: [a.example]\n", `inkan.yaml:9:5: certificates.www.name: unknown key; did you mean "names"?`},
		{base + "    preferd-chain: x\n", `inkan.yaml:9:5: certificates.www.preferd-chain: unknown key; did you mean "preferred_chain"?`},
		{"targets:\n  f: {type: files, dir: /x, kep: 3}\n", `inkan.yaml:2:29: targets.f.kep: unknown key; did you mean "keep"?`},
		{"defaults:\n  cas: x\n", `inkan.yaml:2:3: defaults.cas: unknown key; did you mean "ca"?`},
		{"accounts:\n  a: {mail: [x@example.com]}\n", `inkan.yaml:2:7: accounts.a.mail: unknown key; did you mean "email"?`},
		{"xyzzyx: 1\n", `inkan.yaml:1:1: xyzzyx: unknown key`},
		// repeated keys
		{base + "solvers: {}\n", `inkan.yaml:9:1: solvers: the key is given twice; the first is in line 1`},
		{base + "    validate: web\n", `inkan.yaml:9:5: certificates.www.validate: the key is given twice; the first is in line 8`},
		{base + "  www: {names: [a.example], validate: web}\n", `inkan.yaml:9:3: certificates.www: the key is given twice; the first is in line 6`},
		{"targets:\n  f: {type: files, dir: /x, dir: /y}\n", `inkan.yaml:2:29: targets.f.dir: the key is given twice; the first is in line 2`},
		// wrong types
		{"certificates: []\n", `inkan.yaml:1:15: certificates: it must be a map, not a list`},
		{"certificates:\n", `inkan.yaml:1:1: certificates: it must be a map, not nothing`},
		{"certificates:\n  www: yes\n", `inkan.yaml:2:8: certificates.www: it must be a map, not "yes"`},
		{base + "    reuse_key: yes\n", `inkan.yaml:9:16: certificates.www.reuse_key: it must be true or false, not "yes"`},
		{base + "    lifetime: 90\n", `inkan.yaml:9:15: certificates.www.lifetime: "90" is not a duration such as 30s, 12h or 90d`},
		{base + "    profile: 5\n", `inkan.yaml:9:14: certificates.www.profile: it must be text, not the number 5; write it in quotes: "5"`},
		{"targets:\n  r: {type: exec, command: systemctl reload nginx}\n", `inkan.yaml:2:28: targets.r.command: it must be a list, not "systemctl reload nginx"; write [systemctl reload nginx]`},
		{"targets:\n  r: {type: exec, command: [true]}\n", `inkan.yaml:2:29: targets.r.command[0]: it must be text, not true; write it in quotes`},
		{"targets:\n  f: {type: files, dir: /x, mode: 0999}\n", `targets.f.mode: "0999" is not a file mode such as 0640`},
		{"[a, b]\n", `inkan.yaml:1:1: the file must hold a map of keys, such as certificates`},
		{"just text\n", `inkan.yaml:1:1: the file must hold a map of keys, such as certificates`},
		// rules of plug-ins
		{"targets:\n  r: {type: exec}\n", `targets.r: one of the keys command and shell is missing`},
		{"targets:\n  f: {type: files}\n", `targets.f: the key "dir" is missing`},
		{"targets:\n  f: {dir: /x}\n", `targets.f: the key "type" is missing`},
		{"targets:\n  f: {type: fils, dir: /x}\n", `inkan.yaml:2:13: targets.f.type: there is no deployer type "fils"; did you mean "files"?`},
		{"solvers:\n  f: {type: dns}\n", `inkan.yaml:2:13: solvers.f.type: there is no solver type "dns"; there are `},
		{"solvers:\n  f: {type: http-01, store: {type: fil, dir: /x}}\n", `there is no store type "fil"; did you mean "file"?`},
		{"solvers:\n  none: {type: standalone}\n", `inkan.yaml:2:3: a solver cannot have the name "none"`},
		{"solvers:\n  _web: {type: standalone}\n", `inkan.yaml:2:3: the name "_web" begins with "_"`},
		{"targets:\n  _files.00000000: {type: files, dir: /x}\n", `inkan.yaml:2:3: the name "_files.00000000" begins with "_"`},
		{"store: {type: file, dri: /x}\n", `inkan.yaml:1:21: store.dri: unknown key; did you mean "dir"?`},
		// references, with the nearest name
		{base + "    ca: letsencript\n", `inkan.yaml:9:9: certificates.www.ca: there is no CA "letsencript"; did you mean "letsencrypt"?`},
		{base + "    ca: [letsencrypt, mine]\n", `inkan.yaml:9:23: certificates.www.ca: there is no CA "mine"; there are google, letsencrypt, letsencrypt-staging, zerossl`},
		{base + "    account: ops\n", `inkan.yaml:9:14: certificates.www.account: there is no account "ops"; the only one is default`},
		{base + "    deploy: [file]\n", `inkan.yaml:9:14: certificates.www.deploy: there is no target "file"; did you mean "files"?`},
		{base + "    deploy: [files, files]\n", `inkan.yaml:9:21: certificates.www.deploy: the target files is named twice`},
		{"certificates: {www: {names: [a.example], validate: wbe}}\nsolvers: {web: {type: standalone}}\n", `inkan.yaml:1:52: certificates.www.validate: there is no solver "wbe"; did you mean "web"?`},
		{"solvers:\n  s: {type: http-01, store: main}\n", `inkan.yaml:2:29: solvers.s: there is no store "main"; none is defined`},
		{"store: main\nstores: {mian: {type: mem}}\n", `inkan.yaml:1:8: store: there is no store "main"; did you mean "mian"?`},
		{"accounts:\n  a: {cas: {zerosl: {}}}\n", `inkan.yaml:2:13: accounts.a.cas: there is no CA "zerosl"; did you mean "zerossl"?`},
		// names (H01, H10)
		{base + "  b: {names: [../etc/passwd], validate: web}\n", `inkan.yaml:9:15: certificates.b.names: name ../etc/passwd: it contains '/'`},
		{base + "  b: {names: [a.example, A.example.], validate: web}\n", `inkan.yaml:9:26: certificates.b.names: a.example is named twice`},
		{base + "  b: {names: [127.1], validate: web}\n", `certificates.b.names: it must be text`},
		{base + "  b: {names: ['127.1'], validate: web}\n", `certificates.b.names: name 127.1: it is not an IP address in its usual form`},
		{base + "  B: {names: [b.example], validate: web}\n", `inkan.yaml:9:3: certificates.B: name B: it has the capital letter 'B'`},
		{base + "  ../b: {names: [b.example], validate: web}\n", `inkan.yaml:9:3: certificates.../b: name ../b: it begins with '.'`},
		{base + "  b: {validate: web}\n", `inkan.yaml:9:3: certificates.b: the key "names" is missing`},
		{base + "  b: {names: [], validate: web}\n", `inkan.yaml:9:3: certificates.b: the key "names" is missing`},
		// validation
		{"certificates: {www: {names: [a.example]}}\n", `inkan.yaml:1:16: certificates.www.validate: nothing says how control over the names is shown`},
		{base + "  b: {names: ['*.example.com'], validate: web}\n", `certificates.b.validate: the wildcard *.example.com needs a dns-01 solver; solver web shows http-01`},
		{base + "  b: {names: [a.example, b.example], validate: {a.example: web}}\n", `certificates.b.validate: no solver is named for b.example`},
		{base + "  b: {names: [a.example], validate: {'a_b': web, '*': web}}\n", `certificates.b.validate: name a_b: it contains '_'`},
		// keys and the like
		{base + "    key: ecdsa-p255\n", `inkan.yaml:9:10: certificates.www.key: key type ecdsa-p255: unknown (one of ecdsa-p256`},
		{base + "    key: [ecdsa-p256, rsa-2048]\n", `inkan.yaml:6:3: certificates.www: certificate www: two key types in one certificate (ecdsa-p256, rsa-2048) are not possible yet`},
		{base + "    require_profile: true\n", `certificate www: a profile is required but none is named`},
		{base + "    csr: /x.csr\n", `inkan.yaml:9:10: certificates.www.csr: files cannot be read here`},
		{"cas: {mine: {roots: /x}}\n", `inkan.yaml:1:7: cas.mine: the key "directory" is missing`},
		{"cas: {mine: {directory: 'http://ca.example'}}\n", `inkan.yaml:1:25: cas.mine.directory: "http://ca.example" is not an https URL`},
		{"cas: {mine: {directory: 'https://u:p@ca.example'}}\n", `is not an https URL`},
		{"accounts: {a: {email: [nobody]}}\n", `inkan.yaml:1:24: accounts.a.email: it is not an e-mail address`},
		{"accounts: {a: {email: ['a@b.example,c@d.example']}}\n", `it has a character that no address here may have`},
		{"accounts: {a: {key: rsa-1024}}\n", `accounts.a.key: key type rsa-1024: unknown`},
		{"accounts: {a: {eab: {kid: x}}}\n", `accounts.a.eab: the key "hmac_key" is missing`},
		{"accounts: {a: {eab: {kid: x, hmac_key: y, alg: HS265}}}\n", `accounts.a.eab.alg: there is no MAC algorithm "HS265"; did you mean "HS256"?`},
		// YAML itself (H12)
		{"certificates: [\n", `inkan.yaml:1:15: sequence end token ']' not found`},
		{"certificates:\n  www: 'x\n", `inkan.yaml:2:8: could not find end character of single-quoted text`},
		{"a: 1\n---\nb: 2\n", `inkan.yaml:3:2: the file must hold one YAML document, without directives`},
		{"%YAML 1.2\n---\na: 1\n", `the file must hold one YAML document, without directives`},
		{"store: &s {type: mem}\nsolvers:\n  <<: *s\n", `inkan.yaml:3:3: merging by << is not supported; use the section defaults`},
		{"store: *nowhere\n", `inkan.yaml:1:8: the alias *nowhere has no anchor before it`},
		{"store: !!map {type: mem}\n", `inkan.yaml:1:8: YAML tags such as !!map are not supported`},
		{"? store\n: {type: mem}\n", `inkan.yaml:1:1: keys that begin with ? are not supported`},
		{"a: \xff\n", `inkan.yaml:1:1: the line is not valid UTF-8`},
		{"a: " + strings.Repeat("[", 5000) + "\n", `nested deeper than 32`},
		{"a: " + strings.Repeat("{a: ", 5000) + "\n", `nested deeper than 32`},
		{"a:\n" + strings.Repeat("- ", 5000) + "\n", `nested deeper than 32`},
		{"a: " + strings.Repeat("&a ", 5000) + "\n", `more than 1000 anchors`},
	} {
		_, err := load(c.text)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.200q:\n  error %.600v\n  want  %s", c.text, err, c.want)
			continue
		}
		if !errors.Is(err, inkan.Operator) {
			t.Errorf("%.200q: kind %v", c.text, inkan.KindOf(err))
		}
	}
}

// All that is wrong is told at once, in the order of the file.
func TestAllAtOnce(t *testing.T) {
	_, err := load(`bogus: 1
solvers:
  web: {type: standalone, adr: ":80"}
targets:
  files: {type: files, dir: relative}
certificates:
  www: {names: [a_b.example], validate: wbe, deploy: fils}
  mail: {names: [mail.example], validate: web, kay: rsa}
`)
	var got []string
	for l := range strings.SplitSeq(fmt.Sprint(err), "\n") {
		got = append(got, strings.SplitN(l, " ", 3)[1]+" "+strings.SplitN(l, " ", 2)[0])
	}
	want := []string{
		"bogus: inkan.yaml:1:1:", "solvers.web.adr: inkan.yaml:3:27:", "targets.files: inkan.yaml:5:11:",
		"certificates.www.names: inkan.yaml:7:17:", "certificates.www.validate: inkan.yaml:7:41:",
		"certificates.www.deploy: inkan.yaml:7:54:", "certificates.mail.kay: inkan.yaml:8:48:",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	var many strings.Builder
	for i := range 100 {
		fmt.Fprintf(&many, "k%d: 1\n", i)
	}
	if _, err := load(many.String()); strings.Count(err.Error(), "\n") != 20 || !strings.HasSuffix(err.Error(), "\nand 80 more") {
		t.Error(err)
	}
}

func TestF05SameOutput(t *testing.T) {
	const head = "solvers: {web: {type: standalone}}\ndefaults: {validate: web}\n"
	for name, c := range map[string]struct{ text, want string }{
		"two targets, one directory": {
			"targets: {a: {type: files, dir: /etc/ssl/x}, b: {type: files, dir: /etc/ssl//y/../x/}}\ncertificates: {www: {names: [a.example], deploy: [a, b]}}\n",
			"both certificate www at target a and certificate www at target b write /etc/ssl/x/www",
		},
		"two certificates, one name": {
			"targets: {a: {type: files, dir: /x, names: {mail: www}}}\ncertificates: {www: {names: [a.example], deploy: a}, mail: {names: [b.example], deploy: a}}\n",
			"both certificate www at target a and certificate mail at target a write /x/www",
		},
		"one inside the other": {
			"targets: {a: {type: files, dir: /x}, b: {type: files, dir: /x/www/deep}}\ncertificates: {www: {names: [a.example], deploy: a}, mail: {names: [b.example], deploy: b}}\n",
			"certificate mail at target b writes /x/www/deep/mail, which is inside /x/www of certificate www at target a",
		},
	} {
		if _, err := load(head + c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Targets that nobody uses together, and different directories, are fine.
	mustLoad(t, head+"targets: {a: {type: files, dir: /x}, b: {type: files, dir: /x}}\n"+
		"certificates: {www: {names: [a.example], deploy: a}, mail: {names: [b.example], deploy: b}}\n")
}

func TestValidateNone(t *testing.T) {
	c := mustLoad(t, "certificates: {www: {names: ['*.example.com'], validate: none}}\n")
	if len(c.Certificates[0].Validations) != 0 {
		t.Error(c.Certificates[0].Validations)
	}
}

func TestCSR(t *testing.T) {
	key, err := inkan.GenerateKey(inkan.ECDSAP384)
	if err != nil {
		t.Fatal(err)
	}
	ids, err := inkan.ParseIdentifiers([]string{"a.example", "b.example"})
	if err != nil {
		t.Fatal(err)
	}
	der, err := inkan.NewCSR(key, ids)
	if err != nil {
		t.Fatal(err)
	}
	read := func(path string) ([]byte, error) {
		switch path {
		case "/my.csr":
			return der, nil
		case "/bad.csr":
			return []byte("nonsense"), nil
		}
		return nil, os.ErrNotExist
	}
	loadCSR := func(options string) (*config.Config, error) {
		text := "solvers: {web: {type: standalone}}\ncertificates: {www: {validate: web, " + options + "}}\n"
		return config.Load("inkan.yaml", []byte(text), plugins.All(), config.Options{CAs: []string{"letsencrypt"}, ReadFile: read})
	}
	for _, options := range []string{"csr: /my.csr", "csr: /my.csr, names: [b.example, A.example]"} {
		c, err := loadCSR(options)
		if err != nil {
			t.Fatal(err)
		}
		r := c.Certificates[0]
		if string(r.CSR) != string(der) || !cmp.Equal(r.Identifiers, ids) || !cmp.Equal(r.KeyTypes, []inkan.KeyType{inkan.ECDSAP384}) {
			t.Errorf("%s: %+v", options, r)
		}
	}
	for options, want := range map[string]string{
		"csr: /none.csr":                   "certificates.www.csr: file does not exist",
		"csr: /bad.csr":                    "certificates.www.csr: certificate signing request: it cannot be read",
		"csr: /my.csr, names: [a.example]": "names and the CSR differ",
		"csr: /my.csr, reuse_key: true":    "reuse_key makes no sense with csr",
	} {
		if _, err := loadCSR(options); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", options, err)
		}
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	c := mustLoad(t, fmt.Sprintf(`
store: main
stores: {main: {type: mem}}
solvers:
  web: {type: webroot, dir: %s}
  stored: {type: http-01, store: main}
  gone: {type: webroot, dir: %s/gone}
targets:
  files: {type: files, dir: %s}
  reload: {type: exec, command: [sh, -c, 'test "$TOKEN" = hush'], env: {TOKEN: {env: TOKEN}}}
`, dir, dir, dir))
	in := c.Open(plug.Env{}, func(s plug.SecretSource) (string, error) {
		if s.Env != "TOKEN" {
			return "", errors.New("no such variable")
		}
		return "hush", nil
	})
	store, err := in.Store()
	if err != nil || store == nil {
		t.Fatal(err)
	}
	if again, err := in.Store(); err != nil || again != store {
		t.Error("the store was opened twice")
	}
	web, err := in.Solver("web")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := in.Solver("web"); err != nil || again != web {
		t.Error("the solver was opened twice")
	}
	// The solver "stored" shares the instance that "store" names.
	stored, err := in.Solver("stored")
	if err != nil {
		t.Fatal(err)
	}
	const token = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
	_, err = stored.Present(t.Context(), []inkan.Challenge{{
		Type: inkan.HTTP01, Identifier: inkan.Identifier{Type: inkan.DNS, Value: "a.example"},
		Token: token, KeyAuthorization: token + ".9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI",
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := store.Get(t.Context(), ".well-known/acme-challenge/"+token); err != nil {
		t.Errorf("the two stores are not one: %v", err)
	}
	for _, name := range []string{"files", "reload"} {
		if _, err := in.Deployer(name); err != nil {
			t.Error(err)
		}
	}
	if _, err := in.Deployer("file"); err == nil || !strings.Contains(err.Error(), `there is no deployer "file"; did you mean "files"?`) {
		t.Error(err)
	}
	// What does not work is tried again the next time.
	if _, err := in.Solver("gone"); err == nil || !strings.Contains(err.Error(), "inkan.yaml: solvers.gone: ") {
		t.Error(err)
	}
	if err := os.Mkdir(dir+"/gone", 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Solver("gone"); err != nil {
		t.Error(err)
	}
	if s, err := mustLoad(t, base).Open(plug.Env{}, nil).Store(); s != nil || err != nil {
		t.Errorf("without store: %v, %v", s, err)
	}
}

func TestSchemaIsDescribed(t *testing.T) {
	var walk func(path string, options []plug.Option)
	walk = func(path string, options []plug.Option) {
		for _, o := range options {
			if o.Help == "" {
				t.Errorf("%s%s has no help", path, o.Name)
			}
			walk(path+o.Name+".", o.Fields)
		}
	}
	walk("", config.Schema())
}

func FuzzLoad(f *testing.F) {
	f.Add(full)
	f.Add(base)
	f.Add("a: &x [*x]\n? b\n: !!c d\n<<: *x\n")
	set := plugins.All()
	f.Fuzz(func(t *testing.T, text string) {
		c, err := config.Load("inkan.yaml", []byte(text), set, config.Options{CAs: []string{"letsencrypt"}})
		if err != nil {
			if !errors.Is(err, inkan.Operator) {
				t.Errorf("kind %v: %v", inkan.KindOf(err), err)
			}
			return
		}
		for _, r := range c.Certificates {
			if err := r.Check(); err != nil {
				t.Errorf("a request that was loaded is refused: %v", err)
			}
		}
	})
}
