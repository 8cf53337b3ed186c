package machine

import (
	"context"
	"errors"
	"io/fs"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/internal/state"
	"github.com/inkan-acme/inkan/plug"
)

// LoadAccount returns what is on record, the zero value if nothing is.
func (m *Machine) LoadAccount(ctx context.Context, n Account) (inkan.AccountRecord, error) {
	s, _, err := m.Stores()
	if err != nil {
		return inkan.AccountRecord{}, err
	}
	rec, err := engine.Accounts(s, n.CA, n.Name).Load(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return rec, err
}

// Account names one account at one CA.
type Account struct{ CA, Name string }

// KeyUse is what the account's key is opened for.
func (a Account) KeyUse() inkan.KeyUse {
	return inkan.KeyUse{Account: true, Name: a.CA + "/" + a.Name}
}

// noAccount is an AccountStore without an account that keeps nothing.
type noAccount struct{}

func (noAccount) Load(context.Context) (inkan.AccountRecord, error) {
	return inkan.AccountRecord{}, fs.ErrNotExist
}

func (noAccount) Update(context.Context, func(*inkan.AccountRecord)) error {
	return errors.New("there is no account here")
}

// AccountOptions is what the command line says about an account.
type AccountOptions struct {
	Contacts     []string
	AgreeTerms   bool
	KeyType      inkan.KeyType
	EABKeyID     string
	EABKey       plug.Secret
	EABAlgorithm string
}

// Accounts returns the accounts on record, those of one CA if ca is not empty.
func (m *Machine) Accounts(ctx context.Context, ca string) ([]Account, error) {
	s, _, err := m.Stores()
	if err != nil {
		return nil, err
	}
	var list []Account
	for names, err := range state.AccountNames(ctx, s, ca) {
		if err != nil {
			return list, err
		}
		list = append(list, Account{CA: names[0], Name: names[1]})
	}
	return list, nil
}
