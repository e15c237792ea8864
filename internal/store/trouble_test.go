package store

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// Batches are counted under the class of their last error, and no longer when they are not held.
func TestTrouble_CountsTheBatchesThatAreHeld(t *testing.T) {
	held := map[Class]int{}
	var told []string
	tr := newTrouble(
		func(class Class, err error) { told = append(told, fmt.Sprint(class, " ", err)) },
		func(class Class, n int) { held[class] = n },
	)
	a, b := new(int), new(int)
	fails := errors.New("refused")
	steps := []struct {
		do   func()
		held map[Class]int
	}{
		{func() { tr.over(a) }, map[Class]int{}},
		{func() { tr.failed(a, Unavailable, fails) }, map[Class]int{Unavailable: 1}},
		{func() { tr.failed(a, Unavailable, fails) }, map[Class]int{Unavailable: 1}},
		{func() { tr.failed(b, Unavailable, fails) }, map[Class]int{Unavailable: 2}},
		{func() { tr.failed(b, Schema, fails) }, map[Class]int{Unavailable: 1, Schema: 1}},
		{func() { tr.over(a) }, map[Class]int{Unavailable: 0, Schema: 1}},
		{func() { tr.failed(b, Unexpected, fails) }, map[Class]int{Unavailable: 0, Schema: 0, Unexpected: 1}},
		{func() { tr.over(b) }, map[Class]int{Unavailable: 0, Schema: 0, Unexpected: 0}},
		{func() { tr.over(b) }, map[Class]int{Unavailable: 0, Schema: 0, Unexpected: 0}},
	}
	for i, s := range steps {
		s.do()
		require.Equal(t, s.held, held, i)
	}
	require.Equal(t, []string{
		"unavailable refused", "unavailable refused", "unavailable refused", "schema refused", "unexpected refused", " <nil>",
	}, told)
	require.False(t, tr.now())
}
