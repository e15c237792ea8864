// Package alike finds names that one may have meant by another: a stream, a command, a flag.
package alike

import (
	"slices"
	"strings"
	"unicode"
)

// Names reports whether one name may be a slip of the other: they differ in case, white space or
// punctuation, in one or two characters, or one is the beginning or the end of the other.
func Names(a, b string) bool {
	a, b = plain(a), plain(b)
	if a == "" || b == "" {
		return a == b
	}
	shorter := min(len(a), len(b))
	if shorter >= 3 && (strings.HasPrefix(a, b) || strings.HasPrefix(b, a) || strings.HasSuffix(a, b) || strings.HasSuffix(b, a)) {
		return true
	}
	return Distance(a, b) <= min(2, shorter/3)
}

// plain keeps letters and digits, in lower case.
func plain(name string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return -1
		}
		return unicode.ToLower(r)
	}, name)
}

// Distance counts the bytes to insert, delete or replace that make b of a (Levenshtein). Two neighbours in the
// wrong order count as one.
func Distance(a, b string) int {
	before, row := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next := make([]int, len(b)+1)
		next[0] = i + 1
		for j := range len(b) {
			replace := row[j]
			if a[i] != b[j] {
				replace++
			}
			next[j+1] = min(replace, row[j+1]+1, next[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}

// Closest returns those of the candidates that name was most likely meant to be, the best first, and at most three: those with
// the fewest changes that are few for its length, and those of which it is a part.
func Closest(name string, candidates []string) []string {
	score := func(candidate string) int {
		a, b := plain(name), plain(candidate)
		if a == "" || len(name) > 64 { // a slip is short
			return -1
		}
		changes := Distance(a, b)
		switch {
		case changes <= max(1, min(len(a), len(b))/3):
			return changes
		case len(a) >= 2 && strings.HasPrefix(b, a), len(a) >= 4 && strings.Contains(b, a), len(b) >= 4 && strings.Contains(a, b):
			return 10 + changes
		}
		return -1
	}
	var found []string
	for _, c := range candidates {
		if score(c) >= 0 && !slices.Contains(found, c) {
			found = append(found, c)
		}
	}
	slices.SortStableFunc(found, func(a, b string) int { return score(a) - score(b) })
	return found[:min(len(found), 3)]
}
