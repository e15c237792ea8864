package fleet

import (
	"math"
	"math/rand/v2"
	"time"
)

const (
	topSpeed     = 130.0 // km/h
	acceleration = 7.2   // km/h per second, 2 m/s²
	braking      = 12.6  // km/h per second, 3.5 m/s²

	startRadius = 10_000.0 // metres: maximum distance from the centre at the start
	roamRadius  = 15_000.0 // metres: distance from the centre at which a vehicle turns back
	homeTurn    = 20.0     // degrees per second while turning back
	altitudeMax = 30.0     // metres above or below the city's altitude

	// maxLeg is the maximum distance between two fixes in metres. It keeps a
	// vehicle near its city if its fixes are far apart in time.
	maxLeg = 3_000.0
)

// AVL ids of events that cause a fix.
const (
	avlIgnition = 239
	avlMovement = 240
)

// vehicle is the state of one tracker and its car at the latest fix.
type vehicle struct {
	id      string
	home    city
	at      int64 // time of the latest fix, or of the start; Unix milliseconds
	started bool  // at least one fix was taken

	lat, lon float64 // degrees
	heading  float64 // degrees from north
	speed    float64 // km/h
	altitude float64 // metres

	// The driver's current decision.
	left    float64 // seconds until the next decision
	target  float64 // speed, km/h
	turn    float64 // degrees per second
	grade   float64 // metres climbed per metre
	parking bool    // the ignition is switched off when the vehicle stops

	ignition   bool
	moving     bool
	event      int64 // AVL id of the event that caused the latest fix; 0: the interval
	satellites int64
	odometer   float64 // metres
	trip       float64 // metres since ignition was switched on
	battery    int64   // millivolts
}

func newVehicle(rng *rand.Rand, id string, home city, start int64) vehicle {
	v := vehicle{
		id:         id,
		home:       home,
		at:         start,
		heading:    rng.Float64() * 360,
		altitude:   home.altitude + altitudeMax*(2*rng.Float64()-1),
		satellites: 8 + rng.Int64N(9),
		odometer:   float64(rng.IntN(300_000_000)),
		battery:    3900 + rng.Int64N(200),
	}
	v.lat, v.lon = destination(home.lat, home.lon, rng.Float64()*360, startRadius*math.Sqrt(rng.Float64()))
	v.decide(rng)
	if rng.IntN(4) == 0 { // parking lasts long, so more vehicles park than decide to
		v.park(rng)
	}
	v.left *= rng.Float64() // the decision was taken some time ago
	v.speed = v.target
	v.ignition = !v.parking
	v.moving = v.reportedSpeed() > 0
	return v
}

// fix advances the vehicle to the time at, Unix milliseconds, and takes a fix.
func (v *vehicle) fix(rng *rand.Rand, at int64) {
	dt := float64(at-v.at) / 1000
	v.at, v.started = at, true

	ignition, moving := v.ignition, v.moving
	v.drive(rng, dt)
	v.moving = v.reportedSpeed() > 0
	v.event = 0
	switch {
	case v.ignition != ignition:
		v.event = avlIgnition
	case v.moving != moving:
		v.event = avlMovement
	}

	if rng.IntN(16) == 0 {
		v.satellites = min(max(v.satellites+2*rng.Int64N(2)-1, 4), 20)
	}
}

// drive moves the vehicle for dt seconds: it updates speed and heading, then
// the position.
func (v *vehicle) drive(rng *rand.Rand, dt float64) {
	v.left -= dt
	if v.left <= 0 {
		v.decide(rng)
	}
	v.speed = min(max(v.target, v.speed-braking*dt), v.speed+acceleration*dt, maxLeg/dt*3.6)
	if v.speed == 0 {
		v.ignition = !v.parking
		return
	}

	v.steer(dt)
	metres := v.speed / 3.6 * dt
	v.lat, v.lon = destination(v.lat, v.lon, v.heading, metres)
	v.odometer += metres
	v.trip += metres
	v.climb(metres)
}

// decide chooses the driver's next target speed, turn, grade and duration at
// random.
func (v *vehicle) decide(rng *rand.Rand) {
	v.grade = 0.03 * (2*rng.Float64() - 1)
	if v.parking {
		v.parking, v.ignition, v.trip = false, true, 0
	}

	switch p := rng.Float64(); {
	case p < 0.05:
		v.park(rng)
	case p < 0.20: // traffic light
		v.target, v.left = 0, between(rng, 10, 60)
	case p < 0.65: // town
		v.target, v.left = between(rng, 15, 60), between(rng, 5, 60)
	case p < 0.90: // country road
		v.target, v.left = between(rng, 60, 95), between(rng, 15, 120)
	default: // motorway
		v.target, v.left = between(rng, 95, topSpeed), between(rng, 30, 180)
	}
	v.turn = rng.NormFloat64() * 90 / (30 + v.target) // curves are wider on fast roads
}

// park makes the driver stop and switch the ignition off for 1 to 10 minutes.
func (v *vehicle) park(rng *rand.Rand) {
	v.parking, v.target, v.left = true, 0, between(rng, 60, 600)
}

func between(rng *rand.Rand, low, high float64) float64 { return low + (high-low)*rng.Float64() }

// steer changes the heading: by the current turn, or towards the city's centre
// if the vehicle is farther than roamRadius away.
func (v *vehicle) steer(dt float64) {
	east, north := v.home.offset(v.lat, v.lon)
	if east*east+north*north < roamRadius*roamRadius {
		v.heading = wrap(v.heading + v.turn*dt)
		return
	}
	off := math.Remainder(degrees(math.Atan2(-east, -north))-v.heading, 360)
	v.heading = wrap(v.heading + min(max(off, -homeTurn*dt), homeTurn*dt))
}

// climb changes the altitude by the grade, within a band around the city's.
func (v *vehicle) climb(metres float64) {
	above := v.altitude - v.home.altitude + v.grade*metres
	if math.Abs(above) > altitudeMax {
		above = math.Copysign(altitudeMax, above)
		v.grade = -v.grade
	}
	v.altitude = v.home.altitude + above
}

// reportedSpeed returns the speed as the tracker sends it: whole km/h.
func (v *vehicle) reportedSpeed() int64 { return int64(math.Round(v.speed)) }

func (v *vehicle) timestamp() time.Time { return time.UnixMilli(v.at).UTC() }
