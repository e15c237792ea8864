package store

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"processor/internal/position"
	"processor/internal/servertest"
)

// manyPositions are a batch of 2,500 fixes of 10,000 devices, as a loaded worker has them.
func manyPositions() []position.Position {
	random := rand.New(rand.NewPCG(1, 2))
	attributes := []byte(`{"16":61383,"21":5,"24":61,"66":14548,"67":4021,"69":1,"80":1,"181":26,"182":12,"199":1204,"200":0,"239":1,"240":1,"241":21403,"event":0}`)
	positions := make([]position.Position, 2500)
	for i := range positions {
		positions[i] = position.Position{
			DeviceID:   fmt.Sprintf("35630704%07d", random.IntN(10000)),
			Timestamp:  time.UnixMilli(1_750_000_000_000 + int64(i)).UTC(),
			Latitude:   41.4349316,
			Longitude:  2.2190583,
			Speed:      61,
			Attributes: attributes,
		}
	}
	return positions
}

// One operation of these benchmarks is one position.

func BenchmarkWriter_Sort(b *testing.B) {
	var sorter sorter
	positions := manyPositions()
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if n%len(positions) == 0 {
			sorter.sort(positions)
		}
	}
}

func BenchmarkCopySource_Read(b *testing.B) {
	source := newCopySource()
	positions := manyPositions()
	var sorter sorter
	order := sorter.sort(positions)
	size, err := func() (int64, error) { source.reset(positions, order); return io.Copy(io.Discard, source) }()
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(size / int64(len(positions)))
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if n%len(positions) != 0 {
			continue
		}
		source.reset(positions, order)
		if _, err := io.Copy(io.Discard, source); err != nil {
			b.Fatal(err)
		}
	}
}

// A replay of what is there already, as entries that Redis delivers for the first time (a group
// that was set back, a stream published twice) and as redelivered ones, which go by upsert alone.
// The first must not take 5 % longer than the second. One operation is 40 batches of 2,500.
func BenchmarkWriter_Replay(b *testing.B) {
	url := servertest.Migrated(b)
	batches := make([][]position.Position, 40)
	for n := range batches {
		batches[n] = manyPositions()
		for i := range batches[n] {
			p := &batches[n][i]
			p.Timestamp = p.Timestamp.Add(time.Duration(n*len(batches[n])) * time.Millisecond)
		}
	}
	write := func(b *testing.B, w *Writer, redelivered bool, want Result) {
		for _, batch := range batches {
			got, err := w.Write(b.Context(), Batch{Positions: batch, Redelivered: redelivered})
			if err != nil {
				b.Fatal(err)
			}
			require.Equal(b, want, got)
		}
	}
	write(b, open(b, url, Options{}).NewWriter(), false, Result{Inserted: len(batches[0])})
	for name, redelivered := range map[string]bool{"as_new": false, "redelivered": true} {
		b.Run(name, func(b *testing.B) {
			w := open(b, url, Options{}).NewWriter()
			for b.Loop() {
				write(b, w, redelivered, Result{Unchanged: len(batches[0])})
			}
		})
	}
}

// One device sends many distinct days beside the live rows of others; what is parked is written by a second Writer,
// as the pipeline does. One operation is all of it.
func BenchmarkWriter_ManyDays(b *testing.B) {
	const days, storm, live = 3600, 60, 100 // storm days and live rows in each batch
	s := open(b, servertest.Migrated(b), Options{Writers: 2})
	today := time.Now().UTC().Truncate(24 * time.Hour)
	for b.Loop() {
		parked, stored := make(chan Batch, days), make(chan int)
		go func() {
			w, n := s.NewWriter(), 0
			for left := range parked {
				for len(left.Positions) > 0 {
					got, err := w.Write(b.Context(), left)
					require.NoError(b, err)
					n += got.Inserted
					left = pick(left, got.Parked)
				}
			}
			stored <- n
		}()
		began, longest, n := time.Now(), time.Duration(0), 0
		w := s.NewWriter()
		write := func(batch Batch) {
			at := time.Now()
			got, err := w.Write(b.Context(), batch)
			require.NoError(b, err)
			longest = max(longest, time.Since(at))
			n += got.Inserted
			if len(got.Parked) > 0 {
				parked <- pick(batch, got.Parked)
			}
		}
		for first := 0; first < days; first += storm {
			var batch Batch
			for i := range storm {
				batch.Positions = append(batch.Positions, position.Position{DeviceID: "storm", Timestamp: today.AddDate(0, 0, -first-i), Attributes: []byte(`{}`)})
			}
			for i := range live {
				batch.Positions = append(batch.Positions, position.Position{DeviceID: fmt.Sprint("live", i), Timestamp: time.Now().UTC(), Attributes: []byte(`{}`)})
			}
			write(batch)
		}
		close(parked)
		var done bool
		for batches := 0; !done; batches++ {
			select {
			case more := <-stored:
				n, done = n+more, true
			default:
				var batch Batch
				for i := range live {
					batch.Positions = append(batch.Positions, position.Position{DeviceID: fmt.Sprint("live", i), Timestamp: time.Now().UTC(), Attributes: []byte(`{}`)})
				}
				write(batch)
			}
		}
		require.GreaterOrEqual(b, n, days)
		b.ReportMetric(longest.Seconds(), "s/live-batch-max")
		b.ReportMetric(time.Since(began).Seconds(), "s/all-days")
	}
}

func TestWriter_SortsByKeyAndArrival(t *testing.T) {
	at := func(device string, micros int64) position.Position {
		return position.Position{DeviceID: device, Timestamp: time.UnixMicro(micros).UTC()}
	}
	ids := []string{"b", "a", "aa", "0123456789abcdef", "0123456789abcdefg", "0123456789abcdeff", "é", "0123456789abcde"}
	var positions []position.Position
	for _, ts := range []int64{5, -3, 5, 1 << 50} {
		for _, id := range ids {
			positions = append(positions, at(id, ts))
		}
	}
	var sorter sorter
	want := make([]int32, len(positions))
	for i := range want {
		want[i] = int32(i)
	}
	slices.SortStableFunc(want, func(a, b int32) int { return compareKeys(&positions[a], &positions[b]) })
	require.Equal(t, want, sorter.sort(positions))
}
