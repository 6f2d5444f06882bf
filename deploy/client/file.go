package client

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// File is one file for clients.
type File struct {
	// Name is where it goes, below the directory that its kind belongs into.
	Name    string
	Content []byte
	// Secret files are for their owner's eyes.
	Secret bool
}

// Print writes files one after the other. A single file comes as it is, YAML
// files as one stream of documents, others below a line with their name.
func Print(w io.Writer, files []File) error {
	separator := func(File) string { return "---\n" }
	for _, f := range files {
		if !strings.HasSuffix(f.Name, ".yaml") {
			separator = func(f File) string { return "# ==> " + f.Name + " <==\n" }
		}
	}
	for _, f := range files {
		if len(files) > 1 {
			if _, err := io.WriteString(w, separator(f)); err != nil {
				return err
			}
		}
		if _, err := w.Write(f.Content); err != nil {
			return err
		}
	}
	return nil
}

// Save writes files below a directory, each whole or not at all, and returns
// their paths.
func Save(dir string, files []File) ([]string, error) {
	var paths []string
	for _, f := range files {
		path := filepath.Join(dir, filepath.FromSlash(f.Name))
		if err := save(path, f); err != nil {
			return paths, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}

func save(path string, f File) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	// The new file is readable by nobody else until it is known to be fit for
	// others' eyes.
	tmp, err := os.CreateTemp(filepath.Dir(path), ".registry-cache-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = tmp.Close()
			_ = os.Remove(tmp.Name())
		}
	}()
	if _, err = tmp.Write(f.Content); err != nil {
		return err
	}
	if !f.Secret {
		if err = tmp.Chmod(0o644); err != nil {
			return err
		}
	}
	if err = tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// yamlFile marshals a document below a comment.
func yamlFile(name, comment string, doc any) (File, error) {
	var b bytes.Buffer
	for line := range strings.Lines(comment) {
		b.WriteString("# " + line)
	}
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(doc); err != nil {
		return File{}, fmt.Errorf("%s: %w", name, err)
	}
	return File{Name: name, Content: b.Bytes()}, enc.Close()
}

func jsonFile(name string, doc any) (File, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(doc); err != nil {
		return File{}, fmt.Errorf("%s: %w", name, err)
	}
	return File{Name: name, Content: b.Bytes()}, nil
}
