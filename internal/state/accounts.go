package state

import (
	"context"
	"iter"
	"strings"

	"github.com/inkan-acme/inkan"
)

// AccountNames yields the accounts on record as CA and account, in their order;
// those of one CA, if ca is not empty.
func AccountNames(ctx context.Context, s inkan.Store, ca string) iter.Seq2[[2]string, error] {
	prefix := FamilyAccounts
	if ca != "" {
		prefix += ca + "/"
	}
	return func(yield func([2]string, error) bool) {
		for key, err := range s.List(ctx, prefix, "") {
			ca, account, _ := strings.Cut(strings.TrimPrefix(key, FamilyAccounts), "/")
			if !yield([2]string{ca, account}, err) || err != nil {
				return
			}
		}
	}
}
