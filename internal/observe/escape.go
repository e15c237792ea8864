package observe

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Escape writes the characters of text that are not printable, but for those that keep, as JSON does
// (\u009b), so that what was JSON stays it. Control and format characters could rewrite a terminal, or show
// a text in another order than it has.
func Escape(text string, keep func(rune) bool) string {
	var b strings.Builder
	for _, r := range text {
		if unicode.IsPrint(r) || keep(r) {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	return b.String()
}

// jsonLines writes lines of JSON to w, with Escape.
type jsonLines struct{ w io.Writer }

// Write implements io.Writer. Each call is one call of w.Write.
func (j jsonLines) Write(p []byte) (int, error) {
	plain := true
	for _, c := range p {
		plain = plain && c < 0x7f // control characters below it are escaped already
	}
	if plain || !utf8.Valid(p) {
		return j.w.Write(p)
	}
	if _, err := io.WriteString(j.w, Escape(string(p), func(r rune) bool { return r == '\n' })); err != nil {
		return 0, err
	}
	return len(p), nil
}

// JSONLines returns a writer for lines of valid JSON, which leaves in them nothing that is not printable:
// encoding/json lets control characters beyond ASCII and characters that turn the direction of a text pass.
func JSONLines(w io.Writer) io.Writer { return jsonLines{w} }
