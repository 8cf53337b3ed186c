package inkan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// FuzzJournal: whatever a journal and a state hold under a sound checksum, also
// what another version or a hostile writer left there (H13), looking at the
// certificate gives an answer or an error that a terminal can show, and writes
// nothing outside its place.
func FuzzJournal(f *testing.F) {
	sample := OrderRecord{Name: "a.example", Attempt: "0123456789abcdef", KeyType: ECDSAP256, Base: 1, CA: "test", Account: "default", OrderURL: "https://ca.example/o/1",
		Identifiers: []Identifier{{DNS, "a.example"}}, Challenges: []Challenge{{Type: HTTP01, Token: "t", Solver: "web", Undo: Undo(`"x"`)}},
		CSR: []byte{1}, Key: &StoredKey{Form: PlainKey, Data: []byte("k")}, Finalizing: true, Created: time.Unix(1, 0).UTC()}
	var order []byte
	data, err := seal(sample, 1, "id")
	if err == nil {
		var e struct{ Body json.RawMessage }
		err = json.Unmarshal(data, &e)
		order = e.Body
	}
	if err != nil {
		f.Fatal(err)
	}
	work, err := json.Marshal(sampleState())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(order, work)
	f.Add([]byte(`{"name":"../../etc","attempt":"x/y","key":{"form":"\u001b[31m","data":"!"}}`), []byte(`{"running":"0123456789abcdef","due":"due/../x","lease":{"owner":{"pid":-1}}}`))
	f.Add([]byte(`{"expires":"9999-12-31T23:59:59Z","challenges":[null,{}]}`), []byte(`{"attempts":-9223372036854775808,"not_before":"0001-01-01T00:00:00Z"}`))
	f.Add([]byte(`null`), []byte(`[]`))
	f.Fuzz(func(t *testing.T, order, work []byte) {
		ctx := t.Context()
		s := newFakeStore()
		putSound(t, s, orderKey("a.example", "0123456789abcdef", ECDSAP256), order)
		putSound(t, s, stateKey("a.example"), work)
		if err := keep(ctx, s, requestKey("a.example"), RequestRecord{CertificateRequest: CertificateRequest{Name: "a.example", Identifiers: []Identifier{{DNS, "a.example"}}}}, "id"); err != nil {
			t.Fatal(err)
		}
		s.before = func(op, key string) error {
			if op != "get" && op != "list" {
				t.Errorf("looking does %s %s", op, key)
			}
			return nil
		}
		m := &Manager{Store: s, Host: newFakeStore(), Now: func() time.Time { return time.Unix(1800000000, 0) }}
		shown := func(what string, err error) {
			if err != nil && strings.ContainsFunc(Printable(err.Error(), 4096), hidden) {
				t.Errorf("%s: error %q", what, err)
			}
		}
		o, err := m.Observe(ctx, "a.example")
		shown("observe", err)
		if damaged := new(DamagedError); err != nil && !errors.As(err, &damaged) && KindOf(err) != Operator {
			t.Errorf("observe: %v", err)
		}
		if err == nil {
			for _, j := range o.Orders {
				if j.Key != nil {
					_, err := j.Key.Open()
					shown("key", err)
				}
			}
		}
		_, err = m.Plan(ctx, PlanOptions{})
		shown("plan", err)
		_, err = m.Verify(ctx, false)
		shown("verify", err)
	})
}

// putSound puts body at key under an envelope that fits it.
func putSound(t *testing.T, s *fakeStore, key string, body []byte) {
	t.Helper()
	if !json.Valid(body) {
		body, _ = json.Marshal(string(body)) // a string is always valid
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, body); err != nil {
		t.Fatal(err)
	}
	body = compact.Bytes()
	s.set(key, fmt.Appendf(nil, `{"inkan":1,"counter":1,"write":"id","sum":%q,"body":%s}`, sumOf(body), body))
}

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

// FuzzDueKey: no key in the index leads to a name that is none, nor to a due
// instant that sorts elsewhere.
func FuzzDueKey(f *testing.F) {
	f.Add(dueKey(certQueue, time.Unix(1800000000, 0), "a.example"))
	f.Add("due/cert/0/20261122/12/0000-../x-01234567")
	f.Add("due/cert/0/99999999/99/9999--01234567")
	f.Fuzz(func(t *testing.T, key string) {
		at, name, err := parseDue(key, certQueue)
		if err != nil {
			return
		}
		if err := CheckName(name); err != nil {
			t.Errorf("%q leads to the name %q: %v", key, name, err)
		}
		again := dueKey(certQueue, at, name)
		if len(again) != len(key) || again[:len(again)-8] != key[:len(key)-8] {
			t.Errorf("%q is due at %v, and then is %q", key, at, again)
		}
	})
}
