package service

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"processor/internal/observe"
	"processor/internal/servertest"
	"processor/internal/stream"
)

// startAt is start with a level of the log.
func (r *rig) startAt(level slog.Level) (s *Service, stop func()) {
	s, err := New(r.t.Context(), r.config, observe.BuildInfo{Version: "test"}, observe.NewLogger(r.log, level))
	require.NoError(r.t, err)
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = func() {
		cancel()
		require.NoError(r.t, servertest.Within(r.t, done))
	}
	return s, stop
}

// A trigger's message may hold device and coordinates. They reach the debug log, and neither /readyz nor the
// log above it, whatever class the error has.
func TestService_KeepsMessagesOfTheDatabaseToItself(t *testing.T) {
	for state, class := range map[string]string{"P0001": "unexpected", "42P01": "schema"} {
		t.Run(class, func(t *testing.T) {
			r := newRig(t)
			r.config.ShutdownTimeout = 0
			r.sql(`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
				BEGIN RAISE EXCEPTION 'device % is at % %', NEW.device_id, NEW.latitude, NEW.longitude
					USING ERRCODE = '` + state + `', DETAIL = 'detail of ' || NEW.latitude, HINT = 'hint of ' || NEW.latitude, CONSTRAINT = 'refused'; END $$`)
			r.sql(`CREATE TRIGGER refuse BEFORE INSERT ON positions FOR EACH ROW EXECUTE FUNCTION refuse()`)
			payloads := r.publish(1, 1)
			var sent struct {
				Device    string      `json:"device_id"`
				Latitude  json.Number `json:"latitude"`
				Longitude json.Number `json:"longitude"`
			}
			require.NoError(t, json.Unmarshal(payloads[0].Payload, &sent))
			secrets := []string{sent.Device, sent.Latitude.String(), sent.Longitude.String()}

			s, stop := r.startAt(slog.LevelInfo)
			servertest.Until(r.t, "not ready because of it", func() bool {
				code, body := r.get(s, "/readyz")
				return code == 503 && strings.Contains(body, "SQLSTATE "+state)
			})
			servertest.Until(r.t, "it is logged", func() bool { return strings.Contains(r.log.String(), "SQLSTATE "+state+", constraint refused") })
			_, body := r.get(s, "/readyz")
			stop()
			for _, secret := range secrets {
				require.NotContains(t, body, secret)
				require.NotContains(t, r.log.String(), secret)
			}

			_, stop = r.startAt(slog.LevelDebug)
			servertest.Until(r.t, "the message is logged", func() bool {
				return strings.Contains(r.log.String(), "device "+secrets[0]+" is at "+secrets[1]+" "+secrets[2])
			})
			stop()
		})
	}
}

// What is wrong with an entry may quote its values. They are in the dead letter and in the debug log alone.
func TestService_LogsNoValuesOfDeadLetters(t *testing.T) {
	r := newRig(t)
	const secret = "48.2082"
	r.sql(`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN IF NEW.device_id = 'refused' THEN
			RAISE EXCEPTION 'device % is at %', NEW.device_id, NEW.latitude USING ERRCODE = '23514', COLUMN = 'of ' || NEW.latitude;
		END IF; RETURN NEW; END $$`)
	r.sql(`CREATE TRIGGER refuse BEFORE INSERT ON positions FOR EACH ROW EXECUTE FUNCTION refuse()`)
	good := r.publish(20, 5)
	payload := func(old, replacement string) string {
		changed := strings.Replace(string(good[0].Payload), old, replacement, 1)
		require.NotEqual(t, string(good[0].Payload), changed)
		return changed
	}
	device := `"device_id":"` + good[0].DeviceID + `"`
	for _, bad := range []string{
		secret, `{"latitude":` + secret + `x}`, `"` + secret + `"`,
		payload(`"timestamp":"`, `"timestamp":"`+secret),
		payload(`"latitude":`, `"latitude":1`+strings.Repeat("0", 9)+secret+`,"latitude":`),
		payload(device, `"device_id":"`+secret+`\u0001"`),
		payload(`"attributes":{`, `"attributes":{"1":{"__bigint":"`+secret+`"},`),
		payload(`"attributes":{`, `"attributes":{"`+secret+`\u0000":1,`),
		payload(device, `"device_id":"refused","latitude":`+secret+`,"longitude":`+secret+`,"x":1`) + " ",
	} {
		r.add(bad)
	}
	refused := payload(device, `"device_id":"refused"`)
	refused = regexp.MustCompile(`"latitude":[0-9.-]+`).ReplaceAllString(refused, `"latitude":`+secret)
	r.add(refused)

	s, stop := r.startAt(slog.LevelInfo)
	servertest.Until(r.t, "all is decided", func() bool { return s.Ledger.Snapshot().Read == 30 && s.Ledger.Snapshot().InFlight == 0 })
	stop()
	require.Equal(t, observe.LedgerSnapshot{Read: 30, Inserted: 20, DeadLettered: 10}, s.Ledger.Snapshot())
	require.Contains(t, r.log.String(), `"msg":"entries moved to the dead-letter queue"`)
	require.NotContains(t, r.log.String(), secret)
	require.NotContains(t, r.log.String(), "RAISE")
	letters, err := r.client.XRange(t.Context(), stream.DeadKey(r.stream), "-", "+").Result()
	require.NoError(t, err)
	require.Contains(t, fmt.Sprint(letters[len(letters)-1].Values[stream.FieldDetail]), "device refused is at "+secret)
}

func TestService_WarnsOfPlainTextToOtherMachines(t *testing.T) {
	r := newRig(t)
	warnings := func() int {
		return strings.Count(r.log.String(), `"level":"warn","msg":"connections are not protected by verified TLS"`)
	}
	s, stop := r.startAt(slog.LevelInfo)
	servertest.Until(r.t, "ready", func() bool { code, _ := r.get(s, "/readyz"); return code == 200 })
	stop()
	require.Zero(t, warnings(), "nothing leaves this machine")

	r.config.ShutdownTimeout = 0
	r.config.Redis.URL, r.config.Database.URL = "redis://u:s3cret@cache.invalid", "postgres://u:s3cret@db.invalid/gps?sslmode=require"
	_, stop = r.startAt(slog.LevelInfo)
	servertest.Until(r.t, "it is logged", func() bool { return warnings() == 1 })
	stop()
	require.Contains(t, r.log.String(), `"redis":{"problem":"passwords and positions go to cache.invalid as plain text","hint":"use rediss://`)
	require.Contains(t, r.log.String(), `"postgres":{"problem":"the certificate of db.invalid is not verified","hint":"add sslmode=verify-full`)
	require.NotContains(t, r.log.String(), "s3cret")
	require.Equal(t, 1, warnings())
}
