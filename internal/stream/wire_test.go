package stream

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

func readReply(r io.Reader) ([]byte, error) {
	w := reader{conn: r}
	return w.reply()
}

func TestWire_RefusesWhatIsNoReply(t *testing.T) {
	cases := map[string]string{
		"a line feed alone":              "\n",
		"no length":                      "*\n",
		"no length, and a whole line":    "*\r\n",
		"a length without a carriage":    "$12\n",
		"no number":                      "*x\r\n",
		"a negative length":              "*-2\r\n",
		"more than a string can be":      "$9999999999999\r\n",
		"one byte more than that":        "$536870913\r\n",
		"more than an int":               "$9999999999999999999\r\n",
		"more elements than memory has":  "*9999999999999\r\n",
		"a simple string without an end": "+OK\n",
		"another kind":                   "%1\r\n",
	}
	for name, text := range cases {
		_, err := readReply(strings.NewReader(text))
		require.ErrorIs(t, err, errProtocol, name)
	}
	for _, text := range []string{"", "*1\r\n", "$3\r\nab", "$536870912\r\nab", "*2\r\n$1\r\na\r\n"} {
		got, err := readReply(strings.NewReader(text))
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, text)
		require.Less(t, cap(got), 4<<20, "memory follows what has arrived")
	}
}

func TestWire_ReadsOneReply(t *testing.T) {
	large := "$3000000\r\n" + strings.Repeat("x", 3000000) + "\r\n"
	for _, text := range []string{"+OK\r\n", "-ERR no\r\n", ":7\r\n", "*-1\r\n", "$-1\r\n", "$0\r\n\r\n", "*0\r\n", "*2\r\n*1\r\n$1\r\na\r\n$-1\r\n", large} {
		got, err := readReply(strings.NewReader(text + "+the next one\r\n"))
		require.NoError(t, err)
		require.Equal(t, text, string(got))
	}
	got, err := readReply(iotest.OneByteReader(strings.NewReader(large)))
	require.NoError(t, err)
	require.Equal(t, large, string(got))
}

// Beyond its bound a reply is given up: the buffer has grown no further than that.
func TestWire_BoundsAReply(t *testing.T) {
	const bound = 5 << 20
	read := func(text string) ([]byte, error) {
		w := reader{conn: strings.NewReader(text), limits: limits{reply: bound}}
		return w.reply()
	}
	element := "$99990\r\n" + strings.Repeat("x", 99990) + "\r\n" // 100,000 bytes in all
	fits := "*52\r\n" + strings.Repeat(element, 52)
	got, err := read(fits)
	require.NoError(t, err)
	require.Equal(t, fits, string(got))
	require.LessOrEqual(t, cap(got), bound)
	for _, text := range []string{"*53\r\n" + strings.Repeat(element, 53), "$5242880\r\n", "*2000000\r\n" + strings.Repeat("*-1\r\n", 2_000_000)} {
		got, err = read(text)
		require.ErrorIs(t, err, errTooLarge)
		require.LessOrEqual(t, cap(got), bound)
	}
}

// requireCut reads a whole reply with bounds on its entries: however the bytes arrive, the result is the same,
// within the bounds, and a reply without large entries is as it was sent.
func requireCut(t *testing.T, sent, whole []byte, depth int) {
	t.Helper()
	const entry = 100
	read := func(r io.Reader) ([]byte, int, error) {
		w := reader{conn: r}
		w.begin(nil, limits{entry: entry, depth: depth}, nil)
		reply, err := w.reply()
		return reply, w.skipped, err
	}
	at, skipped, err := read(bytes.NewReader(sent))
	byByte, skippedToo, errToo := read(iotest.OneByteReader(bytes.NewReader(sent)))
	require.Equal(t, err, errToo)
	require.Equal(t, skipped, skippedToo)
	if err != nil {
		return // an element of a field list that is no string
	}
	require.Equal(t, at, byByte)
	if !bytes.ContainsRune(at, '~') {
		require.Equal(t, whole, at)
	}
}

// Whatever comes: no panic, and what is taken for a reply is what was sent.
func FuzzWire(f *testing.F) {
	for _, seed := range []string{"*\n", "$9999999999999\r\n", "*-1\r\n", "-NOGROUP x\r\n", "*3\r\n*1\r\n*4\r\n$4\r\nname\r\n$1\r\ng\r\n$12\r\nentries-read\r\n:3\r\n*-1\r\n*0\r\n", "*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-2\r\n*2\r\n$7\r\npayload\r\n$1\r\nx\r\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		reply, err := readReply(bytes.NewReader(sent))
		require.True(t, bytes.HasPrefix(sent, reply))
		require.LessOrEqual(t, cap(reply), 2*len(sent)+(2<<20))
		if err != nil {
			return
		}
		for _, depth := range []int{rangeDepth, claimDepth, readDepth, execDepth} {
			requireCut(t, sent, reply, depth)
		}
		_, _ = parseRead(nil, reply)
		_, _ = NewConsumer(nil, "s", "g", "me").parseCounted(nil, reply)
		_, _ = (&Claimed{}).parse(nil, reply)
		_, _ = parseRange(reply)
	})
}
