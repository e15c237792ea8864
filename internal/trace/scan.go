package trace

import (
	"context"
	"time"

	"processor/internal/deadletter"
	"processor/internal/stream"
)

// deviceOn searches a stream and its dead letters for positions of a device. It returns how far it looked.
func (t *Search) deviceOn(ctx context.Context, name, device string, want fixes, told map[int64]bool) (Answer, error) {
	searched := Answer{Kind: Searched, Stream: name, Device: device}
	info, err := stream.Inspect(ctx, t.Client, name, t.Group)
	if err != nil {
		return searched, err
	}
	searched.Length, searched.TrimmedUnread = info.Length, info.TrimmedUnread
	if info.First != (stream.ID{}) {
		searched.Begins = new(info.First.Time().UTC())
	}
	from, to := idSpan(want)
	answers := 0
	err = t.walk(ctx, name, from, to, &searched, func(e *stream.Entry) (bool, error) {
		at, is := t.matches(e, device, want)
		if !is {
			return true, nil
		}
		answers++
		told[at.UnixMicro()] = true
		err := t.place(ctx, name, &info, e)
		return answers < maxAnswers && !want.newest(), err
	})
	if err != nil {
		return searched, err
	}
	searched.Letters, searched.LettersTotal, err = t.letters(ctx, name, func(l *deadletter.Letter) (bool, bool) {
		is := l.Device == device && want.hold(t.fixOf(l))
		return is, is && want.newest()
	})
	return searched, err
}

// walk calls visit with entries of a stream until that reports false, or t.Scan of them were read.
func (t *Search) walk(ctx context.Context, name string, from, to stream.ID, searched *Answer, visit func(*stream.Entry) (bool, error)) error {
	backward := from.Compare(to) > 0
	for searched.Entries < int64(t.Scan) {
		page, err := stream.Page(ctx, t.Client, name, from, to)
		if err != nil || len(page) == 0 {
			return err
		}
		for i := range page {
			id := page[i].ID
			if searched.Entries++; searched.First == "" {
				searched.First = id.String()
			}
			searched.Last = id.String()
			goOn, err := visit(&page[i])
			if err != nil || !goOn || id == to || searched.Entries == int64(t.Scan) {
				return err
			}
			if from = id.Next(); backward {
				from = id.Previous()
			}
		}
		if from.Compare(to) > 0 != backward && from != to {
			return nil
		}
	}
	return nil
}

// matches reports whether an entry is of the device and time, and its fix time. Where a payload cannot be decoded, the
// time at which it was added stands for that.
func (t *Search) matches(e *stream.Entry, device string, want fixes) (time.Time, bool) {
	t.decoder.Reset()
	p, err := t.decoder.Decode(e.Payload)
	if err == nil {
		return p.Timestamp, p.DeviceID == device && want.hold(p.Timestamp)
	}
	var field []byte
	for name, value := range e.Fields {
		if string(name) == "device_id" {
			field = value
		}
	}
	at := e.ID.Time()
	return at, deadletter.Device(e.Payload, field) == device && want.hold(at)
}

// fixOf is the fix time of a dead letter, or when its entry was added.
func (t *Search) fixOf(l *deadletter.Letter) time.Time {
	t.decoder.Reset()
	if p, err := t.decoder.Decode(l.Payload()); err == nil {
		return p.Timestamp
	}
	if id, err := stream.ParseID(l.SourceID); err == nil {
		return id.Time()
	}
	return l.At()
}

// lettersOf answers with the dead letter of an entry, or with the one that has the id.
func (t *Search) lettersOf(ctx context.Context, name string, id stream.ID) (searched, total int64, err error) {
	known, isKnown, err := stream.LetterOf(ctx, t.Client, name, id)
	if err != nil {
		return 0, 0, err
	}
	ids := []stream.ID{id}
	if isKnown {
		ids = append(ids, known)
	}
	text := id.String()
	said := false
	for _, at := range ids {
		found, err := stream.DeadLetters(ctx, t.Client, name, at, at)
		if err != nil {
			return 0, 0, err
		}
		for i := range found {
			l := deadletter.NewLetter(&found[i])
			if l.ID == id || l.SourceID == text {
				said = true
				if err := t.say(letterAnswer(name, &l)); err != nil {
					return 0, 0, err
				}
			}
		}
	}
	if said {
		total, err := t.Client.XLen(ctx, stream.DeadKey(name)).Result()
		return 1, total, err
	}
	return t.letters(ctx, name, func(l *deadletter.Letter) (bool, bool) { return l.SourceID == text, l.SourceID == text })
}

// letters answers with the dead letters that match, the newest first, and returns how many of how many it looked at. match
// reports whether a letter is one, and whether that is enough.
func (t *Search) letters(ctx context.Context, name string, match func(*deadletter.Letter) (is, enough bool)) (searched, total int64, err error) {
	total, err = t.Client.XLen(ctx, stream.DeadKey(name)).Result()
	if err != nil || total == 0 {
		return 0, total, err
	}
	answers := 0
	for from := stream.MaxID(); searched < int64(t.Scan); {
		page, err := stream.DeadLetters(ctx, t.Client, name, from, stream.ID{})
		if err != nil || len(page) == 0 {
			return searched, total, err
		}
		for i := range page {
			searched++
			l := deadletter.NewLetter(&page[i])
			is, enough := match(&l)
			if is {
				answers++
				if err := t.say(letterAnswer(name, &l)); err != nil {
					return searched, total, err
				}
			}
			if enough || answers == maxAnswers || searched == int64(t.Scan) {
				return searched, total, nil
			}
		}
		from = page[len(page)-1].ID.Previous()
	}
	return searched, total, nil
}
