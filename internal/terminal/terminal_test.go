package terminal

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTerminal_Abilities(t *testing.T) {
	pty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	require.NoError(t, err)
	defer pty.Close()
	file, err := os.Create(t.TempDir() + "/file")
	require.NoError(t, err)
	defer file.Close()
	type abilities struct{ terminal, cursor, colours bool }
	tests := map[string]struct {
		w             any
		term, noColor string
		want          abilities
	}{
		"terminal":           {pty, "xterm", "", abilities{true, true, true}},
		"terminal of a kind": {pty, "", "", abilities{true, true, true}},
		"NO_COLOR":           {pty, "xterm", "1", abilities{true, true, false}},
		"dumb":               {pty, "dumb", "", abilities{true, false, false}},
		"dumb and NO_COLOR":  {pty, "dumb", "1", abilities{true, false, false}},
		"file":               {file, "xterm", "", abilities{}},
		"buffer":             {&bytes.Buffer{}, "xterm", "", abilities{}},
		"nothing":            {nil, "xterm", "", abilities{}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Setenv("TERM", test.term)
			t.Setenv("NO_COLOR", test.noColor)
			require.Equal(t, test.want, abilities{Is(test.w), MovesCursor(test.w), Colours(test.w)})
			cols, rows := Size(test.w)
			require.Equal(t, []int{80, 24}, []int{cols, rows}, "a new pseudo-terminal has no size")
		})
	}
}
