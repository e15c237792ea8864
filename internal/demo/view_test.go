package demo

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"processor/internal/device"
	"processor/internal/observe"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func busy() snapshot {
	return snapshot{
		elapsed:       12*time.Second + 300*time.Millisecond,
		limit:         20 * time.Second,
		devices:       500,
		rate:          1000,
		published:     1_234_567,
		ledger:        observe.LedgerSnapshot{Read: 1_234_560, Inserted: 1_234_000, InFlight: 560},
		publishedRate: 999.6,
		storedRate:    987.2,
		write:         quantiles{0.00214, 0.0487},
		delay:         quantiles{0.0065, 1.26},
		seen:          498,
		newest: []device.NamedState{
			{DeviceID: "356307042441013", State: device.State{LastPosition: device.Fix{
				Timestamp: noon, Latitude: 54.689161, Longitude: 25.279801, Speed: 51, Angle: 270, Satellites: 12}}},
			{DeviceID: "356307042441014", State: device.State{LastPosition: device.Fix{
				Timestamp: noon.Add(-time.Second), Latitude: -33.86882, Longitude: -151.20929, Speed: 130, Angle: 5, Satellites: 4}}},
		},
		warning: warning{noon, "warn: positions is a plain table, not a hypertable: no chunks, no compression, no retention by chunk"},
	}
}

func text(lines []line) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l.text + "\n")
	}
	return b.String()
}

func TestView_Running(t *testing.T) {
	require.Equal(t, `
processor demo: 500 devices, target 1,000 positions/s   12s of 20s, Ctrl-C to stop

              positions  per second                           p50       p99
published     1,234,567       1,000      write            2.14 ms     49 ms
stored        1,234,000         987      commit delay     6.50 ms     1.3 s
lag                   7                  devices              498

ledger     read 1234560 = inserted 1234000 + merged 0 + unchanged 0
           + dead_lettered 0 + in flight 560

12:00:00 warn: positions is a plain table, not a hypertable: no chunks, no compres

newest           fix (UTC)       latitude  longitude  km/h  heading  sats
356307042441013  12:00:00.000    54.68916   25.27980    51      270    12
356307042441014  11:59:59.000   -33.86882 -151.20929   130        5     4
`, "\n"+text(view(busy(), 82, 23)))
}

func TestView_Phases(t *testing.T) {
	s := busy()
	s.warning, s.newest = warning{}, nil
	titles := map[string]func(){
		"12s, Ctrl-C to stop":  func() { s.limit = 0 },
		"storing the last 567": func() { s.phase = draining },
		"ended":                func() { s.phase = ended },
	}
	for want, change := range titles {
		change()
		title := view(s, 100, 23)[0].text
		require.True(t, strings.HasSuffix(title, "positions/s"+strings.Repeat(" ", 100-53-len(want))+want), title)
		s.phase = publishing
	}
}

func TestView_FitsTheTerminal(t *testing.T) {
	for _, size := range [][2]int{{79, 23}, {119, 39}, {20, 5}, {1, 1}, {0, 0}, {-1, -1}} {
		lines := view(busy(), size[0], size[1])
		require.LessOrEqual(t, len(lines), max(size[1], 0))
		for _, l := range lines {
			require.LessOrEqual(t, len(l.text), max(size[0], 0))
		}
	}
}

func TestSnapshot_Summary(t *testing.T) {
	s := busy()
	require.Equal(t, " 12s  published 1,234,567 (1,000/s)  stored 1,234,000 (987/s)  lag 7  write p50 2.14 ms p99 49 ms  commit delay p50 6.50 ms p99 1.3 s  devices 498", s.summary())
	s.phase = draining
	require.True(t, strings.HasSuffix(s.summary(), "  devices 498  storing the last 567"), s.summary())
	s.phase, s.write = ended, quantiles{math.NaN(), math.NaN()}
	require.Contains(t, s.summary(), " all  published 1,234,567 (1,000/s)")
	require.Contains(t, s.summary(), "write p50 - p99 -")
}

func TestLines_OneASecond(t *testing.T) {
	var out bytes.Buffer
	l := newDisplay(&out)
	s := busy()
	s.elapsed = 900 * time.Millisecond
	l.show(s)
	require.Empty(t, out.String(), "the first second is not over")

	for range 9 { // 1 s to 3 s
		s.elapsed += 250 * time.Millisecond
		l.show(s)
	}
	summaries := strings.Split(strings.TrimRight(out.String(), "\n"), "\n")
	require.Len(t, summaries, 4)
	for i, prefix := range []string{s.warning.text, "  1s  ", "  2s  ", "  3s  "} {
		require.True(t, strings.HasPrefix(summaries[i], prefix), summaries)
	}
}

func TestScreen_RedrawsInPlace(t *testing.T) {
	var out bytes.Buffer
	cols, rows := 81, 6
	sc := newScreen(&out, false, func() (int, int) { return cols, rows })
	wrote := func() string {
		defer out.Reset()
		return out.String()
	}
	s := busy()
	var frame strings.Builder
	for _, l := range view(s, 80, 5) {
		frame.WriteString(l.text + "\x1b[K\n")
	}

	sc.say("hello")
	require.Equal(t, "\r\x1b[Jhello\n\x1b[J", wrote())
	sc.show(s)
	require.Equal(t, "\r"+frame.String()+"\x1b[J", wrote())
	sc.show(s)
	require.Equal(t, "\r\x1b[5A"+frame.String()+"\x1b[J", wrote(), "over the first one")
	sc.say("above")
	require.Equal(t, "\r\x1b[5A\x1b[Jabove\n"+frame.String()+"\x1b[J", wrote())
	cols, rows = 81, 7
	sc.show(s)
	require.True(t, strings.HasPrefix(wrote(), "\x1b[H\x1b[2Jhello\nabove\nprocessor demo: "), "redrawn completely after a resize")
	sc.finish(s)
	out.Reset()
	sc.say("below")
	require.Equal(t, "\r\x1b[Jbelow\n\x1b[J", wrote())
}

func TestScreen_Color(t *testing.T) {
	var out bytes.Buffer
	sc := newScreen(&out, false, func() (int, int) { return 80, 24 })
	sc.show(busy())
	require.NotRegexp(t, `\x1b\[\d*m`, out.String())
	sc.color = true
	sc.show(busy())
	require.Contains(t, out.String(), "\x1b[1mprocessor demo")
}
