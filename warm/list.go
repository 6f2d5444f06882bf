package warm

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/hashicorp/go-multierror"
)

// maxLine is the longest line of a list, in bytes. Names end at 255, and URLs
// are little longer.
const maxLine = 4 << 10

// ReadList reads a list of images: one a line, by name or by the URL of the
// manifest. Empty lines mean nothing, and neither does what follows a # at the
// beginning of a line or after a blank. The error carries every line that is
// wrong, by file and line; file is only for it.
func (n Names) ReadList(r io.Reader, file string) ([]Image, error) {
	var images []Image
	var mistakes *multierror.Error
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, maxLine), maxLine)
	number := 0
	for lines.Scan() {
		number++
		text := lines.Text()
		if number == 1 {
			text = strings.TrimPrefix(text, "\ufeff") // as editors on Windows write it
		}
		if text = strings.TrimSpace(withoutComment(text)); text == "" {
			continue
		}
		image, err := n.Parse(text)
		if err != nil {
			mistakes = multierror.Append(mistakes, fmt.Errorf("%s:%d: %w", file, number, err))
			continue
		}
		images = append(images, image)
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		mistakes = multierror.Append(mistakes, fmt.Errorf("%s:%d: the line is longer than 4 KiB; write one image a line", file, number+1))
	case err != nil:
		mistakes = multierror.Append(mistakes, fmt.Errorf("%s: %w", file, err))
	}
	return images, mistakes.ErrorOrNil()
}

func withoutComment(line string) string {
	for i, c := range line {
		if c == '#' && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t') {
			return line[:i]
		}
	}
	return line
}

// Distinct leaves out images that stand earlier in the list already.
func Distinct(images []Image) []Image {
	type key struct{ repository, reference string }
	seen := map[key]bool{}
	var distinct []Image
	for _, image := range images {
		k := key{image.Repository, image.Reference}
		if !seen[k] {
			seen[k] = true
			distinct = append(distinct, image)
		}
	}
	return distinct
}
