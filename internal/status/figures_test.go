package status

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"processor/internal/stream"
)

func TestRates_AreUnknownWhereACountIs(t *testing.T) {
	at := func(added int64, read ...int64) stream.Info {
		info := stream.Info{Added: &added, Group: &stream.GroupInfo{}}
		for i := range read {
			info.Group.Read = &read[i]
			info.Group.LastDelivered.Millis = uint64(read[i])
		}
		return info
	}
	rate := func(before, now stream.Info) [2]string {
		added, read, _ := rates(before, now, 2*time.Second)
		return [2]string{PerSecond(added), PerSecond(read)}
	}
	require.Equal(t, [2]string{"50/s", "100/s"}, rate(at(100, 100), at(200, 300)))
	require.Equal(t, [2]string{"50/s", "–"}, rate(at(100), at(200, 300)), "Redis had lost count")
	require.Equal(t, [2]string{"–", "–"}, rate(at(100, 100), at(1, 1)), "flushed in between")
	require.Equal(t, [2]string{"50/s", "–"}, rate(at(100, 1), stream.Info{Added: new(int64(200))}), "the group is gone")

	lost := at(100, 100)
	lost.TrimmedUnread = 50
	counted := at(100, 150) // by a worker that found the loss, and read nothing
	counted.Group.LastDelivered = lost.Group.LastDelivered
	require.Equal(t, [2]string{"0/s", "0/s"}, rate(lost, counted))
	require.Equal(t, [2]string{"0/s", "10/s"}, rate(lost, at(100, 170)), "and read 20")
}
