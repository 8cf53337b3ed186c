package aws_test

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/aws"
	"github.com/inkan-acme/inkan/internal/testaws"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/plugtest/storetest"
)

// account is what the servers of testaws take.
func account() aws.Account {
	return aws.Account{AccessKeyID: testaws.AccessKey, SecretAccessKey: plug.NewSecret(testaws.SecretKey)}
}

// isolate keeps the SDK from this machine's files, environment and network.
func isolate(t *testing.T) {
	t.Helper()
	missing := filepath.Join(t.TempDir(), "missing")
	for name, value := range map[string]string{
		"AWS_CONFIG_FILE": missing, "AWS_SHARED_CREDENTIALS_FILE": missing, "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_PROFILE": "", "AWS_REGION": "", "AWS_DEFAULT_REGION": "", "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "",
		"AWS_SESSION_TOKEN": "", "AWS_WEB_IDENTITY_TOKEN_FILE": "", "AWS_ROLE_ARN": "", "AWS_ENDPOINT_URL": "",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "", "AWS_CONTAINER_CREDENTIALS_FULL_URI": "",
	} {
		t.Setenv(name, value)
	}
}

func openS3(t *testing.T, cfg aws.S3Config) inkan.Store {
	t.Helper()
	s, err := aws.S3(plug.Env{}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestS3Conformance(t *testing.T) {
	isolate(t)
	t.Run("versitygw", func(t *testing.T) {
		g := testaws.StartGateway(t, "bucket")
		var n atomic.Int64
		storetest.Run(t, func(t *testing.T) inkan.Store {
			dir := string(rune('a' + n.Add(1) - 1)) // a prefix of its own for each test, short as the suite uses keys of 1,020 bytes
			if err := os.MkdirAll(filepath.Join(g.Dir, "bucket", dir), 0o700); err != nil {
				t.Fatal(err)
			}
			return openS3(t, aws.S3Config{Bucket: "bucket", Prefix: dir + "/", Endpoint: g.Endpoint, PathStyle: true, Account: account()})
		})
	})
}
