package fleet

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"strconv"
	"time"
)

// isoLayout is the format of JavaScript's Date.prototype.toISOString, for
// times in UTC.
const isoLayout = "2006-01-02T15:04:05.000Z"

// AVL ids whose values are not JSON numbers.
const (
	avlIButton     = 78    // 64 bits
	avlBeacon      = 385   // bytes, in a separate AVL record
	avlISO6709     = 387   // bytes, among other values
	avlAdvancedBLE = 11317 // bytes, in a separate AVL record
)

// ioValue is a value of a tracker's IO bag with its AVL id.
type ioValue struct{ id, value int64 }

// sentinels are the values of a record that need a sentinel in JSON.
type sentinels struct {
	iButton uint64 // 0: none
	buffer  int64  // AVL id; 0: none
}

func (f *Fleet) drawSentinels() sentinels {
	var s sentinels
	if f.rng.Float64() < f.bigintShare {
		s.iButton = f.rng.Uint64() | 1<<53 // beyond Number.MAX_SAFE_INTEGER
	}
	if f.rng.Float64() < f.bufferShare {
		s.buffer = [...]int64{avlBeacon, avlISO6709, avlAdvancedBLE}[f.rng.IntN(3)]
	}
	return s
}

// appendPayload appends the position of v's latest fix as JSON.stringify writes
// it: keys in tcp-ingestion's order, no space, integers without a fraction.
func (f *Fleet) appendPayload(buf []byte, v *vehicle) []byte {
	s := f.drawSentinels()
	event, priority := v.event, min(v.event, 1)
	beacons := s.buffer != 0 && s.buffer != avlISO6709
	if beacons {
		event, priority = s.buffer, 0
	}

	buf = append(buf, `{"device_id":"`...)
	buf = append(buf, v.id...)
	buf = append(buf, `","timestamp":"`...)
	buf = v.timestamp().AppendFormat(buf, isoLayout)
	buf = append(buf, `","latitude":`...)
	buf = appendDegrees(buf, v.lat)
	buf = append(buf, `,"longitude":`...)
	buf = appendDegrees(buf, v.lon)
	buf = append(buf, `,"altitude":`...)
	buf = strconv.AppendInt(buf, int64(math.Round(v.altitude)), 10)
	buf = append(buf, `,"angle":`...)
	buf = strconv.AppendInt(buf, int64(math.Round(v.heading))%360, 10)
	buf = append(buf, `,"speed":`...)
	buf = strconv.AppendInt(buf, v.reportedSpeed(), 10)
	buf = append(buf, `,"satellites":`...)
	buf = strconv.AppendInt(buf, v.satellites, 10)
	buf = append(buf, `,"priority":`...)
	buf = strconv.AppendInt(buf, priority, 10)

	// Integer-like keys come first and ascend: JavaScript's own key order.
	buf = append(buf, `,"attributes":{`...)
	if !beacons {
		buf = f.appendIO(buf, v, s.iButton)
	} else if s.iButton != 0 {
		buf = appendBigint(buf, avlIButton, s.iButton)
	}
	if s.buffer != 0 {
		buf = f.appendBuffer(buf, s.buffer)
	}
	buf = append(buf, `"event":`...)
	buf = strconv.AppendInt(buf, event, 10)
	return append(buf, `}}`...)
}

// appendDegrees appends a coordinate at the tracker's resolution of 1e-7.
func appendDegrees(buf []byte, degrees float64) []byte {
	return strconv.AppendFloat(buf, math.Round(degrees*1e7)/1e7, 'f', -1, 64)
}

// appendIO appends the IO bag of a typical FMB tracker, with a comma after
// each value. Ids ascend.
func (f *Fleet) appendIO(buf []byte, v *vehicle, iButton uint64) []byte {
	noise := f.rng.Uint64()
	bits := func(shift, width int) int64 { return int64(noise >> shift & (1<<width - 1)) }

	external, fuelRate, dataMode, sleep := 12_400+bits(0, 8), int64(0), int64(0), int64(1)
	if v.ignition {
		external, dataMode, sleep = 13_900+bits(0, 9), 1, 0
	}
	if v.moving {
		fuelRate = 450 + bits(9, 9)
	}
	dilution := 6 + 100/v.satellites

	for _, e := range [...]ioValue{
		{1, flag(v.ignition)},                     // digital input 1
		{9, 30 + bits(18, 4)},                     // analog input 1, mV
		{12, int64(v.odometer * 0.08)},            // fuel used, ml
		{13, fuelRate},                            // fuel rate, 10 ml per 100 km
		{16, int64(v.odometer)},                   // total odometer, m
		{17, axis(bits(22, 6))},                   // accelerometer, mG
		{18, axis(bits(28, 6))},                   //
		{19, axis(bits(34, 6) + 968)},             //
		{21, 2 + bits(40, 2)},                     // GSM signal, 0 to 5
		{24, v.reportedSpeed()},                   // speed, km/h
		{66, external},                            // external voltage, mV
		{67, v.battery + bits(42, 3)},             // battery voltage, mV
		{68, 0},                                   // battery current, mA
		{69, 1},                                   // GNSS status: on, with fix
		{avlIButton, 0},                           // iButton; none
		{80, dataMode},                            // data mode
		{113, min((v.battery-3300)/8, 100)},       // battery level, %
		{179, 0},                                  // digital output 1
		{180, 0},                                  // digital output 2
		{181, dilution + bits(45, 2)},             // PDOP, tenths
		{182, dilution * 6 / 10},                  // HDOP, tenths
		{199, int64(v.trip)},                      // trip odometer, m
		{200, sleep},                              // sleep mode
		{205, 20_000 + int64(v.odometer)/2_000%9}, // GSM cell
		{206, v.home.operator % 997},              // GSM area code
		{avlIgnition, flag(v.ignition)},
		{avlMovement, flag(v.moving)},
		{241, v.home.operator}, // GSM operator
	} {
		if e.id == avlIButton && iButton != 0 {
			buf = appendBigint(buf, avlIButton, iButton)
			continue
		}
		buf = appendKey(buf, e.id)
		buf = strconv.AppendInt(buf, e.value, 10)
		buf = append(buf, ',')
	}
	return buf
}

// axis is a reading around zero as the tracker's parser has it: 16 bits without
// a sign.
func axis(reading int64) int64 { return int64(uint16(reading - 32)) }

func flag(on bool) int64 {
	if on {
		return 1
	}
	return 0
}

func appendKey(buf []byte, id int64) []byte {
	buf = append(buf, '"')
	buf = strconv.AppendInt(buf, id, 10)
	return append(buf, `":`...)
}

// appendBigint appends the sentinel of a JavaScript BigInt.
func appendBigint(buf []byte, id int64, value uint64) []byte {
	buf = appendKey(buf, id)
	buf = append(buf, `{"__bigint":"`...)
	buf = strconv.AppendUint(buf, value, 10)
	return append(buf, `"},`...)
}

// appendBuffer appends the sentinel of a Node.js Buffer of 20 to 128 bytes.
func (f *Fleet) appendBuffer(buf []byte, id int64) []byte {
	var raw [128]byte
	for i := 0; i < len(raw); i += 8 {
		binary.LittleEndian.PutUint64(raw[i:], f.rng.Uint64())
	}
	buf = appendKey(buf, id)
	buf = append(buf, `{"__buffer_b64":"`...)
	buf = base64.StdEncoding.AppendEncode(buf, raw[:20+f.rng.IntN(109)])
	return append(buf, `"},`...)
}

// iso formats t as tcp-ingestion does for the field ts.
func iso(t time.Time) string { return t.UTC().Format(isoLayout) }
