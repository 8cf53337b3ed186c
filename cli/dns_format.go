package cli

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/inkan-acme/inkan/internal/dnslookup"
)

// dnsRecord is a record that somebody is to publish.
type dnsRecord struct {
	Name  string `json:"name"` // absolute, ends in a dot
	Type  string `json:"type"`
	Value string `json:"value"` // a TXT without quotes
	TTL   int    `json:"ttl"`
}

// presentation is the value as a zone file has it.
func (r dnsRecord) presentation() string {
	if r.Type != "TXT" {
		return r.Value
	}
	return `"` + strings.Join(dnslookup.NewTXT(r.Name, r.Value, 0).Txt, `" "`) + `"`
}

// sets groups records of one name and type, in order.
func sets(records []dnsRecord) [][]dnsRecord {
	var groups [][]dnsRecord
	index := map[string]int{}
	for _, r := range records {
		key := r.Name + " " + r.Type
		i, ok := index[key]
		if !ok {
			i = len(groups)
			index[key] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], r)
	}
	return groups
}

// zoneFile writes records as lines of a zone file (RFC 1035 section 5).
func zoneFile(records []dnsRecord) string {
	var b strings.Builder
	for _, r := range records {
		fmt.Fprintf(&b, "%s %d IN %s %s\n", r.Name, r.TTL, r.Type, r.presentation())
	}
	return b.String()
}

// route53Batch writes records for `aws route53 change-resource-record-sets
// --change-batch`. CREATE fails where a set stands already, rather than take
// away what is in it.
func route53Batch(records []dnsRecord) (string, error) {
	type value struct{ Value string }
	type set struct {
		Name, Type      string
		TTL             int
		ResourceRecords []value
	}
	type change struct {
		Action            string
		ResourceRecordSet set
	}
	var changes []change
	for _, group := range sets(records) {
		s := set{Name: group[0].Name, Type: group[0].Type, TTL: group[0].TTL}
		for _, r := range group {
			s.ResourceRecords = append(s.ResourceRecords, value{r.presentation()})
		}
		changes = append(changes, change{"CREATE", s})
	}
	data, err := json.MarshalIndent(map[string]any{"Changes": changes}, "", "  ")
	return string(data) + "\n", err
}

// terraform writes records for the AWS provider; other providers have the same
// arguments under other names.
func terraform(records []dnsRecord) string {
	var b strings.Builder
	for i, group := range sets(records) {
		if i > 0 {
			b.WriteString("\n")
		}
		name := strings.ToLower(group[0].Type) + "_" + strings.NewReplacer(".", "_", "-", "_").Replace(strings.Trim(group[0].Name, "._"))
		fmt.Fprintf(&b, "resource \"aws_route53_record\" %q {\n  zone_id = var.zone_id\n  name    = %q\n  type    = %q\n  ttl     = %d\n  records = [\n",
			name, strings.TrimSuffix(group[0].Name, "."), group[0].Type, group[0].TTL)
		for _, r := range group {
			value := r.presentation()
			if r.Type == "TXT" { // Terraform puts its outer quotes itself
				value = strings.TrimSuffix(strings.TrimPrefix(value, `"`), `"`)
			}
			fmt.Fprintf(&b, "    %s,\n", hcl(value))
		}
		b.WriteString("  ]\n}\n")
	}
	return b.String()
}

// hcl quotes a string for Terraform, where ${ and %{ begin templates.
func hcl(s string) string {
	s = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "${", "$${", "%{", "%%{").Replace(s)
	return `"` + s + `"`
}
