package inkan

import (
	"strings"
	"testing"
)

// FuzzParseKey: an error that holds nothing of the input, or a key of a kind that
// is known and reads back as itself.
func FuzzParseKey(f *testing.F) {
	for _, kt := range []KeyType{ECDSAP256, Ed25519} {
		data, err := testKey(f, kt).PEM()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"))
	f.Add([]byte("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n"))
	f.Add([]byte("-----BEGIN RSA PRIVATE KEY-----\n\n-----END RSA PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := ParseKey(data)
		if err != nil {
			if KindOf(err) != Operator || len(err.Error()) > 200 || strings.ContainsFunc(err.Error(), hidden) {
				t.Errorf("error %q of kind %v", err, KindOf(err))
			}
			return
		}
		again, err := k.PEM()
		if err != nil {
			t.Fatal(err)
		}
		k2, err := ParseKey(again)
		if err != nil {
			t.Fatalf("written again it is refused: %v", err)
		}
		a, errA := SPKIHash(k.Public())
		b, errB := SPKIHash(k2.Public())
		if errA != nil || errB != nil || a != b {
			t.Errorf("it reads back as another key: %v %v", errA, errB)
		}
	})
}

// FuzzParseCSR: what is accepted names canonical identifiers and nothing else.
func FuzzParseCSR(f *testing.F) {
	ids := []Identifier{{DNS, "a.example"}, {IP, "192.0.2.1"}}
	der, err := NewCSR(testKey(f, ECDSAP256), ids)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(der)
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"))
	f.Add([]byte("-----BEGIN CERTIFICATE\x1b-----\nAAAA\n-----END CERTIFICATE\x1b-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		der, ids, kt, err := ParseCSR(data)
		if err != nil {
			if strings.ContainsFunc(err.Error(), hidden) {
				t.Errorf("error %q", err)
			}
			return
		}
		if len(der) == 0 || !kt.Valid() {
			t.Errorf("key type %q of %d bytes", kt, len(der))
		}
		for _, id := range ids {
			if again, err := ParseIdentifier(id.Value); err != nil || again != id {
				t.Errorf("identifier %v reads as %v, %v", id, again, err)
			}
		}
	})
}
