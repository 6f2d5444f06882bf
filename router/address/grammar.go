package address

// The grammar of the OCI distribution specification, "Pulling manifests",
// written out: the regular expressions there take longer than all the rest of
// answering from memory.

// maxName is distribution's limit for a whole repository name, in bytes.
const maxName = 255

// isName matches [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)* in parts between slashes.
func isName(s string) bool {
	inWord := false
	for i := 0; i < len(s); i++ {
		c := s[i]
		if isLower(c) || isDigit(c) {
			inWord = true
			continue
		}
		if !inWord {
			return false // what separates words stands between two
		}
		inWord = false
		switch c {
		case '/', '.':
		case '_':
			if i+1 < len(s) && s[i+1] == '_' {
				i++
			}
		case '-':
			for i+1 < len(s) && s[i+1] == '-' {
				i++
			}
		default:
			return false
		}
	}
	return inWord
}

// isTag matches [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}.
func isTag(s string) bool {
	for i := range len(s) {
		c := s[i]
		word := isLower(c) || isDigit(c) || 'A' <= c && c <= 'Z' || c == '_'
		if !word && (i == 0 || c != '.' && c != '-') {
			return false
		}
	}
	return 1 <= len(s) && len(s) <= 128
}

// isUpload matches [a-zA-Z0-9-]{1,128}, in which distribution's names of uploads
// lie.
func isUpload(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !isLower(c) && !isDigit(c) && (c < 'A' || c > 'Z') && c != '-' {
			return false
		}
	}
	return 1 <= len(s) && len(s) <= 128
}

// isHex matches [0-9a-f]*.
func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isDigit(c) && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func isLower(c byte) bool { return 'a' <= c && c <= 'z' }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }
