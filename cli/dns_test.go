package cli

import "testing"

// The account's URL is the CA's word, and becomes part of records.
func TestAccountURLInRecords(t *testing.T) {
	for url, want := range map[string]bool{
		"https://acme-v02.api.letsencrypt.org/acme/acct/123":       true,
		"https://ca.example/acct/a_b~c?x=1&y=%20":                  true,
		`https://ca.example/a" 0 IN CAA 0 issue "evil.example`:     false,
		"https://ca.example/1; validationmethods=http-01":          false,
		"https://ca.example/1;policy=wildcard":                     false,
		"https://ca.example/\\\"":                                  false,
		"https://ca.example/\xc3\xa9":                              false,
		"https://ca.example/1\nexample.org. 0 IN CAA 0 issue evil": false,
	} {
		if got := inRecord(url); got != want {
			t.Errorf("%q: %v, want %v", url, got, want)
		}
	}
}
