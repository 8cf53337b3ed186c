package config

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/inkan-acme/inkan/plug"
)

// schema is a JSON Schema (draft 2020-12) or a part of one.
type schema map[string]any

// JSONSchema returns a JSON Schema of the file with the plug-ins of set, for
// editors that complete and check YAML by one. It is made from the tags that the
// strict reader uses. Only the reader checks that names refer to something and that
// values fit together.
func JSONSchema(set *plug.Set) []byte {
	defs := schema{}
	for _, k := range set.Describe() {
		var alternatives []schema
		for _, p := range k.Plugins {
			alternatives = append(alternatives, pluginSchema(p))
		}
		defs[k.Kind] = schema{"not": schema{}} // until there is a plug-in
		if len(alternatives) > 0 {
			defs[k.Kind] = schema{"type": "object", "required": []string{"type"}, "oneOf": alternatives}
		}
	}
	sections := map[string]string{
		"stores": set.Stores.Name(), "solvers": set.Solvers.Name(), "dns": set.DNS.Name(), "targets": set.Deployers.Name(),
	}
	properties := schema{}
	for _, o := range Schema() {
		if kind, ok := sections[o.Name]; ok {
			properties[o.Name] = described(named(reference(kind)), o)
			continue
		}
		properties[o.Name] = optionSchema(o)
	}
	all := schema{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Inkan configuration file",
		"type": "object", "additionalProperties": false, "properties": properties, "$defs": defs,
	}
	data, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("config: a schema of plain values: %v", err))
	}
	return append(data, '\n')
}

func pluginSchema(p plug.PluginInfo) schema {
	s := object(p.Options)
	s["properties"].(schema)["type"] = schema{"const": p.Name}
	s["required"] = append([]string{"type"}, required(p.Options)...)
	if p.Help != "" {
		s["description"] = p.Help
	}
	return s
}

// object is a map with fixed keys.
func object(options []plug.Option) schema {
	properties := schema{}
	for _, o := range options {
		properties[o.Name] = optionSchema(o)
	}
	s := schema{"type": "object", "additionalProperties": false, "properties": properties}
	if keys := required(options); len(keys) > 0 {
		s["required"] = keys
	}
	return s
}

func required(options []plug.Option) []string {
	var keys []string
	for _, o := range options {
		if o.Required {
			keys = append(keys, o.Name)
		}
	}
	return keys
}

func optionSchema(o plug.Option) schema { return described(typeSchema(o.Type, o.Fields), o) }

func described(s schema, o plug.Option) schema {
	if o.Help != "" {
		s["description"] = o.Help
	}
	if o.Default != "" {
		s["default"] = o.Default
	}
	return s
}

// typeSchema turns the words of plug.Option.Type into a schema.
func typeSchema(word string, fields []plug.Option) schema {
	text := schema{"type": "string"}
	switch word {
	case "string":
		return text
	case "bool":
		return schema{"type": "boolean"}
	case "number":
		return schema{"type": "integer"}
	case "duration":
		return schema{"type": "string", "pattern": `^([0-9]+d)?([0-9.]+(ns|us|µs|ms|s|m|h))*$`}
	case "file mode": // YAML reads 0640 as a number
		return schema{"type": []string{"string", "integer"}}
	case "secret":
		return schema{"anyOf": []schema{text, object(plug.OptionsOf(new(plug.SecretSource)))}}
	case "map":
		return object(fields)
	case "map of names":
		return named(object(fields))
	case rules{}.OptionType():
		one := typeSchema(words{}.OptionType(), nil)
		return schema{"anyOf": append(one["anyOf"].([]schema), schema{"type": "object", "additionalProperties": one})}
	case words{}.OptionType():
		return schema{"anyOf": []schema{text, {"type": "array", "items": text}}}
	}
	if kind, ok := strings.CutSuffix(word, refWords); ok {
		return schema{"anyOf": []schema{text, reference(kind)}}
	}
	if of, ok := strings.CutPrefix(word, "list of "); ok {
		return schema{"type": "array", "items": typeSchema(singular(of), fields)}
	}
	if of, ok := strings.CutPrefix(word, "map of names to "); ok {
		return named(typeSchema(singular(of), fields))
	}
	panic(fmt.Sprintf("config: no schema is known for options of the type %q", word))
}

// refWords is how plug.Ref describes itself behind the kind.
const refWords = ", by name or as {type: ...}"

func singular(word string) string {
	// "stores, by name or ..." is a list of refs, whose plural is at the end.
	return strings.TrimSuffix(word, "s")
}

func named(s schema) schema { return schema{"type": "object", "additionalProperties": s} }

func reference(kind string) schema { return schema{"$ref": "#/$defs/" + kind} }
