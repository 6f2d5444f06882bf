package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// member is one name and value of a JSON object.
type member struct {
	name  string
	value json.RawMessage
}

var errNotObject = errors.New("is not a JSON object")

// jsonObject returns the members of an object in their order, repeated names
// included, which encoding/json would drop without a word.
func jsonObject(data []byte) ([]member, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return nil, errNotObject
	}
	var members []member
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, err
		}
		m := member{}
		m.name, _ = name.(string) // the decoder lets nothing else stand there
		if err := dec.Decode(&m.value); err != nil {
			return nil, err
		}
		members = append(members, m)
	}
	return members, nil
}

// jsonText reads a text or null.
func jsonText(value json.RawMessage) (string, bool) {
	var s string
	err := json.Unmarshal(value, &s)
	return s, err == nil
}

// checkJSON says where the data stops being JSON. It leaves out the words of
// the decoder's error, which quote the data.
func checkJSON(data []byte) error {
	var whole json.RawMessage
	err := json.Unmarshal(data, &whole)
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) {
		return err
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return errors.New("is empty")
	}
	read := data[:syntax.Offset]
	line := 1 + bytes.Count(read, []byte("\n"))
	column := max(1, len(read)-1-bytes.LastIndexByte(read, '\n'))
	if syntax.Error() == "unexpected end of JSON input" {
		return fmt.Errorf("is not JSON: line %d ends before all quotes and brackets are closed", line)
	}
	return fmt.Errorf("is not JSON: line %d is wrong at column %d", line, column)
}
