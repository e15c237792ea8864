//go:build race

package stream

// overwriteReleased: under the race detector, as in tests, the memory of a batch is overwritten when it is released.
const overwriteReleased = true
