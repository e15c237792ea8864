package cli

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPrintable_LeavesNothingThatMovesTheCursor(t *testing.T) {
	for text, want := range map[string]string{
		"plain – text":      "plain – text",
		"two\nlines\tand":   "two lines and",
		"\x1b[31mred":       `\u001b[31mred`,
		"c1 \u009b2J":       `c1 \u009b2J`,
		"right \u202e left": `right \u202e left`,
		"\U000e0001":        `\udb40\udc01`,
		"no text \xff":      "no text \ufffd",
	} {
		require.Equal(t, want, printable(text))
	}
}

func TestHide_TakesOutEverySpelling(t *testing.T) {
	const url = "postgres://u:a%2Fb%20c@host/x"
	require.Equal(t, "u:xxxxx xxxxx xxxxx", hide("u:a%2Fb%20c a/b c a%2Fb+c", url))
	require.Equal(t, "nothing to hide", hide("nothing to hide", "", "redis://host"))
}

func TestShorten_CountsCharacters(t *testing.T) {
	require.Equal(t, "–––", shorten("–––", 3))
	require.Equal(t, "––…", shorten("––––", 3))
}

func TestAge_IsWorthReading(t *testing.T) {
	for d, want := range map[time.Duration]string{
		1234 * time.Microsecond:    "1ms",
		12345 * time.Millisecond:   "12.3s",
		3723456 * time.Millisecond: "1h2m3s",
	} {
		require.Equal(t, want, age(d))
	}
}
