package demo

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestScenes_HaveDistinctKeysAndActions(t *testing.T) {
	keys, played := map[byte]bool{'q': true}, map[action]bool{}
	last := time.Duration(0)
	for _, s := range scenes() {
		require.False(t, keys[s.key], s.key)
		require.False(t, played[s.action], s.name)
		keys[s.key], played[s.action] = true, true
		require.NotEmpty(t, s.name)
		require.Regexp(t, `^[A-Z0-9].*\.$`, s.does)
		require.Regexp(t, `^[a-z0-9].*\.$`, s.expect)
		require.Greater(t, s.at, last, "the story is in order")
		last = s.at
		require.LessOrEqual(t, s.at+s.takes, storyLength)
		upper, is := sceneOf(s.key - 'a' + 'A')
		require.True(t, is)
		require.Equal(t, s, upper)
	}
	require.Len(t, played, actions)
	for _, key := range []byte{0, 'x', 'Q', 3, '\n', 0xff} {
		_, is := sceneOf(key)
		require.False(t, is, key)
	}
}

func TestSchedule_FitsTheLength(t *testing.T) {
	for limit, want := range map[time.Duration]map[byte]time.Duration{
		0:                     {'d': 4 * time.Second, 'b': 9 * time.Second, 'k': 14 * time.Second, 'p': 22 * time.Second},
		time.Hour:             {'d': 4 * time.Second, 'b': 9 * time.Second, 'k': 14 * time.Second, 'p': 22 * time.Second},
		40 * time.Second:      {'d': 4 * time.Second, 'b': 9 * time.Second, 'k': 14 * time.Second, 'p': 22 * time.Second},
		20 * time.Second:      {'d': 2 * time.Second, 'b': 4500 * time.Millisecond, 'k': 7 * time.Second, 'p': 11 * time.Second},
		10 * time.Second:      {'d': time.Second, 'b': 2250 * time.Millisecond, 'k': 3500 * time.Millisecond},
		2 * time.Second:       {'d': 200 * time.Millisecond, 'b': 450 * time.Millisecond},
		time.Second:           {},
		10 * time.Millisecond: {},
	} {
		got := map[byte]time.Duration{}
		for _, s := range schedule(limit) {
			got[s.key] = s.at
		}
		require.Equal(t, want, got, limit)
	}
}
