// Package rules holds the project to the rules of its roadmap that a machine can check: who may
// import whom, where SQL stands, what tests may not do, and that the documents agree with the code.
// It has tests alone.
package rules
