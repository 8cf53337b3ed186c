package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/dnspersist"
	"github.com/inkan-acme/inkan/machine"
	"github.com/inkan-acme/inkan/plug"
)

func (a *app) dnsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dns",
		Short: "Print the DNS records that a person publishes once",
		Args:  cobra.ArbitraryArgs,
		RunE:  subcommand,
	}
	cmd.AddCommand(a.dnsRecordsCommand())
	return cmd
}

// recordsFlags say which records are wanted.
type recordsFlags struct {
	requestFlags
	persist  bool
	delegate string
	caa      bool
	lifetime plug.Duration
	wildcard bool
	ttl      int
	format   string
}

func (a *app) dnsRecordsCommand() *cobra.Command {
	var r recordsFlags
	cmd := &cobra.Command{
		Use:   "records NAME...",
		Short: "Print what to publish for a certificate or for domain names",
		Long: `Prints DNS records for a person, or a tool, to publish once. NAME is a
certificate, then its names, CAs and account count, or a domain name.

Without a flag, or with --persist, these are the records of dns-persist-01:
with one of them this account, and no other, gets certificates for the name, at
every renewal, and nothing ever writes to the zone again. --wildcard, or a
wildcard among the names, lets it get wildcard certificates too; --for sets an
end.

--delegate ZONE prints the CNAME records that move the challenges of dns-01 into
another zone, to which alone Inkan may write.

--caa prints CAA records: no other CA, no other account and no other way of
validation gets certificates for the name. They come beside the CAA records that
stand already: look at those first.`,
		Args: someArgs(1, anyNumber, "the name of a certificate or a domain name"),
		RunE: func(cmd *cobra.Command, names []string) error { return a.dnsRecords(cmd.Context(), &r, names) },
	}
	f := cmd.Flags()
	r.addCA(f)
	r.addAccountName(f)
	f.BoolVar(&r.persist, "persist", false, "the records of dns-persist-01 (the default)")
	f.StringVar(&r.delegate, "delegate", "", "the CNAME records that lead the challenges of dns-01 into `ZONE`")
	f.BoolVar(&r.caa, "caa", false, "records that allow the CA, the account and the ways of validation, and no others (CAA)")
	f.BoolVar(&r.wildcard, "wildcard", false, "for wildcard certificates too")
	f.Var(durationFlag{&r.lifetime}, "for", "let dns-persist-01 records end after `TIME`, such as 365d")
	f.IntVar(&r.ttl, "ttl", 300, "how long others may remember the records, in `SECONDS`")
	f.StringVar(&r.format, "format", "zone", "`FORMAT` is zone (lines of a zone file), route53 (a change batch) or terraform")
	a.completeFlags(cmd)
	return cmd
}

// recordsOf is one certificate, or domain names as if they were one.
type recordsOf struct {
	ids         []inkan.Identifier
	cas         []string
	account     string
	validations []inkan.Validation
}

func (a *app) dnsRecords(ctx context.Context, r *recordsFlags, names []string) error {
	if !slices.Contains([]string{"zone", "route53", "terraform"}, r.format) {
		return usageError{fmt.Errorf("--format %s is none of zone, route53 and terraform", inkan.Printable(r.format, 40))}
	}
	if r.ttl < 0 || r.ttl > 1<<31-1 {
		return usageError{errors.New("--ttl must be from 0 to 2147483647")}
	}
	var records []dnsRecord
	for _, name := range names {
		of, err := a.recordsOf(ctx, r, name)
		if err != nil {
			return err
		}
		some, err := a.recordsFor(ctx, r, of)
		if err != nil {
			return err
		}
		records = append(records, some...)
	}
	slices.SortStableFunc(records, func(a, b dnsRecord) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Type, b.Type))
	})
	records = slices.Compact(records)
	for i := range records {
		records[i].TTL = r.ttl
	}
	switch {
	case a.JSON:
		return a.WriteJSON(records)
	case r.format == "route53":
		text, err := route53Batch(records)
		if err != nil {
			return err
		}
		_, err = fmt.Fprint(a.Stdout, text)
		return err
	case r.format == "terraform":
		_, err := fmt.Fprint(a.Stdout, terraform(records))
		return err
	}
	_, err := fmt.Fprint(a.Stdout, zoneFile(records))
	return err
}

// recordsOf finds out what is meant by name.
func (a *app) recordsOf(ctx context.Context, r *recordsFlags, name string) (recordsOf, error) {
	m, err := a.Manager(ctx)
	if err != nil {
		return recordsOf{}, err
	}
	var of recordsOf
	switch rec, err := m.Request(ctx, name); {
	case err == nil && !rec.Deleted:
		of = recordsOf{rec.Identifiers, rec.CAs, rec.Account, rec.Validations}
	case err != nil && !errors.Is(err, fs.ErrNotExist) && inkan.CheckName(name) == nil:
		return recordsOf{}, err
	default: // a domain name
		id, err := inkan.ParseIdentifier(name)
		if err != nil {
			return recordsOf{}, err
		}
		of = recordsOf{ids: []inkan.Identifier{id}, account: orDefault(r.account)}
	}
	if r.account != "" {
		of.account = r.account
	}
	if r.cas.given() || r.staging || len(of.cas) == 0 {
		if len(of.cas) == 0 {
			of.cas = []string{defaultCA}
		}
		if of.cas, err = a.chooseCAs(ctx, &r.requestFlags, of.cas); err != nil {
			return recordsOf{}, err
		}
	}
	of.ids = slices.DeleteFunc(slices.Clone(of.ids), func(id inkan.Identifier) bool { return id.Type != inkan.DNS })
	if len(of.ids) == 0 {
		return of, inkan.Errorf(inkan.Operator, "DNS records of "+inkan.Printable(name, 80), "an address has none")
	}
	return of, nil
}

