package inkan

import (
	"fmt"
	"strings"
	"time"
)

// CheckKey reports whether key may be a key of a Store: see [Store].
func CheckKey(key string) error {
	if len(key) == 0 || len(key) > 1024 {
		return fmt.Errorf("key of %d bytes; 1 to 1024 are allowed", len(key))
	}
	for element := range strings.SplitSeq(key, "/") {
		if element == "" || element == "." || element == ".." || len(element) > 255 {
			return fmt.Errorf("key %q has a bad element %q", key, element)
		}
	}
	for i := range len(key) {
		switch c := key[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("._-/", c) >= 0:
		default:
			return fmt.Errorf("key %q has a byte that no key may have", key)
		}
	}
	return nil
}

// The keys of the shared Store. Only checked names, ids and hashes become part
// of one.
const (
	requestPrefix = "request/"
	ordersPrefix  = "orders/"
	namesPrefix   = "names/"
	eventsPrefix  = "events/"
)

func requestKey(name string) string { return requestPrefix + name }
func stateKey(name string) string   { return "state/" + name }
func currentKey(name string) string { return "current/" + name }

func orderKey(name, attempt string, kt KeyType) string {
	return ordersPrefix + name + "/" + attempt + "-" + string(kt)
}

func versionPrefix(name string, seq uint64, id string) string {
	return fmt.Sprintf("v/%s/%010d-%s/", name, seq, id)
}

func certKey(name string, seq uint64, id string, kt KeyType) string {
	return versionPrefix(name, seq, id) + string(kt) + "/cert"
}

func keyKey(name string, seq uint64, id string, kt KeyType) string {
	return versionPrefix(name, seq, id) + string(kt) + "/key"
}

// hintKey leads from an identifier to a certificate name. "*." is written "_."
// and ":" is written "-", as in certificate names.
func hintKey(id Identifier, name string) string { return namesPrefix + hintElement(id) + "/" + name }

func hintElement(id Identifier) string {
	if base, ok := strings.CutPrefix(id.Value, "*."); ok {
		return "_." + base
	}
	return strings.ReplaceAll(id.Value, ":", "-")
}

func accountKey(ca, account string) string { return "accounts/" + ca + "/" + account }

func eventKey(at time.Time, id string) string {
	at = at.UTC()
	return eventsPrefix + at.Format("20060102/150405.000") + "-" + id
}

// The keys of the Host store.
func deployedKey(target, name string) string { return "deployed/" + target + "/" + name }
func givenKeyKey(spki string) string         { return "keys/" + spki }
