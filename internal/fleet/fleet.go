// Package fleet simulates GPS trackers: vehicles that move plausibly, and the
// stream entries that tcp-ingestion would write for them. The commands demo,
// publish and bench feed the worker with it.
//
// A [Fleet] makes records, a [Publisher] puts them onto a Redis Stream. No
// fleet ever makes two records with one (device, timestamp), so every record
// is one row of the table positions.
package fleet

import (
	"math/rand/v2"
	"time"
)

// DefaultSentinelShare is the share of records with a bigint, and likewise of
// records with a Buffer, where Options leaves the shares at zero.
const DefaultSentinelShare = 0.02

// codec8E names Teltonika's Codec 8 Extended, the one whose IO ids exceed 255.
const codec8E = "8E"

// payloadSize holds a typical payload with room for a Buffer sentinel.
const payloadSize = 768

// Options says what fleet to make. The same options give the same vehicles,
// and the same calls with the same times then give the same records.
type Options struct {
	// Devices is the number of trackers; less than 1 is taken as 1.
	Devices int
	// Seed fixes everything that is random.
	Seed uint64
	// Start is when the vehicles stand at their first positions. No fix is
	// earlier. It is cut to whole milliseconds, as JavaScript dates are.
	Start time.Time
	// Step sets the clock. Zero: fixes carry the time that Next is given.
	// Otherwise the fleet keeps its own clock, for speed and repeatability:
	// the fix n of each device, from 0, is at Start + n*Step, in whole
	// milliseconds and at least 1.
	Step time.Duration
	// BigintShare and BufferShare are the shares, 0 to 1, of records that
	// carry {"__bigint":…} and {"__buffer_b64":…}. Zero is
	// DefaultSentinelShare, below zero is none.
	BigintShare, BufferShare float64
}

// Record is one stream entry: the position and the fields that go with it.
type Record struct {
	// DeviceID is an IMEI: 15 digits, the last a Luhn check digit.
	DeviceID string
	// Timestamp is the time of the fix: UTC, whole milliseconds.
	Timestamp time.Time
	// Codec is the Teltonika codec, "8E".
	Codec string
	// Payload is the JSON that JSON.stringify writes for the position.
	Payload []byte
}

// Fleet is a set of simulated trackers. It is not safe for concurrent use.
type Fleet struct {
	rng         *rand.Rand
	vehicles    []vehicle
	next        int   // index of the vehicle whose turn it is
	step        int64 // milliseconds; 0: real time
	bigintShare float64
	bufferShare float64
}

// New makes a fleet. Its vehicles start near one of some cities, some of them
// parked, most on the road.
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
	// Entries of a real stream are in no order of device.
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

// Next moves the next vehicle and returns its fix. Vehicles take turns in one
// random order. The payload is the caller's.
//
// now is the wall clock, and the time of the fix; a fleet with a Step keeps
// its own clock and does not look at it. The clock of a device only moves
// forward: a now that is not after its latest fix gives a fix one millisecond
// after that, so a device that is asked for more than one fix a millisecond
// runs ahead of the wall clock.
func (f *Fleet) Next(now time.Time) Record {
	_, rec := f.AppendPayload(make([]byte, 0, payloadSize), now)
	return rec
}

// AppendPayload is Next for a caller that owns a buffer: it appends the payload
// to buf and returns the grown buf with the record. The record's payload is the
// appended part, so it is valid until the caller overwrites that. It allocates
// only where buf has to grow.
func (f *Fleet) AppendPayload(buf []byte, now time.Time) ([]byte, Record) {
	v := &f.vehicles[f.next]
	f.next++
	if f.next == len(f.vehicles) {
		f.next = 0
	}

	// The key of a row is (device, timestamp): each device's clock moves
	// strictly forward.
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
