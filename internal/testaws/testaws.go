// Package testaws holds the servers that the tests of aws/ talk to: versitygw,
// which is a real S3 server, and strict fakes of S3 and Route 53 that refuse
// what AWS refuses and fail in both ways, with the work done and not done.
package testaws

import (
	"net/http"
	"strings"
)

// The credentials that every server here takes.
const (
	AccessKey = "inkan-test"
	SecretKey = "inkan-test"
)

// accessKeyOf returns the access key that a request is signed with (Signature
// Version 4), or "".
func accessKeyOf(r *http.Request) string {
	_, credential, ok := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	if !ok || !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ") {
		return ""
	}
	key, _, _ := strings.Cut(credential, "/")
	return key
}
