package doctor

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"processor/internal/servertest"
)

func TestMain(m *testing.M) { servertest.Main(m) }

// A state that is waited for is looked for so often, and must come within this time.
const (
	poll     = 10 * time.Millisecond
	deadline = 30 * time.Second
)

// summary is findings as "state check: detail. Fix: hint", to be compared at once.
func summary(findings []Finding) []string {
	var lines []string
	for _, f := range findings {
		if f.State == OK && slices.Contains([]string{"clock", "memory", "disk", "locks", "chunk size", "background jobs"}, f.Check) {
			f.Detail = "…" // differs from run to run
		}
		line := fmt.Sprintf("%s %s: %s", f.State, f.Check, f.Detail)
		if f.Hint != "" {
			line += ". Fix: " + f.Hint
		}
		lines = append(lines, line)
	}
	return lines
}

// changed are the lines of after that are not in before.
func changed(before, after []string) []string {
	known := map[string]bool{}
	for _, line := range before {
		known[line] = true
	}
	var lines []string
	for _, line := range after {
		if !known[line] {
			lines = append(lines, line)
		}
	}
	return lines
}
