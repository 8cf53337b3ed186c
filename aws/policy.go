package aws

import (
	"encoding/json"
	"slices"
	"strings"
)

// policy is an IAM policy document.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
type policy struct {
	Version   string
	Statement []statement
}

type statement struct {
	Sid       string
	Effect    string
	Action    []string
	Resource  []string
	Condition map[string]map[string][]string `json:",omitempty"`
}

func (p policy) text() []byte {
	data, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		panic("aws: " + err.Error()) // strings and maps of strings always encode
	}
	return append(data, '\n')
}

// PolicyRoute53 returns the IAM policy, as indented JSON, under which [Route53]
// works and nothing more is allowed: TXT records, made and removed, in the
// hosted zones given, and only at the _acme-challenge names of the names given
// (www.example.com, *.example.com). Without zones it holds for every zone of
// the account, without names for every name that begins with _acme-challenge.
//
// With the option hosted_zone_id set, the statement FindZone can be left out.
// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/specifying-conditions-route53.html
func PolicyRoute53(zoneIDs, names []string) []byte {
	zones := []string{"arn:aws:route53:::hostedzone/*"}
	if len(zoneIDs) > 0 {
		zones = nil
		for _, id := range zoneIDs {
			zones = append(zones, "arn:aws:route53:::hostedzone/"+zoneID(id))
		}
	}
	// The names that a policy sees are in lower case and without the last dot.
	operator, records := "ForAllValues:StringEquals", []string{}
	for _, name := range names {
		name = strings.TrimSuffix(strings.TrimPrefix(strings.ToLower(name), "*."), ".")
		records = append(records, "_acme-challenge."+name)
	}
	if len(names) == 0 {
		operator, records = "ForAllValues:StringLike", []string{"_acme-challenge.*"}
	}
	slices.Sort(records)
	condition := map[string]map[string][]string{
		"ForAllValues:StringEquals": {
			"route53:ChangeResourceRecordSetsRecordTypes": {"TXT"},
			"route53:ChangeResourceRecordSetsActions":     {"CREATE", "DELETE"},
		},
	}
	if condition[operator] == nil {
		condition[operator] = map[string][]string{}
	}
	condition[operator]["route53:ChangeResourceRecordSetsNormalizedRecordNames"] = slices.Compact(records)
	return policy{"2012-10-17", []statement{
		{"FindZone", "Allow", []string{"route53:ListHostedZonesByName"}, []string{"*"}, nil},
		{"AwaitChange", "Allow", []string{"route53:GetChange"}, []string{"arn:aws:route53:::change/*"}, nil},
		{"ReadRecords", "Allow", []string{"route53:ListResourceRecordSets"}, zones, nil},
		{"ChangeChallenges", "Allow", []string{"route53:ChangeResourceRecordSets"}, zones, condition},
	}}.text()
}

// S3Access is what somebody does with an [S3] store.
type S3Access struct {
	Keys  []string // what the keys begin with, such as "current/"; empty: all
	Write bool     // to read is allowed in any case
	ACL   bool     // the store has the option acl
}

// PolicyS3 returns the IAM policy, as indented JSON, under which a store over
// the bucket and prefix works and nothing more is allowed. The names of all
// objects in the bucket can be listed under it: a bucket of its own is better
// than a prefix.
func PolicyS3(bucket, prefix string, access S3Access) []byte {
	arn := "arn:aws:s3:::" + bucket
	actions := []string{"s3:GetObject"}
	if access.Write {
		actions = append(actions, "s3:PutObject", "s3:DeleteObject")
	}
	if access.Write && access.ACL {
		actions = append(actions, "s3:PutObjectAcl")
	}
	var objects []string
	for _, key := range access.Keys {
		objects = append(objects, arn+"/"+prefix+key+"*")
	}
	switch {
	case len(access.Keys) == 0:
		objects = []string{arn + "/" + prefix + "*"}
	case access.Write: // it tests first whether writes are conditional
		objects = append(objects, arn+"/"+prefix+MarkerKey)
	}
	// Without the right to list, S3 says "denied" of a key that does not
	// exist. A condition on the prefix does not hold for a GET and would bring
	// that back.
	list := statement{"List", "Allow", []string{"s3:ListBucket"}, []string{arn}, nil}
	return policy{"2012-10-17", []statement{list, {"Objects", "Allow", actions, objects, nil}}}.text()
}
