package images

import (
	"encoding/json"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// unknownOS is what BuildKit writes for the attestations that it lists in an
// index beside the images that they are about.
const unknownOS = "unknown"

func isAttestation(p *v1.Platform) bool { return p != nil && p.OS == unknownOS }

// platformText is os/architecture[/variant], or empty for none. It is shown to
// people, and anybody can write one, so what a terminal might obey is none.
func platformText(p *v1.Platform) string {
	if p.OS == "" && p.Architecture == "" {
		return ""
	}
	text := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		text += "/" + p.Variant
	}
	if strings.IndexFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) >= 0 {
		return ""
	}
	return text
}

// platform is what an image runs on, or empty where nothing says so.
func (v *Inventory) platform(m *HeldManifest) string {
	if text, known := v.platforms[m.Blob]; known {
		return text
	}
	if m.config < 0 {
		return ""
	}
	return v.store.configPlatform(v.Digest(m.config))
}

// configPlatform reads the platform in the config of an image. The config of
// what is no image has none.
func (s *Store) configPlatform(d digest.Digest) string {
	f, err := openUnused(s.BlobPath(d))
	if err != nil {
		return ""
	}
	defer f.Close()
	var p v1.Platform
	if json.NewDecoder(io.LimitReader(f, MaxManifestSize)).Decode(&p) != nil {
		return ""
	}
	return platformText(&p)
}

// attests says whether an index lists the manifest as an attestation.
func (v *Inventory) attests(i int32) bool { return strings.HasPrefix(v.platforms[i], unknownOS+"/") }
