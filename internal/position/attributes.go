package position

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf16"

	"github.com/go-faster/jx"
)

// MaxDepth is how deep attributes may nest; the attributes object itself is the first level.
const MaxDepth = 64

// Keys of the sentinels: the sole key of an object that stands for a JavaScript value that
// JSON lacks.
const (
	bigintKey = "__bigint"
	bufferKey = "__buffer_b64"
)

// attributes reads the IO bag and returns what jsonb gets. Most bags go as they are: digits
// stay, since nothing is parsed. The others are rewritten into the decoder's memory.
func (d *Decoder) attributes(text []byte) ([]byte, error) {
	if d.form == flatBag || d.form == anyBag && plain(text) {
		return text[:len(text):len(text)], nil
	}
	d.reserve(len(text) + len(text)/2) // base64 becomes hexadecimal, which is longer by half
	start := len(d.out.Buf)
	rewrite := d.rewrite
	if d.form == sentinelBag {
		rewrite = d.replaceAll
	}
	if err := rewrite(text); err != nil {
		d.out.Buf = d.out.Buf[:start]
		return nil, err
	}
	// The capacity ends with the content: an append by the caller cannot reach the neighbour.
	return d.out.Buf[start:len(d.out.Buf):len(d.out.Buf)], nil
}

// rewrite copies a bag of any form to the output, value by value.
func (d *Decoder) rewrite(bag []byte) error {
	// The library would silently turn an unpaired surrogate into U+FFFD. A backslash stands
	// only in strings, so one look over the whole bag finds all of them.
	if err := checkEscapes(bag); err != nil {
		return d.fault(UnstorableString, "%s", err)
	}
	d.bag.ResetBytes(bag)
	d.added = 0
	return d.object(1)
}

// replaceAll copies a sentinelBag to the output with the values for its sentinels.
func (d *Decoder) replaceAll(bag []byte) error {
	d.out.RawStr("{")
	for rest := bag[1:]; ; {
		i := bytes.IndexByte(rest, '{')
		if i < 0 {
			d.out.Raw(rest)
			return nil
		}
		d.out.Raw(rest[:i])
		s, end := sentinelAt(rest, i)
		if err := d.replace(s); err != nil {
			return err
		}
		rest = rest[end:]
	}
}

// plain reports whether a bag, which is valid JSON, holds nothing to be rewritten and nothing that jsonb could
// refuse: no escape, no sentinel, no nesting, no number that is long or has an exponent. It may say no of a bag
// that does; then that is read value by value.
func plain(raw []byte) bool {
	return len(raw) <= numericFractionDigits &&
		bytes.LastIndexByte(raw, '{') == 0 &&
		bytes.IndexByte(raw, '\\') < 0 &&
		bytes.IndexByte(raw, '[') < 0 &&
		!hasExponent(raw, 'e') && !hasExponent(raw, 'E')
}

// hasExponent reports whether the letter follows a digit anywhere, in a string or in a number.
func hasExponent(raw []byte, letter byte) bool {
	for {
		i := bytes.IndexByte(raw, letter)
		if i < 0 {
			return false
		}
		if i > 0 && '0' <= raw[i-1] && raw[i-1] <= '9' {
			return true
		}
		raw = raw[i+1:]
	}
}

// value copies the next JSON value to the output.
func (d *Decoder) value(depth int) error {
	switch kind := d.bag.Next(); kind {
	case jx.Object:
		return d.object(depth + 1)
	case jx.Array:
		return d.array(depth + 1)
	case jx.String:
		text, err := d.bag.StrBytes()
		if err != nil {
			return err
		}
		d.out.ByteStr(text)
		return nil
	default: // number, true, false, null
		raw, err := d.bag.Raw()
		if err != nil {
			return err
		}
		if kind == jx.Number {
			if err := d.checkNumber(raw); err != nil {
				return err
			}
		}
		d.out.Raw(raw)
		return nil
	}
}

// checkNumber refuses a number that PostgreSQL could not hold, or whose digits, written out without an
// exponent, would be far more than its text.
func (d *Decoder) checkNumber(raw []byte) error {
	added, ok := numericHolds(raw)
	if !ok {
		return d.fault(UnstorableNumber, "%.40s does not fit numeric", raw)
	}
	if added > maxAddedByNumber {
		return d.fault(UnstorableNumber, "%.40s written out is %d characters longer, beyond %d", raw, added, maxAddedByNumber)
	}
	if d.added += added; d.added > maxAddedByBag {
		return d.fault(UnstorableNumber, "the numbers written out are over %d characters longer", maxAddedByBag)
	}
	return nil
}

