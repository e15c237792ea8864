package fleet

import "math"

// earthRadius is the mean radius in metres (IUGG).
const earthRadius = 6371008.8

func radians(degrees float64) float64 { return degrees * math.Pi / 180 }
func degrees(radians float64) float64 { return radians * 180 / math.Pi }

// destination returns the point at a distance of metres from (lat, lon) along
// the great circle that starts at bearing. Angles are in degrees, bearings
// clockwise from north.
func destination(lat, lon, bearing, metres float64) (float64, float64) {
	sinLat, cosLat := math.Sincos(radians(lat))
	sinBearing, cosBearing := math.Sincos(radians(bearing))
	sinArc, cosArc := math.Sincos(metres / earthRadius)

	sinTo := sinLat*cosArc + cosLat*sinArc*cosBearing
	east := math.Atan2(sinBearing*sinArc*cosLat, cosArc-sinLat*sinTo)
	return degrees(math.Asin(sinTo)), math.Remainder(lon+degrees(east), 360)
}

// offset returns the distance of (lat, lon) east and north of the city's
// centre in metres, by a flat approximation that is good for tens of
// kilometres.
func (c city) offset(lat, lon float64) (east, north float64) {
	east = radians(lon-c.lon) * math.Cos(radians(c.lat)) * earthRadius
	north = radians(lat-c.lat) * earthRadius
	return east, north
}

// wrap normalizes a bearing to [0, 360).
func wrap(bearing float64) float64 {
	bearing = math.Mod(bearing, 360)
	if bearing < 0 {
		bearing += 360
	}
	return bearing
}
