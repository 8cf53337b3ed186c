package state

import (
	"slices"
	"strings"

	"github.com/inkan-acme/inkan"
)

// Where says which store a family of keys is in.
type Where string

// The stores.
const (
	InStore Where = "Store" // shared by everybody who works on the same certificates
	InHost  Where = "Host"  // of one machine
)

// Loss says what a damaged value of a family means.
type Loss int

// What a damaged value means.
const (
	Kept      Loss = iota // only a backup has it
	Forgotten             // the next run does without it
	Rebuilt               // Verify makes another one
	Replaced              // once it is out of the way, it can be given again (Family.Again)
)

// Family is one family of keys: all that begin with the same element. What is
// known about keys (which there are, who reads them, what stands there, what to
// do about damage) is in [Families] and nowhere else.
type Family struct {
	Name    string // the first element, with its slash: "request/"
	Store   Where
	Pattern string // what follows, for people: "<name>"
	Holds   string // for people
	Lives   string // for people: until when a value is there
	// Read: a machine that only serves or deploys what others obtain reads it.
	Read bool
	// Raw: the value has no envelope, and other programs may read it.
	Raw   bool
	Loss  Loss
	Again string // for people: how a Replaced value is given again

	record      func(key string) any     // an empty record of the kind that stands at key; nil if none does
	certificate func(rest string) string // the certificate that a key without its family speaks of; nil: of none
}

// Families returns every family of keys there is, in the order of the
// documentation.
func Families() []Family {
	whole := func(rest string) string { return rest }
	first := func(rest string) string { name, _, _ := strings.Cut(rest, "/"); return name }
	as := func(make func() any) func(string) any { return func(string) any { return make() } }
	return []Family{
		{Name: FamilyMeta, Store: InStore, Pattern: "store", Holds: "the id of this Store, under which signatures and followers know it", Lives: "for ever",
			Read: true, Loss: Replaced, Again: "the next request makes another id", record: as(func() any { return new(StoreRecord) })},
		{Name: FamilyRequest, Store: InStore, Pattern: "<name>", Holds: "the request, its origin and source, a generation; `deleted` makes it a tombstone, `unmanaged` stops renewal", Lives: "for ever",
			Loss: Replaced, Again: "ask for the certificate again under this name", record: as(func() any { return new(inkan.RequestRecord) }), certificate: whole},
		{Name: FamilyState, Store: InStore, Pattern: "<name>", Holds: "the one mutable record of the work: the due entry in force, attempts, last error, the CA's advice, the running attempt, its lease, the keys of recent events", Lives: "for ever",
			Loss: Rebuilt, record: as(func() any { return new(inkan.State) }), certificate: whole},
		{Name: FamilyOrders, Store: InStore, Pattern: "<name>/<attempt>-<key type>", Holds: "journal of one order: `base`, order hash, CA, account, order URL, challenges, CSR, key, tokens of limits, finalizing", Lives: "until the order has ended",
			Loss: Forgotten, record: as(func() any { return new(inkan.OrderRecord) }), certificate: first},
		{Name: FamilyVersion, Store: InStore, Pattern: "<name>/<seq>-<attempt>/<key type>/cert, .../key", Holds: "the version, created once; `.../key-<16 hex>` is its key sealed again", Lives: "until it is pruned or deleted",
			Read: true, record: versionRecord, certificate: first},
		{Name: FamilyCurrent, Store: InStore, Pattern: "<name>", Holds: "`{n, k, seq, top, id, at, pairs}`: the commit point. `top` is the highest `seq` ever published, `k` counts how often its keys were sealed again", Lives: "for ever",
			Read: true, Loss: Rebuilt, record: as(func() any { return new(inkan.Current) }), certificate: whole},
		{Name: FamilyNames, Store: InStore, Pattern: "<identifier>/<name>", Holds: "hint from a server name to a certificate; always checked against the certificate", Lives: "while the version in force has the name",
			Read: true, Loss: Forgotten, record: as(func() any { return new(string) })},
		{Name: FamilyAccounts, Store: InStore, Pattern: "<ca>/<account>", Holds: "account key, the next one during a rollover, URL, contacts, terms agreed to, whether it was deactivated, the CA's directory as last read", Lives: "for ever",
			Loss: Replaced, Again: "inkan account import with a copy of its key, or inkan account register", record: as(func() any { return new(inkan.AccountRecord) })},
		{Name: FamilyLimits, Store: InStore, Pattern: "<ca>/...", Holds: "one token bucket; absent means full", Lives: "for ever",
			Loss: Rebuilt, record: as(func() any { return new(Bucket) })},
		{Name: FamilyDue, Store: InStore, Pattern: "cert/<shard>/<yyyymmdd>/<hh>/<mmss>-<name>-<8 hex>", Holds: "ordered index of what to look at; the shard is `0`; keys of another are known and left alone", Lives: "until it is met",
			Loss: Rebuilt, record: as(func() any { return new(struct{}) }), certificate: dueName(CertQueue)},
		{Name: FamilyEvents, Store: InStore, Pattern: "<yyyymmdd>/<hhmmss.mmm>-<id>_<kind>_<name>", Holds: "history, created once; the time is that of the fact, so a repeat after a crash is the same key", Lives: "for ever, so far",
			Read: true, Loss: Forgotten, record: as(func() any { return new(inkan.Event) })},
		{Name: FamilyDamaged, Store: InStore, Pattern: "<key>-<8 hex>", Holds: "copy of a value whose checksum failed", Lives: "until somebody deletes it", Raw: true},
		{Name: ".well-known/", Store: InStore, Pattern: "acme-challenge/<token>", Holds: "answer to http-01 (solver `http-01`)", Lives: "while the order runs", Read: true, Raw: true, Loss: Forgotten},
		{Name: "tls-alpn-01/", Store: InStore, Pattern: "<server name>", Holds: "the proof that is shown for a name, or nothing (solver `tls-alpn`)", Lives: "for ever", Read: true, Raw: true, Loss: Forgotten},

		{Name: HostTargets + "/", Store: InHost, Pattern: "<name>", Holds: "a target that was given on the command line", Lives: "for ever",
			Loss: Replaced, Again: "give the options again", record: as(func() any { return new(inkan.HostRecord) })},
		{Name: HostSolvers + "/", Store: InHost, Pattern: "<name>", Holds: "a solver that was given on the command line", Lives: "for ever",
			Loss: Replaced, Again: "give the options again", record: as(func() any { return new(inkan.HostRecord) })},
		{Name: HostCAs + "/", Store: InHost, Pattern: "<name>", Holds: "a CA that was given on the command line", Lives: "for ever",
			Loss: Replaced, Again: "give the options again", record: as(func() any { return new(inkan.HostRecord) })},
		{Name: FamilyKeys, Store: InHost, Pattern: "<hash>", Holds: "a private key that somebody brought along", Lives: "for ever",
			record: as(func() any { return new(inkan.StoredKey) })},
		{Name: FamilyDeployed, Store: InHost, Pattern: "<target>/<name>", Holds: "which `n` the target shall have and has, receipt, attempts, lease", Lives: "for ever",
			Loss: Forgotten, record: as(func() any { return new(inkan.Deployed) })},
		{Name: FamilyDue, Store: InHost, Pattern: "host/<shard>/...", Holds: "the same index, for deployments", Lives: "until it is met",
			Loss: Forgotten, record: as(func() any { return new(struct{}) }), certificate: dueName(HostQueue)},
		{Name: FamilyDamaged, Store: InHost, Pattern: "<key>-<8 hex>", Holds: "copy of a value whose checksum failed", Lives: "until somebody deletes it", Raw: true},
	}
}