func (d *Decoder) object(depth int) error {
	if depth > MaxDepth {
		return d.fault(TooDeep, "nested deeper than %d", MaxDepth)
	}
	keys, err := d.bag.ObjIter()
	if err != nil {
		return err
	}
	start := len(d.out.Buf)
	d.out.ObjStart()
	count := 0
	var sole sentinel
	for keys.Next() {
		key := keys.Key()
		if count++; count == 1 {
			sole = d.sentinel(key)
		} else {
			d.out.Comma()
		}
		d.out.ByteStr(key)
		d.out.RawStr(":")
		if err := d.value(depth); err != nil {
			return err
		}
	}
	if err := keys.Err(); err != nil {
		return err
	}
	d.out.ObjEnd()
	// Only now is it known that the key is the sole one. The bag itself is no sentinel.
	if count == 1 && sole.key != "" && depth > 1 {
		d.out.Buf = d.out.Buf[:start]
		return d.replace(sole)
	}
	return nil
}

func (d *Decoder) array(depth int) error {
	if depth > MaxDepth {
		return d.fault(TooDeep, "nested deeper than %d", MaxDepth)
	}
	values, err := d.bag.ArrIter()
	if err != nil {
		return err
	}
	d.out.ArrStart()
	for first := true; values.Next(); first = false {
		if !first {
			d.out.Comma()
		}
		if err := d.value(depth); err != nil {
			return err
		}
	}
	d.out.ArrEnd()
	return values.Err()
}

// sentinel is the first member of an object, where its key is a sentinel's.
type sentinel struct {
	key  string
	text []byte // nil where the value is no string
}

// sentinel looks at the value under key without consuming it.
func (d *Decoder) sentinel(key []byte) sentinel {
	var s sentinel
	switch string(key) {
	case bigintKey:
		s.key = bigintKey
	case bufferKey:
		s.key = bufferKey
	default:
		return s
	}
	if d.bag.Next() != jx.String {
		return s
	}
	// A Capture reads ahead and then puts the decoder back; its error comes up again when the
	// value is read for good.
	_ = d.bag.Capture(func(ahead *jx.Decoder) error {
		text, err := ahead.StrBytes()
		s.text = text
		return err
	})
	return s
}

// replace writes the value that a sentinel stands for.
func (d *Decoder) replace(s sentinel) error {
	if s.key == bigintKey {
		return d.bigint(s.text)
	}
	return d.buffer(s.text)
}

// bigint writes the digits of BigInt.prototype.toString: a JSON number as they stand, so
// leading zeros and -0 are malformed.
func (d *Decoder) bigint(text []byte) error {
	digits := bytes.TrimPrefix(text, []byte("-"))
	canonical := len(digits) > 0 && (digits[0] != '0' || len(text) == 1)
	for _, c := range digits {
		canonical = canonical && '0' <= c && c <= '9'
	}
	if !canonical {
		return d.fault(MalformedSentinel, "%s holds %.40q, not decimal digits", bigintKey, text)
	}
	if _, ok := numericHolds(text); !ok { // without an exponent nothing is added
		return d.fault(UnstorableNumber, "%s of %d digits does not fit numeric", bigintKey, len(digits))
	}
	d.out.Raw(text)
	return nil
}

// buffer writes the bytes as the JSON string "\x<hex>", which SQL's ::bytea reads.
func (d *Decoder) buffer(text []byte) error {
	var small [256]byte // of most buffers, on the stack
	bin, err := base64.StdEncoding.Strict().AppendDecode(small[:0], text)
	if err != nil || text == nil || bytes.ContainsAny(text, "\r\n") { // line ends are skipped
		return d.fault(MalformedSentinel, "%s holds no base64", bufferKey)
	}
	d.out.RawStr(`"\\x`)
	d.out.Buf = hex.AppendEncode(d.out.Buf, bin)
	d.out.RawStr(`"`)
	return nil
}

// checkEscapes looks for what JSON can spell and PostgreSQL's text cannot hold: U+0000, and
// surrogates that are not a pair. The JSON must be valid otherwise.
func checkEscapes(json []byte) error {
	for {
		i := bytes.IndexByte(json, '\\')
		if i < 0 {
			return nil
		}
		json = json[i:]
		if json[1] != 'u' {
			json = json[2:]
			continue
		}
		r := unit(json)
		json = json[6:]
		switch {
		case r == 0:
			return errors.New("holds U+0000")
		case !utf16.IsSurrogate(r):
		case utf16.DecodeRune(r, unit(json)) == 0xFFFD:
			return fmt.Errorf("holds the unpaired surrogate %U", r)
		default:
			json = json[6:]
		}
	}
}

// unit reads the UTF-16 code unit that json starts with, spelled \uXXXX; -1 where there is none.
func unit(json []byte) rune {
	if len(json) < 6 || json[0] != '\\' || json[1] != 'u' {
		return -1
	}
	v, err := strconv.ParseUint(string(json[2:6]), 16, 16)
	if err != nil {
		return -1
	}
	return rune(v)
}
