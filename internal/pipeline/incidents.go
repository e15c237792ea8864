package pipeline

import (
	"processor/internal/observe"
	"processor/internal/stream"
)

// incidents are what may fail in a lane.
type incidents struct {
	read, replies, claims, acknowledge, deadLetters, parked, poison *observe.Incident
}

func (l *lane) newIncidents() incidents {
	of := func(o observe.IncidentOptions) *observe.Incident {
		if o.Name != observe.Poison { // its errors have a fix
			o.Hint = stream.Hint
		}
		o.Name = o.Name.OfStream(l.name())
		return l.pipeline.Health.NewIncident(l.logger, o)
	}
	acks := l.pipeline.Metrics.AckErrors
	return incidents{
		read: of(observe.IncidentOptions{Name: observe.Reading,
			Began: "stream cannot be read; retrying", Ended: "stream is read again"}),
		replies: of(observe.IncidentOptions{Name: observe.Replies, Grace: observe.Grace,
			Began: "reply broke off; asking for fewer entries", Ended: "replies arrive whole again"}),
		claims: of(observe.IncidentOptions{Name: observe.Claims, Grace: observe.Grace,
			Began: "Redis refuses commands about pending entries; new entries are read, and it is tried again",
			Ended: "pending entries can be claimed again"}),
		acknowledge: of(observe.IncidentOptions{Name: observe.Acknowledge, Grace: observe.Grace, Errors: acks,
			Began: "entries cannot be acknowledged; retrying", Ended: "entries are acknowledged again"}),
		deadLetters: of(observe.IncidentOptions{Name: observe.DeadLetter, Grace: observe.Grace, Errors: acks,
			Began: "dead letters cannot be written; retrying", Ended: "dead letters are written again"}),
		parked: of(observe.IncidentOptions{Name: observe.Parked, Grace: observe.Grace,
			Began: "entry parked; retrying while others go on", Ended: "no entry is parked any more"}),
		poison: of(observe.IncidentOptions{Name: observe.Poison, Grace: observe.Grace,
			Began: "entries delivered too often cannot be marked; they stay pending", Ended: "entries are marked again"}),
	}
}
