package acme

import "time"

// Fact is something published about a CA that its directory does not tell.
type Fact struct {
	About  string `json:"about"` // "wildcards", "lifetime" ...
	Text   string `json:"text"`
	Source string `json:"source"` // the page that says so
}

// The pages that the records below were taken from in November 2026.
const (
	letsEncryptGuide      = "https://letsencrypt.org/docs/integration-guide/"
	letsEncryptChallenges = "https://letsencrypt.org/docs/challenge-types/"
	letsEncryptProfiles   = "https://letsencrypt.org/docs/profiles/"
	googleTutorial        = "https://cloud.google.com/certificate-manager/docs/public-ca-tutorial"
	googlePractices       = "https://pki.goog/updates/september2025-acme-best-practices.html"
	caComparison          = "https://poshac.me/docs/v4/Guides/ACME-CA-Comparison/"
	legoServers           = "https://go-acme.github.io/lego/advanced/caservers/"
	sectigoGuide          = "https://docs.sectigo.com/caas/caas-api-guide/quick-start-api.html"
	sectigoOverview       = "https://docs.sectigo.com/scm/acme-integration-docs/1/eab-clients-sectigo-acme-service-architecture-overview.html"
	actalisGuide          = "https://guide.actalis.com/ssl-certificate/acme.aspx"
)

// KnownCAs returns the CAs that are built in, the default first. A CA that
// gives each customer a URL of their own (AWS, DigiCert, HARICA) is not among
// them.
func KnownCAs() []CA {
	return []CA{
		{
			// URL: https://letsencrypt.org/getting-started/
			Name:      "letsencrypt",
			Title:     "Let's Encrypt",
			Directory: "https://acme-v02.api.letsencrypt.org/directory",
			Source:    "https://letsencrypt.org/docs/rate-limits/",
			Limits: letsEncryptEndpoints(Limits{
				Orders:   Quota{300, 36 * time.Second},
				Domain:   Quota{50, 202 * time.Minute},
				Set:      Quota{5, 34 * time.Hour},
				Failures: Quota{5, 12 * time.Minute},
			}),
			Facts: letsEncryptFacts(),
		},
		{
			// URL and limits: https://letsencrypt.org/docs/staging-environment/
			Name:      "letsencrypt-staging",
			Title:     "Let's Encrypt (staging)",
			Directory: "https://acme-staging-v02.api.letsencrypt.org/directory",
			Source:    "https://letsencrypt.org/docs/staging-environment/",
			Staging:   true,
			Limits: letsEncryptEndpoints(Limits{
				Orders:   Quota{1500, 3 * time.Hour / 1500},
				Domain:   Quota{30000, 7 * 24 * time.Hour / 30000},
				Set:      Quota{30000, 7 * 24 * time.Hour / 30000},
				Failures: Quota{200, time.Hour / 200},
			}),
			Facts: letsEncryptFacts(),
		},
		{
			Name:        "google",
			Title:       "Google Trust Services",
			Directory:   "https://dv.acme-v02.api.pki.goog/directory",
			Source:      googleTutorial,
			EABRequired: true,
			Facts:       googleFacts(),
		},
		{
			Name:        "google-staging",
			Title:       "Google Trust Services (staging)",
			Directory:   "https://dv.acme-v02.test-api.pki.goog/directory",
			Source:      googleTutorial,
			Staging:     true,
			EABRequired: true,
			Facts:       googleFacts(),
		},
		{
			Name:        "zerossl",
			Title:       "ZeroSSL",
			Directory:   "https://acme.zerossl.com/v2/DV90",
			Source:      "https://zerossl.com/documentation/acme/",
			EABRequired: true,
			Facts: []Fact{
				{"names", "100 and more in a certificate", caComparison},
				{"wildcards", "yes", caComparison},
				{"IP addresses", "not by ACME", caComparison},
				{"lifetime", "90 days", caComparison},
				{"key change", "none: an account keeps its key", caComparison},
			},
		},
		{
			// The page for each key type has a URL of its own: this one signs
			// ECDSA certificates.
			Name:        "sslcom",
			Title:       "SSL.com (ECDSA)",
			Directory:   "https://acme.ssl.com/sslcom-dv-ecc",
			Source:      legoServers,
			EABRequired: true,
			Facts:       append([]Fact{{"key types", "ECDSA; sslcom-rsa is for RSA", legoServers}}, sslcomFacts()...),
		},
		{
			Name:        "sslcom-rsa",
			Title:       "SSL.com (RSA)",
			Directory:   "https://acme.ssl.com/sslcom-dv-rsa",
			Source:      legoServers,
			EABRequired: true,
			Facts:       append([]Fact{{"key types", "RSA; sslcom is for ECDSA", legoServers}}, sslcomFacts()...),
		},
		{
			Name:        "actalis",
			Title:       "Actalis",
			Directory:   "https://acme-api.actalis.com/acme/directory",
			Source:      legoServers,
			EABRequired: true,
			Facts: []Fact{
				{"names", "one name with its www; up to five sites in a bought SAN certificate", actalisGuide},
				{"wildcards", "none by ACME", caComparison},
			},
		},
		{
			Name:        "sectigo",
			Title:       "Sectigo (DV)",
			Directory:   "https://acme.sectigo.com/v2/DV",
			Source:      sectigoGuide,
			EABRequired: true,
			Facts: []Fact{
				{"validation", "none is asked for names that were validated in Sectigo's portal", sectigoOverview},
				{"price", "paid", sectigoGuide},
			},
		},
		{
			Name:        "globalsign",
			Title:       "GlobalSign Atlas (EMEA)",
			Directory:   "https://emea.acme.atlas.globalsign.com/directory",
			Source:      legoServers,
			EABRequired: true,
		},
	}
}

func letsEncryptFacts() []Fact {
	return []Fact{
		{"names", "100 in a certificate; 25 with the profiles tlsserver and shortlived", letsEncryptProfiles},
		{"wildcards", "by dns-01 only", letsEncryptChallenges},
		{"IP addresses", "with the profile shortlived", letsEncryptProfiles},
		{"challenges", "http-01, dns-01, tls-alpn-01", letsEncryptChallenges},
		{"key types", "RSA of 2048, 3072 and 4096 bits, ECDSA P-256 and P-384", letsEncryptGuide},
		{"lifetime", "90 days (64 from 2027-02-10), 45 with tlsserver, 160 hours with shortlived", letsEncryptProfiles},
	}
}

func googleFacts() []Fact {
	return []Fact{
		{"names", "100 and more in a certificate", caComparison},
		{"wildcards", "yes", caComparison},
		{"IP addresses", "none", caComparison},
		{"lifetime", "90 days, or what --lifetime asks for down to 1 day", caComparison},
		{"account", "an EAB key makes one account and must be used within 7 days", googleTutorial},
		{"challenges", "http-01 and tls-alpn-01 are the quickest; wildcards by dns-01", googlePractices},
	}
}

func sslcomFacts() []Fact {
	return []Fact{
		{"names", "one name with its www, if free of charge", caComparison},
		{"wildcards", "none free of charge", caComparison},
		{"lifetime", "90 days if free of charge", caComparison},
		{"price", "an account with funds is charged for a paid certificate of a year", caComparison},
		{"account", "wants an e-mail address, and refuses to finalize without one", caComparison},
		{"key change", "none: an account keeps its key", caComparison},
	}
}
