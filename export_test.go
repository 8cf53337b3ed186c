package inkan

import "context"

// PutJournal leaves a journal behind as a killed process does.
func PutJournal(ctx context.Context, s Store, o OrderRecord) error {
	return newJournal(s, o).create(ctx)
}
