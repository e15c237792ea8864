package console

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"processor/internal/inspect"
	"processor/internal/position"
	"processor/internal/stream"
)

const (
	// maxTrack bounds the fixes of a track, maxFleet the devices of the map, and maxFleetScan the entries of each stream that
	// one look at the fleet reads.
	maxTrack     = 2000
	maxFleet     = 5000
	maxFleetScan = 2000
	fleetEvery   = time.Second
)

var errHidden = &refusal{http.StatusForbidden, "coordinates are hidden: start the console with --show-positions"}

// place is where a device was: [fix time in Unix milliseconds, latitude, longitude, speed in km/h, angle in degrees].
type place [5]float64

// trackResult is a device's fixes, the oldest first.
type trackResult struct {
	Device string  `json:"device"`
	Fixes  []place `json:"fixes"`
	// Shortened: there are older ones in the range.
	Shortened bool `json:"shortened"`
}

// track answers ?device=&minutes=: the fixes of the last minutes, from the table.
func (s *Server) track(ctx context.Context, r *http.Request) (any, error) {
	if !s.config.ShowPositions {
		return nil, errHidden
	}
	device := strings.TrimSpace(r.FormValue("device"))
	minutes, err := strconv.Atoi(r.FormValue("minutes"))
	if err != nil || minutes < 1 || minutes > 7*24*60 {
		return nil, &refusal{http.StatusBadRequest, "minutes: wanted 1 to 10080"}
	}
	if device == "" || len(device) > maxDevice {
		return nil, &refusal{http.StatusBadRequest, "device: wanted the id of one"}
	}
	database, err := inspect.Connect(ctx, s.config.DatabaseURL)
	if err != nil {
		return nil, err
	}
	defer func() { _ = database.Close(context.WithoutCancel(ctx)) }()
	now := time.Now()
	fixes, err := database.TrackOf(ctx, device, now.Add(-time.Duration(minutes)*time.Minute), now.Add(time.Minute), maxTrack)
	if err != nil {
		return nil, err
	}
	result := trackResult{Device: device, Fixes: []place{}, Shortened: len(fixes) == maxTrack}
	for _, f := range slices.Backward(fixes) {
		result.Fixes = append(result.Fixes, place{float64(f.Timestamp.UnixMilli()), f.Latitude, f.Longitude, float64(f.Speed), float64(f.Angle)})
	}
	return result, nil
}

// places is where each device was last, by the newest entries of the streams. It is bounded, and shared by all browsers.
type places struct {
	mu      sync.Mutex
	last    *lru.Cache[string, place]
	seen    map[string]stream.ID // of each stream: the newest entry that was read
	at      time.Time
	decoder position.Decoder
}

func newPlaces() places {
	last, _ := lru.New[string, place](maxFleet) // fails for a size below 1
	return places{last: last, seen: map[string]stream.ID{}}
}

// fleetResult is where the devices were last.
type fleetResult struct {
	Devices map[string]place `json:"devices"`
}

// fleet answers with the devices of the newest entries, stored or not. It reads Redis at most once a second.
func (s *Server) fleet(ctx context.Context, _ *http.Request) (any, error) {
	if !s.config.ShowPositions {
		return nil, errHidden
	}
	p := &s.places
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.at) >= fleetEvery {
		for _, name := range s.config.Streams {
			if err := s.newest(ctx, name); err != nil {
				return nil, fmt.Errorf("find the fleet: %w", err)
			}
		}
		p.at = time.Now()
	}
	result := fleetResult{Devices: make(map[string]place, p.last.Len())}
	for _, device := range p.last.Keys() {
		if at, known := p.last.Peek(device); known {
			result.Devices[device] = at
		}
	}
	return result, nil
}

// newest reads the entries of a stream that came since the look before, the newest first and a bounded number of them.
func (s *Server) newest(ctx context.Context, name string) error {
	p := &s.places
	from, before := stream.MaxID(), p.seen[name]
	for read := 0; read < maxFleetScan; {
		page, err := stream.Page(ctx, s.client, name, from, before)
		if err != nil || len(page) == 0 {
			return err
		}
		if newest := page[0].ID; newest.Compare(p.seen[name]) > 0 {
			p.seen[name] = newest
		}
		for i := range page {
			p.note(page[i].Payload)
		}
		read += len(page)
		last := page[len(page)-1].ID
		if last.Compare(before) <= 0 || last == (stream.ID{}) {
			return nil
		}
		from = last.Previous()
	}
	return nil
}

// note keeps the newest fix of a device, and none that is no place on Earth.
func (p *places) note(payload []byte) {
	p.decoder.Reset()
	fix, err := p.decoder.Decode(payload)
	if err != nil || math.Abs(fix.Latitude) > 90 || math.Abs(fix.Longitude) > 180 {
		return
	}
	at := place{float64(fix.Timestamp.UnixMilli()), fix.Latitude, fix.Longitude, float64(fix.Speed), float64(fix.Angle)}
	if known, is := p.last.Peek(fix.DeviceID); is && known[0] >= at[0] {
		return
	}
	p.last.Add(fix.DeviceID, at)
}
