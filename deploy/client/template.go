package client

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"strings"
	"text/template"
)

//go:embed templates
var templateFiles embed.FS

var templates = template.Must(template.New("").Funcs(template.FuncMap{"quote": quote}).
	ParseFS(templateFiles, "templates/*.tmpl"))

// quote makes a basic string of TOML, whose escapes are those of JSON; only DEL
// may stand for itself in JSON alone.
func quote(s string) (string, error) {
	raw, err := json.Marshal(s)
	return strings.ReplaceAll(string(raw), "\x7f", `\u007f`), err
}

func execute(name, file string, data any) (File, error) {
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name, data); err != nil {
		return File{}, fmt.Errorf("%s: %w", file, err)
	}
	return File{Name: file, Content: b.Bytes()}, nil
}
