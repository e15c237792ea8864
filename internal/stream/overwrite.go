//go:build !race

package stream

const overwriteReleased = false
