package state

import (
	"github.com/inkan-acme/inkan"
)

// A StoredKey refuses to become JSON. Before a record is written to a Store, one of
// these types replaces it or shadows its field.

type writtenKey struct {
	Form string `json:"form"`
	Data []byte `json:"data"`
	SPKI string `json:"spki,omitempty"`
}

type writtenOrder struct {
	inkan.OrderRecord
	Key *writtenKey `json:"key,omitempty"`
}

type writtenAccount struct {
	inkan.AccountRecord
	Key  *writtenKey `json:"key"`
	Next *writtenKey `json:"next,omitempty"`
}

func written(k *inkan.StoredKey) *writtenKey {
	if k == nil {
		return nil
	}
	return &writtenKey{k.Form, k.Data, k.SPKI}
}

// storable returns what is written in the place of a record.
func storable(v any) any {
	switch r := v.(type) {
	case *inkan.StoredKey:
		return written(r)
	case inkan.OrderRecord:
		return writtenOrder{r, written(r.Key)}
	case inkan.AccountRecord:
		return writtenAccount{r, written(r.Key), written(r.Next)}
	}
	return v
}
