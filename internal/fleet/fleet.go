// Package fleet simulates GPS trackers: vehicles that move plausibly, and the
// stream entries that tcp-ingestion would write for them. The commands demo,
// publish and bench use it as input of the worker.
//
// A [Fleet] generates records, a [Publisher] adds them to a Redis Stream. A
// fleet never generates two records with the same (device, timestamp), so each
// record becomes exactly one row of the table positions.
//
// Read fleet.go first, then vehicle.go (movement; geo.go and cities.go for the
// map), payload.go (JSON), publisher.go (XADD), run.go and pacer.go (the rate).
package fleet

import (
	"math/rand/v2"
	"time"
)

// DefaultSentinelShare is the default of Options.BigintShare and
// Options.BufferShare.
const DefaultSentinelShare = 0.02

// codec8E is Teltonika's Codec 8 Extended, whose IO ids may exceed 255.
const codec8E = "8E"

// payloadSize is the capacity, in bytes, for a typical payload with a Buffer
// sentinel.
const payloadSize = 768

// Options are the settings of a fleet. The same options and the same calls of
// Next with the same times generate the same records.
type Options struct {
	// Devices is the number of trackers; values below 1 mean 1.
	Devices int
	// Seed is the seed of the random generator.
	Seed uint64
	// Start is the time at which the vehicles are at their first positions. No
	// fix is earlier. It is truncated to milliseconds.
	Start time.Time
	// Step selects the clock. If it is zero, fixes carry the time passed to
	// Next. Otherwise the fleet keeps a simulated clock: the nth fix of each
	// device, from 0, is at Start + n*Step. Step is truncated to milliseconds
	// and is at least 1 ms.
	Step time.Duration
	// BigintShare and BufferShare are the shares, 0 to 1, of records with
	// {"__bigint":…} and {"__buffer_b64":…}. Zero means DefaultSentinelShare,
	// below zero means none.
	BigintShare, BufferShare float64
}

// Record is the content of one stream entry: a position as JSON, and the
// fields beside it.
type Record struct {
	// DeviceID is an IMEI: 15 digits, the last a Luhn check digit.
	DeviceID string
	// Timestamp is the time of the fix: UTC, whole milliseconds.
	Timestamp time.Time
	// Codec is the Teltonika codec, "8E".
	Codec string
	// Payload is the position as JSON.stringify would write it.
	Payload []byte
}

// Fleet is a set of simulated trackers. It is not safe for concurrent use.
type Fleet struct {
	rng         *rand.Rand
	vehicles    []vehicle
	next        int   // index of the next vehicle
	step        int64 // milliseconds; 0: wall clock
	bigintShare float64
	bufferShare float64
}

// New returns a fleet. Each vehicle starts near one of several cities; a few
// are parked, most are driving.
func New(opts Options) *Fleet {
	f := &Fleet{
		rng:         rand.New(rand.NewPCG(opts.Seed, 0)),
		vehicles:    make([]vehicle, max(opts.Devices, 1)),
		bigintShare: share(opts.BigintShare),
		bufferShare: share(opts.BufferShare),
	}
	if opts.Step > 0 {
		f.step = max(opts.Step.Milliseconds(), 1)
	}
	homes := cities()
	for i := range f.vehicles {
		home := homes[f.rng.IntN(len(homes))]
		f.vehicles[i] = newVehicle(f.rng, imei(i), home, opts.Start.UnixMilli())
	}
	// Entries of a real stream are not ordered by device.
	f.rng.Shuffle(len(f.vehicles), func(i, j int) {
		f.vehicles[i], f.vehicles[j] = f.vehicles[j], f.vehicles[i]
	})
	return f
}

func share(s float64) float64 {
	if s == 0 {
		return DefaultSentinelShare
	}
	return s
}

// Next moves the next vehicle and returns its fix. Vehicles take turns in a
// fixed random order. The caller owns the payload.
//
// now is the time of the fix; a fleet with a Step ignores it. The fix times of
// a device strictly increase: if now is not after its latest fix, the new fix
// is one millisecond after that. A device with more than one fix per
// millisecond therefore runs ahead of the wall clock.
func (f *Fleet) Next(now time.Time) Record {
	_, rec := f.AppendPayload(make([]byte, 0, payloadSize), now)
	return rec
}

// AppendPayload is Next with a buffer of the caller: it appends the payload to
// buf and returns the extended buf and the record. The record's payload is the
// appended part of buf, so it is valid until the caller overwrites buf. It
// allocates only if buf has to grow.
func (f *Fleet) AppendPayload(buf []byte, now time.Time) ([]byte, Record) {
	v := &f.vehicles[f.next]
	f.next++
	if f.next == len(f.vehicles) {
		f.next = 0
	}

	// The key of a row is (device, timestamp), so each fix must be later than
	// the one before.
	at := v.at
	if v.started {
		at += max(f.step, 1)
	}
	if f.step == 0 {
		at = max(at, now.UnixMilli())
	}
	v.fix(f.rng, at)

	from := len(buf)
	buf = f.appendPayload(buf, v)
	return buf, Record{
		DeviceID:  v.id,
		Timestamp: v.timestamp(),
		Codec:     codec8E,
		Payload:   buf[from:len(buf):len(buf)],
	}
}
