package client

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// schema is as much of an OpenAPI schema as testdata/schemas.yaml uses; keys is
// a pattern for the keys of additionalProperties.
type schema struct {
	Type                 string
	Required, Enum       []string
	Pattern, Keys        string
	Properties           map[string]*schema
	AdditionalProperties *schema `yaml:"additionalProperties"`
	Items                *schema
}

func schemas(t *testing.T) map[string]*schema {
	t.Helper()
	content, err := os.ReadFile("testdata/schemas.yaml")
	require.NoError(t, err)
	var all struct{ Kinds map[string]*schema }
	require.NoError(t, yaml.Unmarshal(content, &all))
	return all.Kinds
}

// document reads the only document of a file.
func document(t *testing.T, f File) map[string]any {
	t.Helper()
	var doc map[string]any
	require.NoError(t, yaml.Unmarshal(f.Content, &doc))
	return doc
}

// conforms says in what a document is not what the API of its kind takes.
func conforms(t *testing.T, doc map[string]any) []string {
	t.Helper()
	kind, _ := doc["kind"].(string)
	s := schemas(t)[kind]
	require.NotNil(t, s, "there is no schema of %q", kind)
	return s.check(kind, doc)
}

func (s *schema) check(at string, value any) (wrong []string) {
	complain := func(format string, args ...any) {
		wrong = append(wrong, at+": "+fmt.Sprintf(format, args...))
	}
	switch value := value.(type) {
	case map[string]any:
		if s.Type != "object" {
			complain("an object is no %s", s.Type)
			return wrong
		}
		for _, key := range s.Required {
			if _, ok := value[key]; !ok {
				complain("%s is missing", key)
			}
		}
		for key, inner := range value {
			of := s.Properties[key]
			if of == nil && s.AdditionalProperties != nil && matches(s.Keys, key) {
				of = s.AdditionalProperties
			}
			if of == nil {
				complain("there is no field %s", key)
				continue
			}
			wrong = append(wrong, of.check(at+"."+key, inner)...)
		}
	case []any:
		if s.Type != "array" {
			complain("an array is no %s", s.Type)
			return wrong
		}
		for i, inner := range value {
			wrong = append(wrong, s.Items.check(fmt.Sprintf("%s[%d]", at, i), inner)...)
		}
	case string:
		if s.Type != "string" || !matches(s.Pattern, value) || s.Enum != nil && !slices.Contains(s.Enum, value) {
			complain("%q is not what it takes", value)
		}
	case int:
		if s.Type != "integer" {
			complain("%d is no %s", value, s.Type)
		}
	case bool:
		if s.Type != "boolean" {
			complain("%t is no %s", value, s.Type)
		}
	default:
		complain("%T is not expected", value)
	}
	return wrong
}

func matches(pattern, text string) bool {
	return pattern == "" || regexp.MustCompile("^(?:"+pattern+")$").MatchString(text)
}

func TestSchemasRefuseWhatIsNotTheirs(t *testing.T) {
	for name, text := range map[string]string{
		"unknown field":  "{apiVersion: config.openshift.io/v1, kind: ImageTagMirrorSet, metadata: {name: a}, spec: {imageDigestMirrors: []}}",
		"missing source": "{apiVersion: config.openshift.io/v1, kind: ImageTagMirrorSet, metadata: {name: a}, spec: {imageTagMirrors: [{mirrors: [a.b]}]}}",
		"scheme":         "{apiVersion: config.openshift.io/v1, kind: ImageTagMirrorSet, metadata: {name: a}, spec: {imageTagMirrors: [{source: a.b, mirrors: ['https://a.b']}]}}",
		"wrong group":    "{apiVersion: operator.openshift.io/v1alpha1, kind: ImageTagMirrorSet, metadata: {name: a}, spec: {}}",
		"octal text":     "{apiVersion: machineconfiguration.openshift.io/v1, kind: MachineConfig, metadata: {name: a}, spec: {config: {ignition: {version: 3.2.0}, storage: {files: [{path: /a, mode: '0644'}]}}}}",
		"colon in a key": "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {'a:1': b}}",
	} {
		t.Run(name, func(t *testing.T) {
			require.NotEmpty(t, conforms(t, document(t, File{Content: []byte(text)})))
		})
	}
}
