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

// PostgreSQL writes a number of jsonb without an exponent, so a short text can become a long one. The
// bounds, in characters beyond the text, keep every number that JSON.stringify writes, and a row readable.
const (
	// maxAddedByNumber is what 5e-324 needs, the most of all doubles: 326 characters instead of 6.
	maxAddedByNumber = 320
	// maxAddedByBag keeps one row readable by SELECT and COPY TO, whose values end at 1 GB: 50,000 times
	// the worst number.
	maxAddedByBag = 16 << 20
)

// numericHolds reports whether PostgreSQL's numeric can hold a number that is valid JSON, and how many
// characters are added where it is written without its exponent.
func numericHolds(number []byte) (added int, ok bool) {
	e := max(bytes.IndexByte(number, 'e'), bytes.IndexByte(number, 'E'))
	if e < 0 && len(number) <= numericFractionDigits {
		return 0, true // the common case: too short to break a limit
	}
	mantissa, exponent := number, 0
	if e >= 0 {
		// 32 bits are far beyond both limits; whatever is longer is so too.
		v, err := strconv.ParseInt(string(number[e+1:]), 10, 32)
		if err != nil {
			return 0, false
		}
		mantissa, exponent = number[:e], int(v)
	}
	digits := bytes.TrimPrefix(mantissa, []byte("-"))
	integer, fraction, _ := bytes.Cut(digits, []byte("."))
	before := integerDigits(integer, fraction) + exponent
	// The scale counts trailing zeros too: 1.00 is not 1.0 to numeric.
	after := len(fraction) - exponent
	if before > numericIntegerDigits || after > numericFractionDigits {
		return 0, false
	}
	written := len(mantissa) - len(digits) + max(before, 1) // the sign and what is before the point
	if after > 0 {
		written += 1 + after
	}
	return max(written-len(number), 0), true
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

// parseFloat is strconv.ParseFloat of a number that is valid JSON. Up to 15 digits without an exponent, all that a
// tracker sends, are an integer over a power of ten: both are exact, so their quotient is the nearest double.
func parseFloat(number []byte) (float64, error) {
	digits := number
	if number[0] == '-' {
		digits = number[1:]
	}
	if len(digits) > 15 {
		return strconv.ParseFloat(string(number), 64)
	}
	integer, divisor := int64(0), int64(1)
	for i, c := range digits {
		switch {
		case c == '.':
			divisor = powerOfTen(len(digits) - i - 1)
		case c > '9': // an exponent
			return strconv.ParseFloat(string(number), 64)
		default:
			integer = integer*10 + int64(c-'0')
		}
	}
	v := float64(integer) / float64(divisor)
	if len(digits) < len(number) {
		v = -v
	}
	return v, nil
}

func powerOfTen(n int) int64 {
	p := int64(1)
	for range n {
		p *= 10
	}
	return p
}
