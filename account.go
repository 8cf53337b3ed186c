package inkan

import (
	"context"
	"time"
)

// AccountStore is the durable record of one account at one CA. Load returns
// fs.ErrNotExist (errors.Is) while there is none. Update
// reads the record, or begins with the zero value when there is none, lets change
// edit it and writes it back by compare-and-swap, again if another writer was
// faster. Safe for concurrent use, by several processes too.
type AccountStore interface {
	Load(ctx context.Context) (AccountRecord, error)
	Update(ctx context.Context, change func(*AccountRecord)) error
}

// AccountRecord is what an AccountStore keeps. The key is durable before the
// CA hears of it, so that a lost reply never leads to a second account.
type AccountRecord struct {
	Key         *StoredKey `json:"key"`
	Next        *StoredKey `json:"next,omitempty"` // during a key rollover
	URL         string     `json:"url,omitempty"`  // empty until the CA has answered
	Contacts    []string   `json:"contacts,omitempty"`
	TermsAgreed string     `json:"terms_agreed,omitempty"` // the URL of the terms that were agreed to
	EABKeyID    string     `json:"eab_kid,omitempty"`
	Created     time.Time  `json:"created"`
	Deactivated time.Time  `json:"deactivated,omitzero"` // when the CA was asked to; the account is not used any more

	// Directory is the CA's directory object as last read, so that an order
	// needs no request for it. It is read again when an answer says it moved.
	Directory   []byte    `json:"directory,omitempty"`
	DirectoryAt time.Time `json:"directory_at,omitzero"`
}
