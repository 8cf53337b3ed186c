// Package aws holds the plug-ins that talk to Amazon Web Services, and the
// stores and DNS hosts that speak its protocols. It alone imports the AWS SDK.
package aws

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
)

// Account holds the options that say in whose name AWS is called. With none of
// them the SDK's own chain decides: environment, shared files, web identity,
// container, instance.
type Account struct {
	Profile         string      `json:"profile" help:"the profile of the shared AWS files (~/.aws/config) to use"`
	AccessKeyID     string      `json:"access_key_id" help:"the access key, where the SDK's own ways to find one do not serve"`
	SecretAccessKey plug.Secret `json:"secret_access_key" help:"the secret of access_key_id"`
	RoleARN         string      `json:"role_arn" help:"the role to assume before anything else, such as one in the account that holds the resource"`
	ExternalID      string      `json:"external_id" help:"the external id that the role's trust policy demands"`
}

func (a Account) check(op string) error {
	fail := func(format string, args ...any) *inkan.Error {
		return inkan.Errorf(inkan.Operator, op, format, args...)
	}
	switch {
	case (a.AccessKeyID == "") != a.SecretAccessKey.IsZero():
		return fail("access_key_id and secret_access_key belong together; one is missing")
	case a.AccessKeyID != "" && a.Profile != "":
		return fail("give either profile or access_key_id, not both")
	case a.ExternalID != "" && a.RoleARN == "":
		return fail("external_id is there for role_arn, which is missing")
	case a.RoleARN != "" && !strings.HasPrefix(a.RoleARN, "arn:"):
		return fail("role_arn %q is no ARN", inkan.Printable(a.RoleARN, 80)).WithHint("it looks like arn:aws:iam::123456789012:role/NAME")
	}
	return nil
}

// requestTimeout bounds one HTTP request where the caller gave no client.
const requestTimeout = time.Minute

// session makes the SDK's configuration when it is first needed: a program
// that has an AWS plug-in configured and does not use it reads no file of the
// SDK's and starts nothing.
type session struct {
	account Account
	region  string
	env     plug.Env

	mu     sync.Mutex
	loaded *awssdk.Config
}

// load returns the configuration. Only success is remembered. It reads files
// and the environment, no network.
func (s *session) load(ctx context.Context, op string) (awssdk.Config, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loaded != nil {
		return *s.loaded, nil
	}
	options := []func(*config.LoadOptions) error{
		config.WithLogger(debugLog{s.env.Logger()}),
		config.WithAppID("inkan"),
		config.WithSharedConfigProfile(s.account.Profile),
		config.WithHTTPClient(awshttp.NewBuildableClient().WithTimeout(requestTimeout)),
	}
	if s.region != "" {
		options = append(options, config.WithRegion(s.region))
	}
	if s.account.AccessKeyID != "" {
		options = append(options, config.WithCredentialsProvider(
			credentials.NewStaticCredentialsProvider(s.account.AccessKeyID, s.account.SecretAccessKey.Reveal(), "")))
	}
	c, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		if ctx.Err() != nil {
			return c, fmt.Errorf("%s: %w", op, err)
		}
		hint := "see the files ~/.aws/config and ~/.aws/credentials and the AWS_ variables of the environment"
		if _, ok := errors.AsType[config.SharedConfigProfileNotExistError](err); ok {
			hint = "profiles stand in ~/.aws/config of the user that runs inkan"
		}
		return c, inkan.Errorf(inkan.Operator, op, "the AWS configuration: %w", err).WithHint("%s", hint)
	}
	if s.env.HTTP != nil {
		// It is set only now: the SDK refuses a client to which it cannot add the
		// roots of AWS_CA_BUNDLE. This client trusts the roots its owner chose.
		c.HTTPClient = s.env.HTTP
	}
	if s.account.RoleARN != "" {
		c.Credentials = awssdk.NewCredentialsCache(stscreds.NewAssumeRoleProvider(
			sts.NewFromConfig(c, func(o *sts.Options) {
				if o.Region == "" {
					o.Region = "us-east-1"
				}
			}), s.account.RoleARN, func(o *stscreds.AssumeRoleOptions) {
				o.RoleSessionName = "inkan"
				if s.account.ExternalID != "" {
					o.ExternalID = awssdk.String(s.account.ExternalID)
				}
			}))
	}
	s.loaded = &c
	return c, nil
}

// debugLog lets the SDK's remarks go to the log at debug level.
type debugLog struct{ log *slog.Logger }

// Logf implements logging.Logger.
func (d debugLog) Logf(_ logging.Classification, format string, v ...any) {
	d.log.Debug(inkan.Printable(fmt.Sprintf(format, v...), 500))
}

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
