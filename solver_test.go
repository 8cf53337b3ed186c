package inkan

import (
	"testing"
)

// The example of draft-ietf-acme-dns-account-label section 3.2.
func TestDNSAccountLabel(t *testing.T) {
	if got := DNSAccountLabel("https://example.com/acme/acct/ExampleAccount"); got != "_ujmmovf2vn55tgye._acme-challenge" {
		t.Error(got)
	}
}