// FamilyOf returns the family of a key in a store; false for a key of none,
// which another program or a newer Inkan wrote.
func FamilyOf(where Where, key string) (Family, bool) {
	name, _, _ := strings.Cut(key, "/")
	families := Families()
	i := slices.IndexFunc(families, func(f Family) bool { return f.Store == where && f.Name == name+"/" })
	if i < 0 {
		return Family{}, false
	}
	return families[i], true
}

// Certificate returns the certificate that key, one of the family, speaks of;
// "" if it speaks of none.
func (f Family) Certificate(key string) string {
	if f.certificate == nil {
		return ""
	}
	return f.certificate(strings.TrimPrefix(key, f.Name))
}

// Check reports damage of a value of the family: an envelope that does not fit
// its content, or content that does not belong there. Of a raw value it knows
// nothing.
func (f Family) Check(key string, data []byte) error {
	if f.Raw || f.record == nil {
		return nil
	}
	_, err := Decode(key, data, f.record(key))
	return err
}

// ChallengeKeys is what the keys of the answers to http-01 begin with.
const ChallengeKeys = ".well-known/acme-challenge/"

// ReadKeys returns the prefixes that a machine must be able to read if it only
// serves or deploys what others obtain.
func ReadKeys() []string {
	var prefixes []string
	for _, f := range Families() {
		if f.Store == InStore && f.Read {
			prefixes = append(prefixes, f.Name)
		}
	}
	return prefixes
}

func versionRecord(key string) any {
	if strings.HasSuffix(key, "/cert") {
		return new(CertValue)
	}
	return new(inkan.StoredKey)
}

func dueName(queue string) func(string) string {
	return func(rest string) string {
		_, name, err := ParseDue(FamilyDue+rest, queue)
		if err != nil {
			return ""
		}
		return name
	}
}
