package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/acme"
	"github.com/inkan-acme/inkan/internal/term"
	"github.com/inkan-acme/inkan/machine"
)

func (a *app) caCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ca",
		Short: "List certificate authorities and show what one can do",
		Long: `Tells which CAs can be named with --ca, and what each of them offers. Nothing
here orders anything or makes an account.`,
		Args: cobra.ArbitraryArgs,
		RunE: subcommand,
	}
	cmd.AddCommand(a.caListCommand(), a.caShowCommand())
	return cmd
}

// caSummary is one line of ca list.
type caSummary struct {
	Name        string   `json:"name"`
	Title       string   `json:"title,omitempty"`
	Directory   string   `json:"directory"`
	From        string   `json:"from"` // where it is defined
	Staging     bool     `json:"staging,omitempty"`
	EABRequired bool     `json:"eab_required,omitempty"`
	Accounts    []string `json:"accounts,omitempty"`
}

func (a *app) caListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the CAs that have a name here",
		Long: `Lists the CAs that are built in, those of the configuration file and those that
were named by URL on this machine, with the accounts at each.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := a.listCAs(cmd.Context())
			if err != nil {
				return err
			}
			if a.JSON {
				return a.WriteJSON(list)
			}
			t := &term.Table{Header: []string{"NAME", "ACCOUNTS", "EAB", "CA"}, Elastic: []int{0, 1}}
			for _, ca := range list {
				eab, what := "", ca.Directory
				if ca.From == builtIn { // inkan ca show tells its URL
					what = ca.Title
				}
				if ca.EABRequired {
					eab = "yes"
				}
				t.Add(ca.Name, cmp.Or(strings.Join(ca.Accounts, " "), "-"), eab, inkan.Printable(what, 300))
			}
			if !a.Quiet {
				t.Write(a.Terminal, a.Stdout)
			}
			return nil
		},
	}
}

// builtIn is the origin of CAs that Inkan knows by itself.
const builtIn = "built in"

func (a *app) listCAs(ctx context.Context) ([]caSummary, error) {
	found := map[string]caSummary{}
	for _, ca := range acme.KnownCAs() {
		found[ca.Name] = caSummary{Name: ca.Name, Title: ca.Title, Directory: ca.Directory, From: builtIn, Staging: ca.Staging, EABRequired: ca.EABRequired}
	}
	add := func(name, from string, c machine.CA) {
		s := found[name]
		s.Name, s.From, s.Staging = name, from, c.Staging
		if c.Directory != "" {
			s.Directory = c.Directory
		}
		found[name] = s
	}
	names, err := a.GivenCAs(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if c, err := a.CA(ctx, name); err == nil {
			add(name, "the command line", c)
		}
	}
	cfg, err := a.Config()
	if err != nil {
		return nil, err
	}
	if cfg != nil {
		for name, c := range cfg.CAs {
			add(name, "the configuration file", machine.CA{Directory: c.Directory, Roots: c.Roots, Staging: c.Staging})
		}
	}
	accounts, err := a.Accounts(ctx, "")
	if err != nil {
		return nil, err
	}
	for _, n := range accounts {
		if s, ok := found[n.CA]; ok {
			s.Accounts = append(s.Accounts, n.Name)
			found[n.CA] = s
		}
	}
	var list []caSummary
	for _, ca := range acme.KnownCAs() { // in their order, the others behind
		list = append(list, found[ca.Name])
		delete(found, ca.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		list = append(list, found[name])
	}
	return list, nil
}

func (a *app) caShowCommand() *cobra.Command {
	var root string
	cmd := &cobra.Command{
		Use:   "show [NAME|URL]",
		Short: "Ask a CA what it can do",
		Long: `Reads the directory of a CA (by default that of Let's Encrypt) and shows what it
offers, what is published about it, how far away it is and how far its clock is
from ours. It needs no account and orders nothing.`,
		Args: someArgs(0, 1, "the name of one CA or the URL of its directory"),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, part string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return a.completeCAs(cmd, args, part)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			name := defaultCA
			if len(args) > 0 {
				name = args[0]
			}
			return a.showCA(cmd.Context(), name, root)
		},
	}
	cmd.Flags().StringVar(&root, "ca-root", "", "trust the roots in the PEM `FILE` for the CA's own HTTPS")
	return cmd
}

// caDetails is what ca show tells.
type caDetails struct {
	*acme.Capabilities
	Accounts []accountDetails `json:"accounts,omitempty"`
}

type accountDetails struct {
	Name   string `json:"name"`
	Status string `json:"status"`
	URL    string `json:"url,omitempty"`
}

func (a *app) showCA(ctx context.Context, name, root string) error {
	known := machine.CA{}
	if strings.Contains(name, "://") {
		known.Directory = name
		name = acme.CAName(name)
	} else if err := inkan.CheckName(name); err != nil {
		return err
	}
	kept, err := a.CA(ctx, name)
	switch {
	case err == nil:
		kept.Directory = cmp.Or(known.Directory, kept.Directory)
		known = kept
	case known.Directory == "" || !errors.Is(err, machine.ErrNotHere):
		return err
	}
	if root != "" {
		if known.Roots, err = filepath.Abs(root); err != nil {
			return err
		}
	}
	found, err := a.ProbeAt(ctx, name, known)
	if err != nil {
		return err
	}
	d := caDetails{Capabilities: found}
	if d.Accounts, err = a.accountsAt(ctx, name); err != nil {
		return err
	}
	if a.JSON {
		return a.WriteJSON(d)
	}
	a.sayCA(&d)
	return nil
}

// accountsAt returns the accounts on record at a CA.
func (a *app) accountsAt(ctx context.Context, ca string) ([]accountDetails, error) {
	accounts, err := a.Accounts(ctx, ca)
	if err != nil {
		return nil, err
	}
	var list []accountDetails
	for _, n := range accounts {
		rec, err := a.LoadAccount(ctx, n)
		if err != nil {
			return list, err
		}
		status := "ready"
		switch {
		case !rec.Deactivated.IsZero():
			status = "deactivated"
		case rec.URL == "":
			status = "not confirmed by the CA yet"
		case rec.Next != nil:
			status = "key change unfinished"
		}
		list = append(list, accountDetails{n.Name, status, inkan.Printable(rec.URL, 300)})
	}
	return list, nil
}

func (a *app) sayCA(d *caDetails) {
	title := cmp.Or(d.Title, d.Directory)
	if d.Staging {
		title += a.Paint(term.Yellow, "  (its certificates are for tests)")
	}
	a.Say("%s  %s", a.Paint(term.Bold, d.CA), title)
	a.Field("directory", d.Directory)
	a.Field("website", d.Website)
	a.Field("terms", d.Terms)
	a.Field("CAA", strings.Join(d.CAA, " "))
	a.Field("distance", fmt.Sprintf("%d ms for a round trip", max(1, d.RoundTrip.Milliseconds())))
	if d.ClockKnow {
		a.Field("clock", clockWords(d.Clock))
	}

	a.Section("offers")
	for _, f := range []struct {
		name string
		has  bool
		yes  string
		no   string
	}{
		{"renewal", d.RenewalInfo, "says when to renew (ARI, RFC 9773)", "does not say when to renew (no ARI): the life that is left decides"},
		{"key change", d.KeyChange, "yes: inkan account rollover", "no"},
		{"revocation", d.Revocation, "yes", "no"},
		{"EAB", d.EABRequired, "an account needs an external account binding", "an account needs no external account binding"},
		{"pre-authz", d.NewAuthz, "authorizations before an order (newAuthz)", ""},
		{"auto-renewal", d.AutoRenewal, "yes (RFC 8739)", ""},
	} {
		text := f.no
		if f.has {
			text = f.yes
		}
		a.Field(f.name, text)
	}
	if len(d.Profiles) == 0 {
		a.Field("profiles", "none")
	}
	for i, p := range d.Profiles {
		name := ""
		if i == 0 {
			name = "profiles"
		}
		a.Field(name, strings.TrimSuffix(p.Name+": "+p.Text, ": "))
	}
	a.sayFacts(d)
	a.Section("accounts here")
	if len(d.Accounts) == 0 {
		a.Say("  none")
	}
	for _, acct := range d.Accounts {
		a.Field(acct.Name, strings.TrimSpace(acct.Status+"  "+acct.URL))
	}
}

// sayFacts tells what is published about the CA, with the pages it is from.
func (a *app) sayFacts(d *caDetails) {
	if len(d.Facts) == 0 && len(quotas(d.Limits)) == 0 {
		return
	}
	a.Section("published")
	sources := []string{}
	mark := func(source string) string {
		i := slices.Index(sources, source)
		if i < 0 {
			sources = append(sources, source)
			i = len(sources) - 1
		}
		return fmt.Sprintf(" [%d]", i+1)
	}
	for _, f := range d.Facts {
		a.Field(f.About, f.Text+mark(f.Source))
	}
	for i, text := range quotas(d.Limits) {
		name := ""
		if i == 0 {
			name = "limits"
		}
		a.Field(name, text+mark(d.Source))
	}
	for i, s := range sources {
		a.Say("  %-12s %s", fmt.Sprintf("[%d]", i+1), s)
	}
}

// quotas writes published limits in words.
func quotas(l acme.Limits) []string {
	var list []string
	for _, q := range []struct {
		acme.Quota
		what string
	}{
		{l.Orders, "new orders of an account"}, {l.Domain, "certificates of a registered domain"},
		{l.Set, "certificates of exactly the same names"}, {l.Failures, "failed validations of a name and account"},
	} {
		if q.Capacity > 0 {
			list = append(list, fmt.Sprintf("%d %s, one back in %s", q.Capacity, q.what, spell(q.Refill)))
		}
	}
	var rates []string
	for _, r := range []struct {
		acme.Rate
		what string
	}{
		{l.NewNonce, "nonces"}, {l.NewAccount, "accounts"}, {l.NewOrder, "orders"}, {l.Revoke, "revocations"},
		{l.RenewalInfo, "renewal looks"}, {l.Directory, "directories"}, {l.Other, "others"},
	} {
		if r.PerSecond > 0 {
			rates = append(rates, fmt.Sprintf("%g %s", r.PerSecond, r.what))
		}
	}
	if len(rates) > 0 {
		list = append(list, "requests a second of an address: "+strings.Join(rates, ", "))
	}
	return list
}

// spell writes a span as short as it is exact: 36 s, 202 min, 34 h, 7.2 s.
func spell(d time.Duration) string {
	switch {
	case d%time.Hour == 0:
		return fmt.Sprintf("%d h", d/time.Hour)
	case d%time.Minute == 0:
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return fmt.Sprintf("%.3g s", d.Seconds())
}

// clockWords tells how far a CA's clock is from ours.
func clockWords(theirs time.Duration) string {
	switch {
	case theirs.Abs() < 3*time.Second:
		return "as ours"
	case theirs > 0:
		return term.Roughly(theirs) + " ahead of ours"
	}
	return term.Roughly(-theirs) + " behind ours"
}
