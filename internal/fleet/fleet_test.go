package fleet_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"processor/internal/fleet"
)

var start = time.Date(2026, 2, 28, 23, 59, 58, 123_456_789, time.UTC)

func take(f *fleet.Fleet, n int, now func(i int) time.Time) []fleet.Record {
	records := make([]fleet.Record, n)
	for i := range records {
		records[i] = f.Next(now(i))
	}
	return records
}

func unused(int) time.Time { return time.Time{} }

func TestFleet_SameSeedSameRecords(t *testing.T) {
	clocks := map[string]struct {
		step time.Duration
		now  func(int) time.Time
	}{
		"own clock":  {time.Second, unused},
		"wall clock": {0, func(i int) time.Time { return start.Add(time.Duration(i) * 37 * time.Millisecond) }},
	}
	for name, clock := range clocks {
		t.Run(name, func(t *testing.T) {
			run := func(seed uint64) []fleet.Record {
				f := fleet.New(fleet.Options{Devices: 7, Seed: seed, Start: start, Step: clock.step})
				return take(f, 500, clock.now)
			}
			require.Equal(t, run(1), run(1))
			require.NotEqual(t, run(1), run(2))
		})
	}
}

func TestFleet_Clock(t *testing.T) {
	ms := start.Truncate(time.Millisecond)
	later := func(d time.Duration) time.Time { return ms.Add(d) }
	tests := map[string]struct {
		step time.Duration
		now  []time.Time
		want []time.Time
	}{
		"own clock goes from start by step": {
			time.Second,
			make([]time.Time, 3),
			[]time.Time{ms, later(time.Second), later(2 * time.Second)},
		},
		"own clock moves in whole milliseconds": {
			300 * time.Microsecond,
			make([]time.Time, 3),
			[]time.Time{ms, later(time.Millisecond), later(2 * time.Millisecond)},
		},
		"fixes carry the wall clock": {
			0,
			[]time.Time{later(5 * time.Millisecond), later(time.Hour).Local()},
			[]time.Time{later(5 * time.Millisecond), later(time.Hour)},
		},
		"wall clock that stands or goes back": {
			0,
			[]time.Time{later(-time.Hour), later(0), later(-time.Hour), later(2 * time.Millisecond), later(time.Second)},
			[]time.Time{ms, later(time.Millisecond), later(2 * time.Millisecond), later(3 * time.Millisecond), later(time.Second)},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := fleet.New(fleet.Options{Devices: 1, Start: start, Step: test.step})
			var got []time.Time
			for _, now := range test.now {
				got = append(got, f.Next(now).Timestamp)
			}
			require.Equal(t, test.want, got)
		})
	}
}

func TestFleet_KeysNeverRepeat(t *testing.T) {
	stalled := start.Add(time.Minute)
	clocks := map[string]struct {
		records int
		step    time.Duration
		now     func(int) time.Time
	}{
		"own clock":              {200_000, time.Second, unused},
		"wall clock that stands": {20_000, 0, func(int) time.Time { return stalled }},
		"wall clock that jumps":  {20_000, 0, func(i int) time.Time { return start.Add(time.Duration(i*7919%100_000) * time.Millisecond) }},
	}
	type key struct {
		device string
		ms     int64
	}
	for name, clock := range clocks {
		t.Run(name, func(t *testing.T) {
			f := fleet.New(fleet.Options{Devices: 100, Start: start, Step: clock.step})
			seen := make(map[key]bool)
			latest := make(map[string]time.Time)
			var buf []byte
			for i := range clock.records {
				var rec fleet.Record
				buf, rec = f.AppendPayload(buf[:0], clock.now(i))
				require.Truef(t, rec.Timestamp.After(latest[rec.DeviceID]), "the clock of %s stood still", rec.DeviceID)
				latest[rec.DeviceID] = rec.Timestamp
				seen[key{rec.DeviceID, rec.Timestamp.UnixMilli()}] = true
			}
			require.Len(t, seen, clock.records)
			require.Len(t, latest, 100)
		})
	}
}

func TestFleet_DevicesTakeTurns(t *testing.T) {
	const devices = 50
	f := fleet.New(fleet.Options{Devices: devices, Start: start, Step: time.Second})
	order := func() []string {
		var ids []string
		for _, rec := range take(f, devices, unused) {
			ids = append(ids, rec.DeviceID)
		}
		return ids
	}
	first := order()
	require.False(t, slices.IsSorted(first), "a stream is in no order of device")
	require.Equal(t, first, order())
	unique := make(map[string]bool)
	for _, id := range first {
		unique[id] = true
		require.Len(t, id, 15)
		require.Truef(t, luhn(id), "%s has no Luhn check digit", id)
	}
	require.Len(t, unique, devices)
}

func TestFleet_OneDeviceAtLeast(t *testing.T) {
	f := fleet.New(fleet.Options{Start: start, Step: time.Second})
	require.Equal(t, f.Next(time.Time{}).DeviceID, f.Next(time.Time{}).DeviceID)
}

