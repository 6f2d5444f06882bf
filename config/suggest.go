package config

import "strings"

// Nearest returns the name that is the fewest single-byte changes away from the
// one given, or "" when all are more than limit away.
func Nearest(name string, names []string, limit int) string {
	best := ""
	for _, candidate := range names {
		if d := distance(strings.ToLower(name), strings.ToLower(candidate)); d <= limit {
			best, limit = candidate, d-1
		}
	}
	return best
}

// didYouMean is the part of a message that helps with an unknown name.
func didYouMean(name string, names []string) string {
	known := "known are " + strings.Join(names, ", ")
	// More than one change in three letters is another word, not a slip.
	if best := Nearest(name, names, max(1, len(name)/3)); best != "" {
		return "did you mean " + best + "? (" + known + ")"
	}
	return known
}

// distance is Levenshtein's: the single-byte changes from a to b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
