package cli

import (
	"io"
	"os"
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

func TestPaint_ColoursTerminalsAlone(t *testing.T) {
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	pty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	require.NoError(t, err)
	defer pty.Close()
	require.Equal(t, "\x1b[31mfailed\x1b[0m", paint(pty, red, "failed"))
	require.Equal(t, "failed", paint(io.Discard, red, "failed"))
	t.Setenv("NO_COLOR", "1")
	require.Equal(t, "failed", paint(pty, red, "failed"))
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
