package cli

import (
	"errors"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/aws"
	"github.com/inkan-acme/inkan/machine"
	"github.com/inkan-acme/inkan/plug"
)

func (a *app) snippetIAMCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "iam route53|s3",
		Short: "Print the AWS policy with the least privilege that Inkan needs",
		Long: `Prints an IAM policy, in JSON, under which Inkan can do its work and nothing
more.`,
		Args: cobra.ArbitraryArgs,
		RunE: subcommand,
	}
	cmd.AddCommand(a.snippetRoute53Command(), a.snippetS3Command())
	return cmd
}

func (a *app) snippetRoute53Command() *cobra.Command {
	var zones []string
	cmd := &cobra.Command{
		Use:   "route53 [NAMES...]",
		Short: "Print the policy of dns-01 through Route 53",
		Long: `Prints the policy that the DNS host route53 needs: TXT records at the
_acme-challenge names of these names only, in the zones of --zone only. Without
names it is every name that begins with _acme-challenge, without --zone every
zone of the account.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, names []string) error {
			zoneID := regexp.MustCompile(`^Z[A-Z0-9]{1,31}$`)
			for _, z := range zones {
				if !zoneID.MatchString(z) {
					return usageError{errors.New("--zone " + inkan.Printable(z, 60) + " is no id of a hosted zone, such as Z0123456789ABCDEFGHIJ")}
				}
			}
			ids, err := identifiers(names)
			if err != nil {
				return err
			}
			for _, id := range ids {
				if id.Type != inkan.DNS {
					return usageError{errors.New("the address " + id.Value + " has no dns-01")}
				}
			}
			_, err = a.Stdout.Write(aws.PolicyRoute53(zones, values(ids)))
			return err
		},
	}
	cmd.Flags().StringArrayVar(&zones, "zone", nil, "the `ID` of a hosted zone (repeatable)")
	return cmd
}

func (a *app) snippetS3Command() *cobra.Command {
	var access string
	var acl bool
	words := []string{"full", "read", "challenges"}
	cmd := &cobra.Command{
		Use:   "s3 BUCKET[/PREFIX]",
		Short: "Print the policy of a store in S3",
		Long: `Prints the policy that a store of the type s3 needs, by what its machine does:
everything (full), deploy and serve what others issue (read), or put the answers
to http-01 challenges there (challenges).`,
		Args: someArgs(1, 1, "the bucket, with the prefix of the store if it has one"),
		RunE: func(_ *cobra.Command, args []string) error {
			bucket, prefix, _ := strings.Cut(args[0], "/")
			bucketName := regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
			if !bucketName.MatchString(bucket) || prefix != "" && !plainPath("/"+prefix) {
				return usageError{errors.New(inkan.Printable(args[0], 100) + " is no bucket with a prefix, such as certificates/inkan")}
			}
			if prefix != "" && !strings.HasSuffix(prefix, "/") {
				prefix += "/"
			}
			kinds := map[string]aws.S3Access{"full": {Write: true, ACL: acl}, "read": {Keys: machine.ServingKeys()},
				"challenges": {Keys: machine.AnsweringKeys(), Write: true, ACL: acl}}
			kind, ok := kinds[access]
			if !ok {
				return usageError{errors.New(plug.Unknown("--access", access, words))}
			}
			_, err := a.Stdout.Write(aws.PolicyS3(bucket, prefix, kind))
			return err
		},
	}
	cmd.Flags().StringVar(&access, "access", "full", "`WHAT` is full, read or challenges")
	cmd.Flags().BoolVar(&acl, "acl", false, "the store has the option acl")
	_ = cmd.RegisterFlagCompletionFunc("access", cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
	return cmd
}
