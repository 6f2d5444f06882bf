package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// fileConfig is CONFIG_FILE.
type fileConfig struct {
	Upstreams map[string]*fileUpstream `yaml:"upstreams"`
	Hosted    *fileHosted              `yaml:"hosted"`
	Pin       []string                 `yaml:"pin"`
}

// fileUpstream is what CONFIG_FILE says of one upstream; the values with a unit
// are read where they are used.
type fileUpstream struct {
	URL                string   `yaml:"url"`
	Aliases            []string `yaml:"aliases"`
	CA                 string   `yaml:"ca"`
	InsecureSkipVerify bool     `yaml:"insecureSkipVerify"`
	TokenRealms        []string `yaml:"tokenRealms"`
	Repositories       []string `yaml:"repositories"`
	TagMaxAge          string   `yaml:"tagMaxAge"`
	StaleIfError       string   `yaml:"staleIfError"`
	MaxSize            string   `yaml:"maxSize"`

	StaleWhileRevalidate string `yaml:"staleWhileRevalidate"`
	IdleTimeout          string `yaml:"idleTimeout"`
	ParallelFrom         string `yaml:"parallelFrom"`
	Connections          string `yaml:"connections"`
}

type fileHosted struct {
	Prefix string   `yaml:"prefix"`
	Push   []string `yaml:"push"`
}

// configFile is CONFIG_FILE together with where in it things stand.
type configFile struct {
	fileConfig
	path string
	root yaml.Node
}

// readConfigFile returns an empty configFile when there is none at the default
// place.
func (l *loader) readConfigFile() *configFile {
	path := string(l.set.ConfigFile)
	l.watch(path)
	content, err := readText(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !l.isSet("CONFIG_FILE"):
	case err != nil:
		l.mistake("CONFIG_FILE", "%v", err)
	default:
		return l.parseConfigFile(path, content)
	}
	return &configFile{path: path}
}

func (l *loader) parseConfigFile(path string, content []byte) *configFile {
	f := &configFile{path: path}
	// The nodes have the lines; only the other decoder knows which keys are
	// allowed.
	if err := yaml.Unmarshal(content, &f.root); err != nil {
		l.yamlMistakes(path, err)
		return f
	}
	dec := yaml.NewDecoder(bytes.NewReader(content))
	dec.KnownFields(true)
	err := dec.Decode(&f.fileConfig)
	if err != nil && !errors.Is(err, io.EOF) {
		l.yamlMistakes(path, err)
		if !isHosted(child(f.root.Content[0], "hosted")) {
			f.Hosted = nil // what could not be read would be called missing as well
		}
	}
	var second yaml.Node
	if err := dec.Decode(&second); err == nil {
		l.mistake(fmt.Sprintf("%s:%d", path, second.Line), "a second document begins here; write one")
	}
	return f
}

// isHosted says whether a value could be read as the part about what is pushed.
func isHosted(value *yaml.Node) bool {
	if value == nil {
		return false
	}
	text, err := yaml.Marshal(value)
	if err != nil {
		return false
	}
	dec := yaml.NewDecoder(bytes.NewReader(text)) // a node's own decoder takes any key
	dec.KnownFields(true)
	return dec.Decode(&fileHosted{}) == nil
}

// at is the position of a value as file:line: key, for instance
// at("upstreams", "quay.io", "aliases", "0").
func (f *configFile) at(keys ...string) string {
	node := &f.root
	if node.Kind == yaml.DocumentNode {
		node = node.Content[0]
	}
	line, dotted := node.Line, ""
	for _, key := range keys {
		shown := showKey(key)
		if _, err := strconv.Atoi(key); err == nil {
			dotted += "[" + key + "]"
		} else if dotted != "" {
			dotted += "." + shown
		} else {
			dotted = shown
		}
		if node = child(node, key); node != nil && node.Line > 0 {
			line = node.Line
		}
	}
	if line == 0 {
		return f.path + ": " + dotted
	}
	return fmt.Sprintf("%s:%d: %s", f.path, line, dotted)
}

// child returns the value of a key, or nil.
func child(node *yaml.Node, key string) *yaml.Node {
	if node == nil {
		return nil
	}
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	switch node.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == key {
				return node.Content[i+1]
			}
		}
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(key); err == nil && i >= 0 && i < len(node.Content) {
			return node.Content[i]
		}
	}
	return nil
}
