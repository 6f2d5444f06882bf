package config

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/caarlos0/env/v11"
	"github.com/rs/zerolog"
)

// settingParsers are the readers of the types in settings, as package env
// takes them.
func settingParsers() map[reflect.Type]env.ParserFunc {
	parsers := map[reflect.Type]env.ParserFunc{}
	// Children may run elsewhere, so paths are made absolute.
	reads[location](parsers, filepath.Abs)
	reads[address](parsers, parseListenAddress)
	reads[authType](parsers, parseAuthType)
	reads[logLevel](parsers, parseLogLevel)
	reads[logFormat](parsers, parseLogFormat)
	reads[flag](parsers, parseFlag)
	reads[percent](parsers, parsePercent)
	reads[size](parsers, ParseSize)
	reads[freeSpace](parsers, parseFreeSpace)
	reads[duration](parsers, parseDuration)
	reads[interval](parsers, parseInterval)
	reads[staleness](parsers, parseStaleness)
	reads[oldest](parsers, parseEvictionAge)
	return parsers
}

func reads[T, V any](parsers map[reflect.Type]env.ParserFunc, parse func(string) (V, error)) {
	t := reflect.TypeFor[T]()
	parsers[t] = func(text string) (any, error) {
		v, err := parse(text)
		return reflect.ValueOf(v).Convert(t).Interface(), err
	}
}

func parseLogLevel(s string) (string, error) {
	var names []string
	for level := zerolog.TraceLevel; level <= zerolog.PanicLevel; level++ {
		names = append(names, level.String())
	}
	return oneOf("log level", s, append(names, zerolog.Disabled.String())...)
}

func parseLogFormat(s string) (string, error) {
	return oneOf("log format", s, LogFormatConsole, LogFormatJSON)
}

func oneOf(kind, s string, names ...string) (string, error) {
	name := strings.ToLower(strings.TrimSpace(s))
	if !slices.Contains(names, name) {
		return "", fmt.Errorf("%q is not a %s; write one of %s", s, kind, strings.Join(names, ", "))
	}
	return name, nil
}

// readEnvironment fills l.set. A variable that is set but empty counts as
// unset, since compose files and manifests often pass on what is not there.
func (l *loader) readEnvironment() {
	err := env.ParseWithOptions(&l.set, env.Options{Environment: l.env, FuncMap: settingParsers()})
	var all env.AggregateError
	if errors.As(err, &all) {
		err = nil
		for _, e := range all.Errors {
			var p env.ParseError
			if !errors.As(e, &p) {
				err = e
				continue
			}
			field, _ := reflect.TypeFor[settings]().FieldByName(p.Name)
			l.mistake(field.Tag.Get("env"), "%v", p.Err)
		}
	}
	if err != nil {
		l.mistake("environment", "%v", err)
	}
	l.checkNames()
	for _, name := range []string{"CLEANER_BTWDELETES_TIME", "INITIALPORT"} {
		if l.isSet(name) {
			l.notice("%s is accepted for compatibility and has no effect", name)
		}
	}
}

func (l *loader) isSet(name string) bool { return l.env[name] != "" }

// ownPrefixes are the beginnings of names that are nobody else's, so that an
// unknown one is a mistake.
var ownPrefixes = []string{"CLEANER_", "REGISTRY_AUTH_"}

// serviceLink matches the variables that Kubernetes sets for each service in
// the namespace: one called registry-auth makes REGISTRY_AUTH_SERVICE_HOST.
var serviceLink = regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)

// checkNames finds misspelt variables.
func (l *loader) checkNames() {
	known := variableNames()
	for _, name := range slices.Sorted(maps.Keys(l.env)) {
		if slices.Contains(known, name) || name == authFileVariable || serviceLink.MatchString(name) {
			continue
		}
		if i := slices.IndexFunc(ownPrefixes, func(p string) bool { return strings.HasPrefix(name, p) }); i >= 0 {
			own := slices.DeleteFunc(slices.Clone(known), func(k string) bool { return !strings.HasPrefix(k, ownPrefixes[i]) })
			l.mistake(name, "is not a setting; %s", didYouMean(name, own))
			continue
		}
		// Other names may be somebody else's, and short ones are alike by
		// chance.
		limit := 1
		if len(name) >= 10 {
			limit = 2
		}
		if meant := Nearest(name, known, limit); meant != "" && !l.isSet(meant) && !strings.Contains(meant, "PROXY") {
			l.notice("%s is not a setting; did you mean %s?", name, meant)
		}
	}
}
