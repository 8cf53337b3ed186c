package config_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/inkan-acme/inkan/config"
	"github.com/inkan-acme/inkan/plugins"
)

// TestJSONSchema checks files against the schema as an editor does: what the
// reader takes, the schema takes; common mistakes it refuses.
func TestJSONSchema(t *testing.T) {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(config.JSONSchema(plugins.All())))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("inkan.schema.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("inkan.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	check := func(text string) error {
		data, err := yaml.YAMLToJSON([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		return schema.Validate(v)
	}
	const small = "solvers: {web: {type: webroot, dir: /var/www}}\n"
	for name, text := range map[string]string{
		"everything": full,
		"ways":       small + "defaults: {validate: [web, web]}\ncertificates: {a.example: {names: [a.example], validate: {'*': web, a.example: [web, web]}}}\n",
		"one name":   small + "certificates: {a.example: {names: a.example, validate: none, allow_subset: true, lifetime: 7d}}\n",
		"inline":     "solvers: {s: {type: http-01, store: {type: file, dir: /srv}}}\n",
	} {
		mustLoad(t, text)
		if err := check(text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, text := range map[string]string{
		"unknown key":    "certificats: {}\n",
		"unknown option": "solvers: {web: {type: webroot, directory: /var/www}}\n",
		"unknown type":   "solvers: {web: {type: webrot, dir: /var/www}}\n",
		"no type":        "solvers: {web: {dir: /var/www}}\n",
		"missing option": "solvers: {web: {type: webroot}}\n",
		"wrong type":     "defaults: {reuse_key: maybe}\n",
		"not a duration": "defaults: {lifetime: a week}\n",
	} {
		if _, err := load(text); err == nil {
			t.Errorf("%s: the reader takes it", name)
		}
		if err := check(text); err == nil {
			t.Errorf("%s: the schema takes it", name)
		} else if !strings.Contains(err.Error(), "/") {
			t.Errorf("%s: %v names no place", name, err)
		}
	}
}