func (a *app) recordsFor(ctx context.Context, r *recordsFlags, of recordsOf) ([]dnsRecord, error) {
	var records []dnsRecord
	byAccount := slices.ContainsFunc(of.validations, func(v inkan.Validation) bool { return v.Type == inkan.DNSAccount01 })
	if r.delegate != "" {
		zone, err := inkan.ParseIdentifier(strings.TrimSuffix(r.delegate, "."))
		if err != nil {
			return nil, err
		}
		r.delegate = zone.Value
		records = append(records, of.delegations("_acme-challenge", r.delegate)...)
		if !byAccount && !r.persist && !r.caa {
			return records, nil
		}
	}
	for _, ca := range of.cas {
		c, err := a.authority(ctx, ca, of.account)
		if err != nil {
			return nil, err
		}
		if r.delegate != "" && byAccount {
			records = append(records, of.delegations(inkan.DNSAccountLabel(c.account), r.delegate)...)
		}
		if r.persist || !r.caa && r.delegate == "" {
			records = append(records, c.persist(r, of, a.PlugEnv().Time())...)
		}
		if r.caa {
			records = append(records, c.caa(r, of)...)
		}
	}
	return records, nil
}

// delegations returns the CNAME records that lead from label into zone.
func (of recordsOf) delegations(label, zone string) []dnsRecord {
	var records []dnsRecord
	for _, b := range of.bases(false) {
		records = append(records, dnsRecord{Name: label + "." + b.name + ".", Type: "CNAME", Value: b.name + "." + zone + "."})
	}
	return records
}

// authority is a CA with an account, as DNS records name the two.
type authority struct{ issuer, account string }

func (a *app) authority(ctx context.Context, ca, account string) (authority, error) {
	op := "DNS records for " + a.CATitle(ctx, ca)
	rec, err := a.LoadAccount(ctx, machine.Account{CA: ca, Name: account})
	if err != nil {
		return authority{}, err
	}
	if rec.URL == "" {
		return authority{}, inkan.Errorf(inkan.Operator, op, "there is no account %s yet, and the records name it", account).
			WithHint("make it with: inkan account register --ca %s", ca)
	}
	if !inRecord(rec.URL) {
		return authority{}, inkan.Errorf(inkan.Operator, op, "the account's URL %s cannot stand in a record", inkan.Printable(rec.URL, 200))
	}
	client, err := a.Client(ctx, ca, account, machine.AccountOptions{})
	if err != nil {
		return authority{}, err
	}
	c, err := client.Capabilities(ctx)
	if err != nil {
		return authority{}, err
	}
	if len(c.CAA) == 0 {
		return authority{}, inkan.Errorf(inkan.Operator, op, "its directory tells no issuer domain name (caaIdentities)").
			WithHint("look in the CA's documentation for the name that stands in CAA records, and write them by hand")
	}
	id, err := inkan.ParseIdentifier(c.CAA[0])
	if err != nil || id.Type != inkan.DNS || id.Wildcard() {
		return authority{}, inkan.Errorf(inkan.Bug, op, "its issuer domain name %q is none", inkan.Printable(c.CAA[0], 80))
	}
	return authority{id.Value, rec.URL}, nil
}

// inRecord reports whether an account's URL, which the CA chose, can be the value
// of a parameter in CAA and dns-persist-01 records (RFC 8659 section 4.2) and
// means nothing in a zone file.
func inRecord(account string) bool {
	return !strings.ContainsFunc(account, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(";\"\\", r) })
}

// bases returns the names without their wildcards, each once, and whether there
// is a wildcard of it, or only that.
func (of recordsOf) bases(wildcards bool) []base {
	var list []base
	for _, id := range of.ids {
		i := slices.IndexFunc(list, func(b base) bool { return b.name == id.Base() })
		if i < 0 {
			i = len(list)
			list = append(list, base{name: id.Base(), wildcard: wildcards})
		}
		list[i].wildcard = list[i].wildcard || id.Wildcard()
		list[i].plain = list[i].plain || !id.Wildcard()
	}
	return list
}

type base struct {
	name            string
	plain, wildcard bool
}

func (c authority) persist(r *recordsFlags, of recordsOf, now time.Time) []dnsRecord {
	record := dnspersist.Record{Issuer: c.issuer, Account: c.account}
	if r.lifetime > 0 {
		record.Until = now.Add(time.Duration(r.lifetime))
	}
	var records []dnsRecord
	for _, b := range of.bases(r.wildcard) {
		record.Wildcard = b.wildcard
		records = append(records, dnsRecord{Name: dnspersist.Label + "." + b.name + ".", Type: "TXT", Value: dnspersist.Current().Value(record)})
	}
	return records
}

// caa returns records of RFC 8659 with the parameters of RFC 8657.
func (c authority) caa(r *recordsFlags, of recordsOf) []dnsRecord {
	value := c.issuer + "; accounturi=" + c.account
	var ways []string
	for _, v := range of.validations {
		if !slices.Contains(ways, v.Type) {
			ways = append(ways, v.Type)
		}
	}
	if len(ways) > 0 {
		value += "; validationmethods=" + strings.Join(ways, ",")
	}
	var records []dnsRecord
	for _, b := range of.bases(r.wildcard) {
		if b.plain {
			records = append(records, dnsRecord{Name: b.name + ".", Type: "CAA", Value: `0 issue "` + value + `"`})
		}
		if b.wildcard {
			records = append(records, dnsRecord{Name: b.name + ".", Type: "CAA", Value: `0 issuewild "` + value + `"`})
		}
	}
	return records
}
