package state

import (
	"fmt"
	"strings"
	"time"

	"github.com/inkan-acme/inkan"
)

// The keys of the shared Store. Only checked names, ids and hashes become part
// of one.
const (
	RequestPrefix = "request/"
	OrdersPrefix  = "orders/"
	NamesPrefix   = "names/"
	EventsPrefix  = "events/"
)

func RequestKey(name string) string { return RequestPrefix + name }

func StateKey(name string) string { return "state/" + name }

func CurrentKey(name string) string { return "current/" + name }

func OrderKey(name, attempt string, kt inkan.KeyType) string {
	return OrdersPrefix + name + "/" + attempt + "-" + string(kt)
}

func VersionPrefix(name string, seq uint64, id string) string {
	return fmt.Sprintf("v/%s/%010d-%s/", name, seq, id)
}

func CertKey(name string, seq uint64, id string, kt inkan.KeyType) string {
	return VersionPrefix(name, seq, id) + string(kt) + "/cert"
}

func KeyKey(name string, seq uint64, id string, kt inkan.KeyType) string {
	return VersionPrefix(name, seq, id) + string(kt) + "/key"
}

// HintKey leads from an identifier to a certificate name. "*." is written "_."
// and ":" is written "-", as in certificate names.
func HintKey(id inkan.Identifier, name string) string {
	return NamesPrefix + HintElement(id) + "/" + name
}

func HintElement(id inkan.Identifier) string {
	if base, ok := strings.CutPrefix(id.Value, "*."); ok {
		return "_." + base
	}
	return strings.ReplaceAll(id.Value, ":", "-")
}

func AccountKey(ca, account string) string { return "accounts/" + ca + "/" + account }

func eventKey(at time.Time, id string) string {
	at = at.UTC()
	return EventsPrefix + at.Format("20060102/150405.000") + "-" + id
}

// The keys of the Host store.
func DeployedKey(target, name string) string { return "deployed/" + target + "/" + name }

func GivenKey(spki string) string { return "keys/" + spki }
