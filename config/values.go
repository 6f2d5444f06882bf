package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/prometheus/common/model"
)

// ParseSize reads a size in bytes, more than 0, as go-humanize does: 10G is
// 10^10, 10GiB is 10*2^30.
func ParseSize(s string) (int64, error) {
	n, err := humanize.ParseBytes(strings.TrimSpace(s))
	if err != nil || n == 0 || n > math.MaxInt64 {
		return 0, fmt.Errorf("%q is not a size; write a number above 0 and a unit, such as 10G (10^10 bytes) or 10GiB (10*2^30)", s)
	}
	return int64(n), nil
}

// parseDuration reads a duration of 0 or more. Besides Go's units it takes
// days and weeks, which ages of images are counted in.
func parseDuration(s string) (time.Duration, error) {
	text := strings.TrimSpace(s)
	d, err := time.ParseDuration(text)
	if err != nil {
		var long model.Duration
		long, err = model.ParseDuration(text)
		d = time.Duration(long)
	}
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration; write a number and a unit, such as 90s, 30m, 12h or 7d", s)
	}
	if d < 0 {
		return 0, fmt.Errorf("%q is negative; write a duration such as 90s, 30m, 12h or 7d", s)
	}
	return d, nil
}

// parseInterval reads a duration above 0.
func parseInterval(s string) (time.Duration, error) {
	d, err := parseDuration(s)
	if err == nil && d == 0 {
		err = fmt.Errorf("%q is no time at all; write a duration such as 90s, 30m, 12h or 7d", s)
	}
	return d, err
}

// parseStaleness reads a duration, or always.
func parseStaleness(s string) (time.Duration, error) {
	if strings.EqualFold(strings.TrimSpace(s), "always") {
		return Always, nil
	}
	d, err := parseDuration(s)
	if err != nil {
		err = fmt.Errorf("%w, or always", err)
	}
	return d, err
}

func isOff(s string) bool { return strings.EqualFold(strings.TrimSpace(s), "off") }

// parseEvictionAge reads a duration above 0, or off, which is 0.
func parseEvictionAge(s string) (time.Duration, error) {
	if isOff(s) {
		return 0, nil
	}
	d, err := parseInterval(s)
	if err != nil {
		err = fmt.Errorf("%w, or off", err)
	}
	return d, err
}

// parsePercent reads a whole number from 0 to 100, with or without %.
func parsePercent(s string) (int, error) {
	n, err := strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(s), "%")), 10, 8)
	if err != nil || n > 100 {
		return 0, fmt.Errorf("%q is not a percentage; write a whole number from 0 to 100, such as 20", s)
	}
	return int(n), nil
}

// freeSpace is either a number of bytes or a percentage of the disk; neither
// is off.
type freeSpace struct {
	bytes   int64
	percent float64
}

func parseFreeSpace(s string) (freeSpace, error) {
	text := strings.TrimSpace(s)
	if isOff(text) || text == "0" {
		return freeSpace{}, nil
	}
	if number, ok := strings.CutSuffix(text, "%"); ok {
		percent, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		// Written so that NaN fails too.
		if err == nil && percent >= 0 && percent < 100 {
			return freeSpace{percent: percent}, nil
		}
	} else if size, err := ParseSize(text); err == nil {
		return freeSpace{bytes: size}, nil
	}
	return freeSpace{}, fmt.Errorf("%q is neither a percentage of the disk nor a size; write for example 5%%, 20GiB or off", s)
}

// maxConnections is more than any registry gives one client.
const maxConnections = 16

// parseConnections reads how many connections one blob may take.
func parseConnections(s string) (int, error) {
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil || n < 1 || n > maxConnections {
		return 0, fmt.Errorf("%q is not a number of connections; write a whole number from 1 to %d, such as 4", s, maxConnections)
	}
	return n, nil
}

func parseFlag(s string) (bool, error) {
	b, err := strconv.ParseBool(strings.ToLower(strings.TrimSpace(s)))
	if err != nil {
		return false, fmt.Errorf("%q is neither true nor false", s)
	}
	return b, nil
}
