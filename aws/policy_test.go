package aws_test

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/inkan-acme/inkan/aws"
	"github.com/inkan-acme/inkan/internal/state"
)

// document is what the tests look at of a policy.
type document struct {
	Version   string
	Statement []struct {
		Sid, Effect      string
		Action, Resource []string
		Condition        map[string]map[string][]string
	}
}

func parsePolicy(t *testing.T, data []byte) document {
	t.Helper()
	var d document
	if err := json.Unmarshal(data, &d); err != nil {
		t.Fatal(err)
	}
	if d.Version != "2012-10-17" {
		t.Errorf("version %q", d.Version)
	}
	for _, s := range d.Statement {
		if s.Effect != "Allow" || len(s.Action) == 0 || len(s.Resource) == 0 {
			t.Errorf("statement %+v", s)
		}
	}
	return d
}

func TestPolicyRoute53(t *testing.T) {
	d := parsePolicy(t, aws.PolicyRoute53([]string{"/hostedzone/Z1", "Z2"}, []string{"*.Example.com", "example.com.", "www.example.com"}))
	change := d.Statement[3]
	if diff := cmp.Diff([]string{"arn:aws:route53:::hostedzone/Z1", "arn:aws:route53:::hostedzone/Z2"}, change.Resource); diff != "" {
		t.Error(diff)
	}
	want := map[string]map[string][]string{"ForAllValues:StringEquals": {
		"route53:ChangeResourceRecordSetsRecordTypes":           {"TXT"},
		"route53:ChangeResourceRecordSetsActions":               {"CREATE", "DELETE"},
		"route53:ChangeResourceRecordSetsNormalizedRecordNames": {"_acme-challenge.example.com", "_acme-challenge.www.example.com"},
	}}
	if diff := cmp.Diff(want, change.Condition); diff != "" {
		t.Error(diff)
	}
	// What is allowed is what the provider calls, and no more.
	var actions []string
	for _, s := range d.Statement {
		actions = append(actions, s.Action...)
	}
	if diff := cmp.Diff([]string{"route53:ListHostedZonesByName", "route53:GetChange", "route53:ListResourceRecordSets", "route53:ChangeResourceRecordSets"}, actions); diff != "" {
		t.Error(diff)
	}
	d = parsePolicy(t, aws.PolicyRoute53(nil, nil))
	if diff := cmp.Diff(map[string][]string{"route53:ChangeResourceRecordSetsNormalizedRecordNames": {"_acme-challenge.*"}}, d.Statement[3].Condition["ForAllValues:StringLike"]); diff != "" {
		t.Error(diff)
	}
	if len(d.Statement[3].Condition["ForAllValues:StringEquals"]) != 2 {
		t.Errorf("conditions %v", d.Statement[3].Condition)
	}
}

var full = aws.S3Access{Write: true}

// reading is what a machine that only serves or deploys does.
func reading() aws.S3Access { return aws.S3Access{Keys: state.ReadKeys()} }

func TestPolicyS3(t *testing.T) {
	for _, c := range []struct {
		access             aws.S3Access
		actions, resources []string
	}{
		{full, []string{"s3:GetObject", "s3:PutObject", "s3:DeleteObject"}, []string{"arn:aws:s3:::b/inkan/*"}},
		{aws.S3Access{Keys: []string{"current/", "v/"}}, []string{"s3:GetObject"}, []string{"arn:aws:s3:::b/inkan/current/*", "arn:aws:s3:::b/inkan/v/*"}},
		{aws.S3Access{Keys: []string{state.ChallengeKeys}, Write: true, ACL: true}, []string{"s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:PutObjectAcl"},
			[]string{"arn:aws:s3:::b/inkan/.well-known/acme-challenge/*", "arn:aws:s3:::b/inkan/" + aws.MarkerKey}},
	} {
		d := parsePolicy(t, aws.PolicyS3("b", "inkan/", c.access))
		if diff := cmp.Diff([]string{"s3:ListBucket"}, d.Statement[0].Action); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(c.actions, d.Statement[1].Action); diff != "" {
			t.Errorf("access %+v: %s", c.access, diff)
		}
		if diff := cmp.Diff(c.resources, d.Statement[1].Resource); diff != "" {
			t.Errorf("access %+v: %s", c.access, diff)
		}
	}
}

// The policies in the documentation are those that the program prints.
func TestPoliciesInDocs(t *testing.T) {
	for _, c := range []struct {
		page   string
		policy []byte
	}{
		{"route53.md", aws.PolicyRoute53([]string{"Z0123456789ABCDEFGHIJ"}, []string{"example.com", "*.example.com"})},
		{"s3.md", aws.PolicyS3("example-inkan", "", full)},
		{"s3.md", aws.PolicyS3("example-inkan", "", reading())},
		{"s3.md", aws.PolicyS3("example-challenges", "", aws.S3Access{Keys: []string{state.ChallengeKeys}, Write: true})},
	} {
		page, err := os.ReadFile("../docs/" + c.page)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(page, c.policy) {
			t.Errorf("docs/%s lacks\n%s", c.page, c.policy)
		}
	}
}