// luhn reports whether the Luhn checksum of a number is right: every second
// digit from the right doubled, the sum of all digits divisible by ten.
func luhn(number string) bool {
	sum := 0
	for i := range number {
		digit := int(number[len(number)-1-i] - '0')
		if i%2 == 1 {
			digit *= 2
		}
		sum += digit/10 + digit%10
	}
	return sum%10 == 0
}

func TestFleet_MovesPlausibly(t *testing.T) {
	for _, step := range []time.Duration{50 * time.Millisecond, time.Second, 10 * time.Second, 10 * time.Minute} {
		t.Run(step.String(), func(t *testing.T) {
			const devices, rounds = 60, 60
			f := fleet.New(fleet.Options{Devices: devices, Seed: 5, Start: start, Step: step})
			first, previous := map[string]payload{}, map[string]payload{}
			var parked, driven, braked, climbed int
			for range devices * rounds {
				rec := f.Next(time.Time{})
				now := decode(t, rec.Payload)

				require.InDelta(t, 0, now.Latitude, 60)
				require.InDelta(t, 0, now.Longitude, 180)
				require.True(t, now.Speed >= 0 && now.Speed <= 160, now.Speed)
				require.True(t, now.Angle >= 0 && now.Angle < 360, now.Angle)
				require.True(t, now.Satellites >= 4 && now.Satellites <= 20, now.Satellites)
				require.True(t, now.Altitude >= 0 && now.Altitude <= 3000, now.Altitude)

				was, ok := previous[now.DeviceID]
				previous[now.DeviceID] = now
				if !ok {
					first[now.DeviceID] = now
					continue
				}
				metres, bearing := way(was, now)
				// Speed is sent in whole km/h, positions in steps of 1e-7 degrees.
				half := 0.5 / 3.6 * step.Seconds()
				require.InDelta(t, now.Speed/3.6*step.Seconds(), metres, half+0.02)
				if metres > 20 {
					require.InDelta(t, 0, math.Remainder(bearing-now.Angle, 360), 0.7)
				}
				// All vehicles stay on land, near the city where they start.
				strayed, _ := way(first[now.DeviceID], now)
				require.Less(t, strayed, 35_000.0)

				if now.Altitude != was.Altitude {
					climbed++
				}
				if now.Speed < was.Speed {
					braked++
				}
				if now.Speed > 30 {
					driven++
				}
				// Only a record of beacons lacks the ignition.
				if ignition, ok := now.Attributes["239"]; ok && string(ignition) == "0" {
					require.Zero(t, now.Speed)
					parked++
				}
			}
			require.NotZero(t, parked)
			require.NotZero(t, braked)
			require.NotZero(t, climbed)
			if step < time.Minute { // fixes far apart show an average
				require.NotZero(t, driven)
			}
		})
	}
}

// way returns the metres between two fixes, by the haversine formula, and the
// bearing from the first to the second.
func way(a, b payload) (metres, bearing float64) {
	const radius, degree = 6371008.8, math.Pi / 180
	lat1, lat2 := a.Latitude*degree, b.Latitude*degree
	dLat, dLon := lat2-lat1, (b.Longitude-a.Longitude)*degree
	h := math.Pow(math.Sin(dLat/2), 2) + math.Cos(lat1)*math.Cos(lat2)*math.Pow(math.Sin(dLon/2), 2)
	east := math.Sin(dLon) * math.Cos(lat2)
	north := math.Cos(lat1)*math.Sin(lat2) - math.Sin(lat1)*math.Cos(lat2)*math.Cos(dLon)
	return 2 * radius * math.Asin(math.Sqrt(h)), math.Atan2(east, north) / degree
}

func TestFleet_AppendPayloadIsNextWithoutAllocation(t *testing.T) {
	opts := fleet.Options{Devices: 10, Seed: 3, Start: start, Step: time.Second}
	want := take(fleet.New(opts), 100, unused)

	f := fleet.New(opts)
	buf := make([]byte, 0, 1<<20)
	var got []fleet.Record
	for range want {
		var rec fleet.Record
		buf, rec = f.AppendPayload(buf, time.Time{})
		got = append(got, rec)
	}
	require.Equal(t, want, got)

	require.Zero(t, testing.AllocsPerRun(100, func() { buf, _ = f.AppendPayload(buf[:0], time.Time{}) }))
}

// kept moves a benchmark's record to the heap, like the record of a real caller.
var kept fleet.Record

func BenchmarkFleet_Next(b *testing.B) {
	f := fleet.New(fleet.Options{Devices: 1_000, Start: start, Step: time.Second})
	b.ReportAllocs()
	for b.Loop() {
		kept = f.Next(time.Time{})
	}
}

func BenchmarkFleet_AppendPayload(b *testing.B) {
	f := fleet.New(fleet.Options{Devices: 1_000, Start: start, Step: time.Second})
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = f.AppendPayload(buf[:0], time.Time{})
	}
}
