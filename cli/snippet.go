package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/acme"
	"github.com/inkan-acme/inkan/machine"
	"github.com/inkan-acme/inkan/plug"
)

// snippetKind is one thing that servers can be configured to do.
type snippetKind struct {
	name  string
	value string // what stands behind the server; "": nothing does
	short string
	check func(string) (string, error) // of the value
	texts map[string]string            // by server; VALUE stands for the value
}

func snippetKinds() []snippetKind {
	return []snippetKind{
		{"redirect", "URL", "Answer challenges with a redirect to a bucket or another server", snippetURL, redirectSnippets()},
		{"proxy", "HOST:PORT", "Pass challenges on to where inkan listens with --standalone", snippetAddr, proxySnippets()},
		{"stateless", "", "Answer every challenge from the thumbprint of the account key", nil, statelessSnippets()},
		{"webroot", "DIR", "Serve the answers that inkan puts into DIR with --webroot", snippetDir, webrootSnippets()},
	}
}

func (a *app) snippetCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "snippet",
		Short: "Print configuration for web servers, load balancers and clouds",
		Long: `Prints what the servers in front of you need to let control over names be shown,
ready to paste. A comment in it says where it belongs.

  inkan snippet proxy haproxy 10.0.0.5:8080
  inkan snippet redirect nginx https://answers.s3.eu-central-1.amazonaws.com
  inkan snippet stateless apache --ca letsencrypt
  inkan snippet iam route53 --zone Z0123456789ABC example.com`,
		Args: cobra.ArbitraryArgs,
		RunE: subcommand,
	}
	for _, k := range snippetKinds() {
		cmd.AddCommand(a.snippetKindCommand(k))
	}
	cmd.AddCommand(a.snippetIAMCommand())
	return cmd
}

func (a *app) snippetKindCommand(k snippetKind) *cobra.Command {
	var r requestFlags
	servers := slices.Sorted(maps.Keys(k.texts))
	cmd := &cobra.Command{
		Use:   strings.TrimSpace(k.name + " " + strings.Join(servers, "|") + " " + k.value),
		Short: k.short,
		Args:  func(_ *cobra.Command, args []string) error { return k.checkArgs(servers, args) },
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			switch {
			case len(args) == 0:
				return servers, cobra.ShellCompDirectiveNoFileComp
			case len(args) == 1 && k.value == "DIR":
				return nil, cobra.ShellCompDirectiveFilterDirs
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			value, err := a.snippetValue(cmd.Context(), &r, k, args)
			if err != nil {
				return err
			}
			text := strings.ReplaceAll(k.texts[args[0]], "VALUE", value)
			if args[0] == "alb" {
				text = albRedirect(value)
			}
			_, err = fmt.Fprint(a.Stdout, text)
			return err
		},
	}
	if k.value == "" {
		r.addCA(cmd.Flags())
		r.addAccountName(cmd.Flags())
		a.completeFlags(cmd)
	}
	return cmd
}

func (k snippetKind) checkArgs(servers, args []string) error {
	switch {
	case len(args) == 0:
		return usageError{fmt.Errorf("inkan snippet %s wants the server: %s", k.name, strings.Join(servers, ", "))}
	case k.texts[args[0]] == "":
		return usageError{errors.New(plug.Unknown("snippet "+k.name+" for", args[0], servers))}
	case k.value == "" && len(args) > 1:
		return usageError{fmt.Errorf("inkan snippet %s %s wants nothing more", k.name, args[0])}
	case k.value != "" && len(args) != 2:
		return usageError{fmt.Errorf("inkan snippet %s %s wants one %s", k.name, args[0], k.value)}
	}
	return nil
}

// snippetValue is what takes the place of VALUE.
func (a *app) snippetValue(ctx context.Context, r *requestFlags, k snippetKind, args []string) (string, error) {
	if k.check == nil {
		return a.thumbprint(ctx, r)
	}
	value, err := k.check(args[1])
	if err != nil {
		return "", usageError{fmt.Errorf("%s %q: %w", k.value, inkan.Printable(args[1], 200), err)}
	}
	return value, nil
}

// thumbprint returns that of the account's key; the CA is not asked.
func (a *app) thumbprint(ctx context.Context, r *requestFlags) (string, error) {
	ca, err := a.chooseOneCA(ctx, r)
	if err != nil {
		return "", err
	}
	n := machine.Account{CA: ca, Name: orDefault(r.account)}
	if err := inkan.CheckName(n.Name); err != nil {
		return "", err
	}
	rec, err := a.LoadAccount(ctx, n)
	if err != nil {
		return "", err
	}
	if rec.Key == nil {
		return "", inkan.Errorf(inkan.Operator, "account "+n.Name+" at "+ca, "there is none yet, so it has no thumbprint").
			WithHint("make it with: inkan account register --ca %s --agree-tos", ca)
	}
	key, err := a.OpenKey.Open(ctx, rec.Key, n.KeyUse())
	if err != nil {
		return "", inkan.Errorf(inkan.KindOf(err), "account "+n.Name+" at "+ca, "its key: %w", err)
	}
	return acme.Thumbprint(key)
}

// What becomes part of a configuration has no character that means something
// there.

func plainPath(s string) bool { return regexp.MustCompile(`^/[A-Za-z0-9/._~+@,=-]*$`).MatchString(s) }

func plainHost(s string) bool { return regexp.MustCompile(`^[A-Za-z0-9._-]+$`).MatchString(s) }

var errStrange = errors.New("it has characters that would need quotes in a configuration")

// snippetURL returns the URL without a slash at its end.
func snippetURL(s string) (string, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return "", errors.New("it is not a URL")
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return "", errors.New("it must begin with https:// or http:// and name a host")
	case u.RawQuery != "" || u.Fragment != "" || u.User != nil || u.ForceQuery:
		return "", errors.New("it may only have a host and a path")
	case u.Path != "" && !plainPath(u.EscapedPath()):
		return "", errStrange
	}
	if err := checkHost(u.Hostname(), u.Port()); err != nil {
		return "", err
	}
	return strings.TrimRight(u.String(), "/"), nil
}

func snippetAddr(s string) (string, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil || port == "" || host == "" {
		return "", errors.New("it must be a host and a port, such as 10.0.0.5:8080 or [2001:db8::5]:8080")
	}
	return net.JoinHostPort(host, port), checkHost(host, port)
}

func snippetDir(s string) (string, error) {
	if !strings.HasPrefix(s, "/") {
		return "", errors.New("it must be an absolute path")
	}
	if !plainPath(s) {
		return "", errStrange
	}
	return s, nil
}

func checkHost(host, port string) error {
	if n, err := strconv.ParseUint(port, 10, 16); port != "" && (err != nil || n == 0) {
		return errors.New("its port is no number from 1 to 65535")
	}
	if !plainHost(host) && net.ParseIP(host) == nil {
		return errStrange
	}
	return nil
}
