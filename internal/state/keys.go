package state

import (
	"fmt"
	"strings"

	"github.com/inkan-acme/inkan"
)

// The families of keys by their first element; [Families] tells what stands there.
// Only checked names, ids and hashes become part of a key.
const (
	FamilyMeta     = "meta/"
	FamilyRequest  = "request/"
	FamilyState    = "state/"
	FamilyOrders   = "orders/"
	FamilyVersion  = "v/"
	FamilyCurrent  = "current/"
	FamilyNames    = "names/"
	FamilyAccounts = "accounts/"
	FamilyLimits   = "limits/"
	FamilyDue      = "due/"
	FamilyEvents   = "events/"
	FamilyDamaged  = "damaged/"
	FamilyKeys     = "keys/"
	FamilyDeployed = "deployed/"
)

// RequestKey is the key of a certificate's request.
func RequestKey(name string) string { return FamilyRequest + name }

// StateKey is the key of a certificate's state.
func StateKey(name string) string { return FamilyState + name }

// CurrentKey is the key of a certificate's pointer to the version in force.
func CurrentKey(name string) string { return FamilyCurrent + name }

// OrdersPrefix is what the keys of a certificate's journals begin with.
func OrdersPrefix(name string) string { return FamilyOrders + name + "/" }

// OrderKey is the key of the journal of one order.
func OrderKey(name, attempt string, kt inkan.KeyType) string {
	return OrdersPrefix(name) + attempt + "-" + string(kt)
}

// VersionsPrefix is what the keys of a certificate's versions begin with.
func VersionsPrefix(name string) string { return FamilyVersion + name + "/" }

// VersionID names one version of one certificate.
type VersionID struct {
	Name string
	Seq  uint64
	ID   string // of the attempt that made it
}

// ParseVersion takes "<seq>-<id>" apart.
func ParseVersion(name, dir string) (VersionID, error) {
	v := VersionID{Name: name}
	if _, err := fmt.Sscanf(dir, "%010d-%s", &v.Seq, &v.ID); err != nil || v.Dir() != dir {
		return v, inkan.Errorf(inkan.Bug, "certificate "+name, "%q is not a version", inkan.Printable(dir, 80))
	}
	return v, nil
}

// Dir returns "<seq>-<id>".
func (v VersionID) Dir() string { return fmt.Sprintf("%010d-%s", v.Seq, v.ID) }

// Prefix is what the keys of the version begin with.
func (v VersionID) Prefix() string { return VersionsPrefix(v.Name) + v.Dir() + "/" }

// Cert is the key of the certificate of one pair.
func (v VersionID) Cert(kt inkan.KeyType) string { return v.Prefix() + string(kt) + "/cert" }

// Key is the key of the private key of one pair, as it was first stored.
func (v VersionID) Key(kt inkan.KeyType) string { return v.Prefix() + string(kt) + "/key" }

// SealedKey is the key of the private key of one pair that was sealed again; sum
// is the checksum of what is stored there.
func (v VersionID) SealedKey(kt inkan.KeyType, sum string) string {
	return v.Key(kt) + "-" + sum[:min(16, len(sum))]
}

// NameIndexPrefix is what the keys of the hints for an identifier begin with; the
// name of a certificate follows. "*." is written "_." and ":" is written "-", as
// in certificate names.
func NameIndexPrefix(id inkan.Identifier) string {
	element := strings.ReplaceAll(id.Value, ":", "-")
	if base, ok := strings.CutPrefix(id.Value, "*."); ok {
		element = "_." + base
	}
	return FamilyNames + element + "/"
}

// NameIndexKey leads from an identifier to a certificate name.
func NameIndexKey(id inkan.Identifier, name string) string { return NameIndexPrefix(id) + name }

// AccountKey is the key of an account at a CA.
func AccountKey(ca, account string) string { return FamilyAccounts + ca + "/" + account }

// DeployedKey is the key in the Host store of a certificate at a target.
func DeployedKey(target, name string) string { return FamilyDeployed + target + "/" + name }

// ParseDeployed takes a key of [DeployedKey] apart.
func ParseDeployed(key string) (target, name string, ok bool) {
	rest, ok := strings.CutPrefix(key, FamilyDeployed)
	target, name, cut := strings.Cut(rest, "/")
	return target, name, ok && cut
}

// GivenKey is the key in the Host store of a private key that somebody brought
// along, by the hash of its public key.
func GivenKey(spki string) string { return FamilyKeys + spki }
