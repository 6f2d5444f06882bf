package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/dustin/go-humanize"
	"github.com/mattn/go-isatty"

	"registrycache/images"
)

// maxListed is how many tags or platforms a terminal is shown in one line.
// Files and pipes get all.
const maxListed = 3

func (s *imageStore) writeTable(to io.Writer, shown []listedImage) error {
	if len(s.Images) == 0 {
		_, err := fmt.Fprintf(to, "Nothing is cached in %s yet: images come with the first pull.\n", s.cfg.StoreDir)
		return err
	}
	terminal := isTerminal(to)
	out := bufio.NewWriter(to)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "NAME\tTAGS\tDIGEST\tPLATFORMS\tSIZE\tSHARED\tLAST USED\tCOMPLETE")
	for _, image := range shown {
		cells := []string{
			image.Repository, orNone(joined(image.Tags, terminal)), shortOf(image.Image), platformsCell(image.Image, terminal),
			sizeText(image.Size), sizeText(image.Size - image.Own), s.usedCell(image), completeCell(image.Image),
		}
		_, _ = fmt.Fprintln(w, printable(strings.Join(cells, "\t")))
	}
	_ = w.Flush() // of memory
	if terminal {
		_, _ = fmt.Fprintf(out, "\n%s\n", s.summary())
	}
	return out.Flush()
}

// usedCell says of pushed images that they are: nobody goes by their last use.
func (s *imageStore) usedCell(image listedImage) string {
	if image.of == s.pushed {
		return "pushed"
	}
	return humanize.Time(image.Used)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// summary says what all of the stores hold.
func (s *imageStore) summary() string {
	text := summaryOf(s.cached)
	if s.pushed.All.Blobs > 0 {
		text += "\npushed: " + summaryOf(s.pushed)
	}
	return text
}

func summaryOf(l *images.Listing) string {
	text := fmt.Sprintf("%s, %s in %s", counted(len(l.Images), "image"), sizeText(l.All.Bytes), counted(l.All.Blobs, "blob"))
	if l.Loose.Blobs > 0 {
		text += fmt.Sprintf(", %s of it in %s of no image", sizeText(l.Loose.Bytes), counted(l.Loose.Blobs, "blob"))
	}
	return text
}

// shortDigits is how many digits of a digest tell images apart, as podman has
// it.
const shortDigits = 12

func shortOf(image images.Image) string { return image.Digest.Encoded()[:shortDigits] }

func joined(list []string, terminal bool) string {
	if terminal && len(list) > maxListed {
		return fmt.Sprintf("%s +%d", strings.Join(list[:maxListed], ","), len(list)-maxListed)
	}
	return strings.Join(list, ",")
}

func orNone(text string) string {
	if text == "" {
		return "<none>"
	}
	return text
}

// platformsCell says how many of an index are here where others are not.
func platformsCell(image images.Image, terminal bool) string {
	text := joined(image.Platforms, terminal)
	if text == "" {
		text = "-"
	}
	if image.Here < image.Listed {
		text += fmt.Sprintf(" (%d of %d)", image.Here, image.Listed)
	}
	return text
}

func completeCell(image images.Image) string {
	switch {
	case image.Complete():
		return "yes"
	case image.Damaged:
		return "no: the manifest can't be read"
	case len(image.Missing) > 0:
		return "no: " + counted(len(image.Missing), "blob") + " missing"
	}
	return "no: only the index is here"
}

// printable takes out what a terminal would obey. Names come from directories,
// which another program may have made.
func printable(text string) string { return cleanExcept('\t', text) }

func printableLines(text string) string { return cleanExcept('\n', text) }

func cleanExcept(allowed rune, text string) string {
	return strings.Map(func(r rune) rune {
		if r == allowed || unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, text)
}
