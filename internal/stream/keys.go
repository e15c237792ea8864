package stream

import (
	"fmt"
	"strings"
)

// DeadKey names the dead-letter stream of a stream. Redis Cluster keeps both in one slot, so
// that one script reaches both: the slot is that of the text in the first {…}, or of the whole
// name where that is empty or not there.
func DeadKey(stream string) string { return beside(stream, ":dead") }

// SourcesKey names the hash of source ids to dead letters. It may be deleted at
// any time: then an entry that is delivered once more is copied once more.
func SourcesKey(stream string) string { return DeadKey(stream) + ":sources" }

// CountedKey names the string that holds the last reliable entries-read of the group.
func CountedKey(stream string) string { return beside(stream, ":counted") }

// Keys lists the keys that this service keeps for a stream, the stream itself first. All are in its slot.
func Keys(stream string) []string {
	return []string{stream, DeadKey(stream), SourcesKey(stream), CountedKey(stream), PoisonKey(stream)}
}

func beside(stream, suffix string) string {
	if tag, tagged := hashTag(stream); tagged && tag != "" {
		return stream + suffix
	}
	return "{" + stream + "}" + suffix
}

// hashTag returns the text between the first { and the first } after it.
func hashTag(key string) (tag string, tagged bool) {
	_, rest, found := strings.Cut(key, "{")
	if !found {
		return "", false
	}
	tag, _, tagged = strings.Cut(rest, "}")
	return tag, tagged
}

// CheckName returns an error for a stream whose dead letters no key of the same cluster slot can hold:
// the slot of a name without a hash tag is that of all of it, which no {…} can hold together with a }.
func CheckName(stream string) error {
	if tag, tagged := hashTag(stream); (tagged && tag == "") || (!tagged && strings.Contains(stream, "}")) {
		return fmt.Errorf("stream name %q has a } outside of a hash tag {…}: its dead-letter stream could not be in the same slot of Redis Cluster", stream)
	}
	return nil
}
