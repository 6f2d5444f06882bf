package warm

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Platform is what an image runs on.
type Platform struct {
	OS, Architecture string
	// Variant is such as v7, or empty for the usual one of the architecture.
	Variant string
}

// otherNames are those that the kernel has for architectures.
var otherNames = map[string]string{"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i386": "386", "i686": "386"}

// ParsePlatform reads os/architecture[/variant].
func ParsePlatform(text string) (Platform, error) {
	parts := strings.Split(strings.ToLower(strings.TrimSpace(text)), "/")
	if len(parts) < 2 || len(parts) > 3 || slices.ContainsFunc(parts, isNoWord) {
		return Platform{}, fmt.Errorf("%q is not a platform; write os/architecture or os/architecture/variant, such as linux/amd64 or linux/arm/v7", text)
	}
	p := Platform{OS: parts[0], Architecture: parts[1]}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	if name, other := otherNames[p.Architecture]; other {
		p.Architecture = name
	}
	return p, nil
}

func isNoWord(part string) bool {
	return part == "" || strings.Trim(part, "abcdefghijklmnopqrstuvwxyz0123456789._-") != ""
}

// ThisMachine is the platform whose images run here.
func ThisMachine() Platform {
	os := runtime.GOOS
	if os != "windows" {
		os = "linux" // in a virtual machine where it is not
	}
	return Platform{OS: os, Architecture: runtime.GOARCH}
}

func (p Platform) String() string {
	text := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		text += "/" + p.Variant
	}
	return text
}

// usual is the variant that an architecture without one means, as containerd
// and podman have it.
var usual = map[string]int{"arm64": 8, "arm": 7, "amd64": 1}

// suits says how well an image for other runs on p: not at all, or better the
// higher the variant that p can still run.
func (p Platform) suits(other *v1.Platform) (rank int, ok bool) {
	if other.OS != p.OS || other.Architecture != p.Architecture {
		return 0, false
	}
	have, known := level(other.Architecture, other.Variant)
	can, knownHere := level(p.Architecture, p.Variant)
	if !known || !knownHere {
		return 0, other.Variant == p.Variant
	}
	return have, have <= can
}

// level is the number in a variant such as v7.
func level(architecture, variant string) (n int, ok bool) {
	if variant == "" {
		n, ok = usual[architecture]
		return n, ok
	}
	digits, ok := strings.CutPrefix(variant, "v")
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(digits)
	return n, err == nil
}

// attested is the platform that BuildKit gives to attestations, which are
// listed beside the images that they are about.
const attested = "unknown"

// choice is what of an index is wanted.
type choice struct {
	chosen []v1.Descriptor
	// missing are the platforms asked for that the index does not have.
	missing []Platform
}

// choose picks the entries of an index for the platforms; nil is all of them.
// Entries without a platform are taken when no entry has one, and indexes in
// the index always. An error says which platforms there are.
func choose(entries []v1.Descriptor, platforms []Platform) (choice, error) {
	if platforms == nil {
		return choice{chosen: entries}, nil
	}
	wanted := make([]bool, len(entries))
	none := !slices.ContainsFunc(entries, func(d v1.Descriptor) bool { return d.Platform != nil })
	for i, d := range entries {
		wanted[i] = d.Platform == nil && (none || isIndex(d.MediaType))
	}
	var c choice
	for _, p := range platforms {
		if !p.mark(entries, wanted) {
			c.missing = append(c.missing, p)
		}
	}
	for i, d := range entries {
		if wanted[i] {
			c.chosen = append(c.chosen, d)
		}
	}
	if len(c.chosen) == 0 && len(entries) > 0 {
		return c, fmt.Errorf("there is nothing for %s; there is %s", joinPlatforms(platforms), offered(entries))
	}
	return c, nil
}

// mark marks the entries that suit best. They may be several: of Windows there
// is one for each version.
func (p Platform) mark(entries []v1.Descriptor, wanted []bool) (found bool) {
	best := 0
	for _, d := range entries {
		if d.Platform == nil {
			continue
		}
		if rank, ok := p.suits(d.Platform); ok && (!found || rank > best) {
			best, found = rank, true
		}
	}
	for i, d := range entries {
		if d.Platform == nil {
			continue
		}
		if rank, ok := p.suits(d.Platform); ok && rank == best {
			wanted[i] = true
		}
	}
	return found
}

func joinPlatforms(platforms []Platform) string {
	texts := make([]string, 0, len(platforms))
	for _, p := range platforms {
		texts = append(texts, p.String())
	}
	return strings.Join(texts, ", ")
}

// offered lists the platforms of an index.
func offered(entries []v1.Descriptor) string {
	var texts []string
	for _, d := range entries {
		if text := platformOf(d); text != "" && d.Platform.OS != attested && !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	if len(texts) == 0 {
		return "none with a platform; --all-platforms takes what there is"
	}
	return strings.Join(texts, ", ")
}

func platformOf(d v1.Descriptor) string {
	if d.Platform == nil {
		return ""
	}
	return Platform{d.Platform.OS, d.Platform.Architecture, d.Platform.Variant}.String()
}
