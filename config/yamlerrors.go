package config

import (
	"errors"
	"reflect"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

var (
	yamlLine    = regexp.MustCompile(`(?s)^line (\d+): (.*)$`)
	yamlUnknown = regexp.MustCompile(`(?s)^field (.*) not found in type config\.(\w+)$`)
	yamlType    = regexp.MustCompile("(?s)^cannot unmarshal .* into ([^`]+)$")
	// yamlQuoted is the part of a message that repeats what the file holds.
	yamlQuoted = regexp.MustCompile("(?s) ?(`.*`|'.*'|map\\[.*)")
)

// yamlForms says for the types in fileConfig what to write.
var yamlForms = map[string]string{
	"bool":                            "true or false",
	"string":                          "a single text",
	"[]string":                        "a list, such as [one, two]",
	"config.fileConfig":               "a mapping with upstreams, hosted or pin",
	"config.fileHosted":               "a mapping, such as {prefix: local}",
	"config.fileUpstream":             "a mapping, such as {url: https://quay.io}",
	"map[string]*config.fileUpstream": "a mapping of hosts, such as {quay.io: {aliases: [q]}}",
}

// yamlMistakes turns the decoder's errors into ours: they show Go types, and
// values that may be secrets, and they don't say what would be right.
func (l *loader) yamlMistakes(path string, err error) {
	var several *yaml.TypeError
	if !errors.As(err, &several) {
		several = &yaml.TypeError{Errors: []string{strings.TrimPrefix(err.Error(), "yaml: ")}}
	}
	for _, text := range several.Errors {
		where := path
		if m := yamlLine.FindStringSubmatch(text); m != nil {
			where, text = path+":"+m[1], m[2]
		}
		if m := yamlUnknown.FindStringSubmatch(text); m != nil {
			l.mistake(where, "unknown key %q; %s", showKey(m[1]), didYouMean(m[1], yamlKeys(m[2])))
		} else if m := yamlType.FindStringSubmatch(text); m != nil && yamlForms[m[1]] != "" {
			l.mistake(where, "the value has the wrong form; write %s", yamlForms[m[1]])
		} else {
			l.mistake(where, "not YAML as expected: %s", hideUserinfo(yamlQuoted.ReplaceAllString(text, "")))
		}
	}
}

// yamlKeys lists the keys of one of the types in fileConfig.
func yamlKeys(name string) []string {
	var keys []string
	for _, t := range []reflect.Type{reflect.TypeFor[fileConfig](), reflect.TypeFor[fileUpstream](), reflect.TypeFor[fileHosted]()} {
		if t.Name() != name {
			continue
		}
		for i := range t.NumField() {
			keys = append(keys, t.Field(i).Tag.Get("yaml"))
		}
	}
	return keys
}
