package cli

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/doctor"
	"github.com/inkan-acme/inkan/internal/testdns"
)

// TestA20FailureTellsWhatTheDNSSays: after a refusal the findings stand among
// the hints; the message, the kind and the other hints stay as they were.
func TestA20FailureTellsWhatTheDNSSays(t *testing.T) {
	zones := testdns.NewMemory(t, testdns.Zone{Name: "example.", Records: []string{"ns A 127.0.0.1", "www A 127.0.0.1", `@ CAA 0 issue "other.example"`}})
	resolver := testdns.Fake(t, "127.0.0.1:0", zones.Resolver)
	d := &doctor.Doctor{Resolvers: []string{resolver}}
	ca := &doctor.CA{Record: inkan.AccountRecord{Directory: []byte(`{"meta":{"caaIdentities":["mine.example"]}}`)}}
	id := inkan.Identifier{Type: inkan.DNS, Value: "www.example"}
	req := &inkan.CertificateRequest{Identifiers: []inkan.Identifier{id}, Validations: []inkan.Validation{{Type: inkan.HTTP01, Solver: "web"}}}
	refused := &inkan.RefusedError{Refusals: []inkan.Refusal{{Identifier: id, Type: inkan.HTTP01}}, Err: errors.New("caa: no")}
	cause := inkan.Errorf(inkan.Rejected, "order at ca.example", "%w", refused).WithHint("ask the zone's owner")
	err := quickFindings(t.Context(), d, ca, req, refused, cause)
	hints := inkan.HintsOf(err)
	if err.Error() != cause.Error() || inkan.KindOf(err) != inkan.Rejected || len(hints) != 2 || !slices.Contains(hints, "ask the zone's owner") ||
		!strings.HasPrefix(hints[0], `www.example: at example stands issue "other.example"; this CA goes by mine.example; add the record: example CAA 0 issue "mine.example"`) {
		t.Errorf("%v, hints %q", err, hints)
	}
	if !errors.Is(err, cause) {
		t.Error("the cause is gone")
	}
	ca.Record.Directory = []byte(`{"meta":{"caaIdentities":["other.example"]}}`)
	if err := quickFindings(t.Context(), d, ca, req, refused, cause); err != error(cause) {
		t.Errorf("nothing was found, and the error is %v", err)
	}
	// What no CA refused is left as it is, and nobody is asked.
	plain := errors.New("the disk is full")
	if err := testApp().withFindings(t.Context(), nil, "x", plain); err != plain {
		t.Errorf("%v", err)
	}
}
