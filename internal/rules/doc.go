// Package rules tests the rules of ROADMAP.md that a machine can check: which package may import which,
// where SQL may be, what tests may not do, and that the documents agree with the code. It contains only
// tests.
package rules
