package state

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/inkan-acme/inkan"
)

// TestN01StoredKeyForm: a Store gets the bytes it always got, and nobody else
// gets any, not even a placeholder that could be kept for the key.
func TestN01StoredKeyForm(t *testing.T) {
	k := &inkan.StoredKey{Form: inkan.PlainKey, Data: []byte("k")}
	n := &inkan.StoredKey{Form: "box", Data: []byte("n")}
	const jsonK, jsonN = `{"form":"plain","data":"aw=="}`, `{"form":"box","data":"bg=="}`
	for _, c := range []struct {
		v    any
		want string
	}{
		{k, jsonK},
		{inkan.OrderRecord{Name: "a", Key: k}, `"identifiers":null,"created":"0001-01-01T00:00:00Z","key":` + jsonK},
		{inkan.OrderRecord{Name: "a"}, `"identifiers":null,"created":`},
		{inkan.AccountRecord{Key: k, Next: n}, `{"created":"0001-01-01T00:00:00Z","key":` + jsonK + `,"next":` + jsonN},
		{inkan.AccountRecord{}, `{"created":"0001-01-01T00:00:00Z","key":null`},
	} {
		data, _, err := encode(c.v, 1, "id")
		if err != nil || !strings.Contains(string(data), c.want) {
			t.Errorf("%T: %v, %s", c.v, err, data)
		}
	}
	for _, v := range []any{k, *k, inkan.OrderRecord{Key: k}, &inkan.AccountRecord{Key: k}, inkan.Pair{Key: k}} {
		if data, err := json.Marshal(v); err == nil || strings.Contains(err.Error(), "aw==") {
			t.Errorf("%T became %s, %v", v, data, err)
		}
	}
	var back inkan.AccountRecord
	data, _, err := encode(inkan.AccountRecord{Key: k, Next: n}, 1, "id")
	if err == nil {
		_, err = Decode("accounts/a", data, &back)
	}
	if err != nil || !back.Key.Equal(k) || !back.Next.Equal(n) {
		t.Errorf("read back: %v", err)
	}
	if data, err := json.Marshal(back); err == nil {
		t.Errorf("what was read shows itself: %s", data)
	}
}
