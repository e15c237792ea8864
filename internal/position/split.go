package position

// split is the fast path of Decode: it finds the values of a payload as tcp-ingestion writes nearly all of them, in
// one pass and without the JSON library. Everything else, wrong JSON included, is left to the general decoder. The
// rules that read the values are the same.
//
//	payload    {"device_id":STRING,"timestamp":STRING,"latitude":NUMBER, … }   the keys in the order of keys
//	string     "…"   printable ASCII without " \ { }
//	number     0, -12, 3.40   no exponent
//	bag        {}, {STRING:VALUE, … }   string, number, true, false, null or sentinel
//	sentinel   {"__bigint":STRING} or {"__buffer_b64":STRING}

// bagForm is what is known of the attributes before they are read.
type bagForm uint8

const (
	// anyBag is valid JSON.
	anyBag bagForm = iota
	// flatBag goes to jsonb as it stands.
	flatBag
	// sentinelBag does so once its sentinels are replaced. No string has a brace.
	sentinelBag
)

// split sets values to the texts of the keys' values; an optional key that is absent has none. It reports false
// where the payload has another form.
func split(payload []byte, table *keyTable, values *valueTexts) (form bagForm, ok bool) {
	at, separator := 0, byte('{')
	for i := range table {
		start := nameEnd(payload, at, separator, table[i].name)
		if start < 0 && i >= requiredKeys {
			continue
		}
		switch table[i].form {
		case stringValue:
			at = stringEnd(payload, start)
		case numberValue:
			at = numberEnd(payload, start)
		case bagValue:
			at, form = bagEnd(payload, start)
		}
		if at < 0 {
			return anyBag, false
		}
		values[i] = payload[start:at]
		separator = ','
	}
	return form, at == len(payload)-1 && payload[at] == '}'
}

// The functions below return the index behind what starts at json[at]; -1 where something else does, or at is -1.

func nameEnd(json []byte, at int, separator byte, name string) int {
	end := at + len(name) + len(`,"":`)
	if end > len(json) || json[at] != separator || json[at+1] != '"' || string(json[at+2:end-2]) != name ||
		json[end-2] != '"' || json[end-1] != ':' {
		return -1
	}
	return end
}

func literalEnd(json []byte, at int, literal string) int {
	end := at + len(literal)
	if at < 0 || end > len(json) || string(json[at:end]) != literal {
		return -1
	}
	return end
}

func stringEnd(json []byte, at int) int {
	if uint(at) >= uint(len(json)) || json[at] != '"' {
		return -1
	}
	for i := at + 1; i < len(json); i++ {
		switch c := json[i]; {
		case c == '"':
			return i + 1
		case c < ' ' || c > '~' || c == '\\' || c == '{' || c == '}':
			return -1
		}
	}
	return -1
}

func numberEnd(json []byte, at int) int {
	if uint(at) < uint(len(json)) && json[at] == '-' {
		at++
	}
	end := digitsEnd(json, at)
	if end < 0 || json[at] == '0' && end > at+1 {
		return -1
	}
	if end < len(json) && json[end] == '.' {
		end = digitsEnd(json, end+1)
	}
	return end // an exponent is refused as what follows the number
}

// digitsEnd wants one digit at least.
func digitsEnd(json []byte, at int) int {
	i := at
	for uint(i) < uint(len(json)) && json[i]-'0' <= 9 {
		i++
	}
	if i == at {
		return -1
	}
	return i
}

func bagEnd(json []byte, at int) (end int, form bagForm) {
	if literalEnd(json, at, "{}") > 0 {
		return at + 2, flatBag
	}
	if literalEnd(json, at, "{") < 0 {
		return -1, anyBag
	}
	form = flatBag
	for i := at + 1; ; i++ {
		i = stringEnd(json, i)
		if literalEnd(json, i, ":") < 0 {
			return -1, anyBag
		}
		start := i + 1
		if i = numberEnd(json, start); i < 0 {
			i = wordEnd(json, start)
		}
		if i < 0 {
			form = sentinelBag
			_, i = sentinelAt(json, start)
		}
		switch {
		case uint(i) >= uint(len(json)):
			return -1, anyBag
		case json[i] == ',':
		case json[i] == '}' && i-at < numericFractionDigits: // no number of it is too long
			return i + 1, form
		default:
			return -1, anyBag
		}
	}
}

// wordEnd is for the scalars other than numbers.
func wordEnd(json []byte, at int) int {
	if at >= len(json) {
		return -1
	}
	switch json[at] {
	case '"':
		return stringEnd(json, at)
	case 't':
		return literalEnd(json, at, "true")
	case 'f':
		return literalEnd(json, at, "false")
	case 'n':
		return literalEnd(json, at, "null")
	}
	return -1
}

// sentinelAt reads a sentinel with its string, and returns its end too.
func sentinelAt(json []byte, at int) (s sentinel, end int) {
	s.key = bigintKey
	start := literalEnd(json, at, `{"`+bigintKey+`":"`)
	if start < 0 {
		s.key = bufferKey
		start = literalEnd(json, at, `{"`+bufferKey+`":"`)
	}
	if start < 0 {
		return sentinel{}, -1
	}
	end = stringEnd(json, start-1)
	if literalEnd(json, end, "}") < 0 {
		return sentinel{}, -1
	}
	s.text = json[start : end-1]
	return s, end + 1
}
