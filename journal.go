package inkan

import (
	"context"
	"time"
)

// Journal is the durable record of one order (one pair of a certificate).
//
// Update reads the record, lets change edit it and writes it back by
// compare-and-swap. The issuer and the key maker write concurrently, so change may
// be called more than once: it must only edit the record it is given. When Update
// returns nil, the new record is durable. A Journal is safe for concurrent use.
type Journal interface {
	Load(ctx context.Context) (OrderRecord, error)
	Update(ctx context.Context, change func(*OrderRecord)) error
}

// OrderRecord is what a Journal keeps.
type OrderRecord struct {
	Name      string  `json:"name"`
	Attempt   string  `json:"attempt"` // the attempt id, shared by the pairs of one version
	KeyType   KeyType `json:"key_type"`
	Base      uint64  `json:"base"` // the n of current when the order was planned: the fencing token
	OrderHash string  `json:"ask"`
	CA        string  `json:"ca"`
	Account   string  `json:"account"`
	Replaces  string  `json:"replaces,omitempty"` // ARI certificate id sent in the order (RFC 9773 section 4.1)

	Identifiers []Identifier `json:"identifiers"`
	Tokens      []string     `json:"tokens,omitempty"` // keys of the limit buckets of which this order holds a token, or in which its failure counts
	OrderURL    string       `json:"order_url,omitempty"`
	Challenges  []Challenge  `json:"challenges,omitempty"`
	CSR         []byte       `json:"csr,omitempty"` // DER
	Key         *StoredKey   `json:"key,omitempty"` // exactly as it will be stored; nil with the user's own CSR
	Finalizing  bool         `json:"finalizing,omitempty"`

	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"` // what the CA said of the order
}
