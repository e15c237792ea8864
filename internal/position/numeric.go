package position

import (
	"bytes"
	"strconv"
)

// Limits of PostgreSQL's numeric, and so of a number in jsonb: "up to 131072 digits before the
// decimal point; up to 16383 digits after" (documentation, Numeric Types).
const (
	numericIntegerDigits  = 131072
	numericFractionDigits = 16383
)

// numericHolds reports whether PostgreSQL's numeric can hold a number that is valid JSON.
func numericHolds(number []byte) bool {
	e := max(bytes.IndexByte(number, 'e'), bytes.IndexByte(number, 'E'))
	if e < 0 && len(number) <= numericFractionDigits {
		return true // the common case: too short to break a limit
	}
	mantissa, exponent := number, 0
	if e >= 0 {
		// 32 bits are far beyond both limits; whatever is longer is so too.
		v, err := strconv.ParseInt(string(number[e+1:]), 10, 32)
		if err != nil {
			return false
		}
		mantissa, exponent = number[:e], int(v)
	}
	mantissa = bytes.TrimPrefix(mantissa, []byte("-"))
	integer, fraction, _ := bytes.Cut(mantissa, []byte("."))
	// The scale counts trailing zeros too: 1.00 is not 1.0 to numeric.
	if len(fraction)-exponent > numericFractionDigits {
		return false
	}
	return integerDigits(integer, fraction)+exponent <= numericIntegerDigits
}

// integerDigits counts the digits before the decimal point; zeros right after the point count
// below zero, so that 0.001 has -2. Zero itself has 1.
func integerDigits(integer, fraction []byte) int {
	if integer[0] != '0' {
		return len(integer)
	}
	for i, c := range fraction {
		if c != '0' {
			return -i
		}
	}
	return 1
}
