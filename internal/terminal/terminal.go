// Package terminal reports the capabilities of a program's input and output.
package terminal

import (
	"os"

	"golang.org/x/term"
)

// Is reports whether a reader or writer is a terminal.
func Is(rw any) bool {
	file, ok := rw.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// MovesCursor reports whether a writer is a terminal whose cursor can be moved: TERM is not dumb.
func MovesCursor(w any) bool {
	return Is(w) && os.Getenv("TERM") != "dumb"
}

// Colours reports whether a writer is a terminal on which colours are wanted: NO_COLOR (no-color.org) is
// empty.
func Colours(w any) bool {
	return MovesCursor(w) && os.Getenv("NO_COLOR") == ""
}

// Size returns the columns and rows of a terminal, or 80 and 24 if they are unknown, as on a serial line.
func Size(w any) (cols, rows int) {
	if file, ok := w.(*os.File); ok {
		cols, rows, err := term.GetSize(int(file.Fd()))
		if err == nil && cols > 0 && rows > 0 {
			return cols, rows
		}
	}
	return 80, 24
}
