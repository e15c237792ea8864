package stream

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// groupsReply is what XINFO GROUPS says of one group, among others.
func groupsReply(name, entriesRead string) string {
	group := func(name, entriesRead string) string {
		return "*12\r\n" + bulkOf("name") + bulkOf(name) + bulkOf("consumers") + ":1\r\n" + bulkOf("pending") + ":0\r\n" +
			bulkOf("last-delivered-id") + bulkOf("3-0") + bulkOf("entries-read") + entriesRead + "\r\n" + bulkOf("lag") + "$-1\r\n"
	}
	return "*3\r\n" + group("another", ":77") + group(name, entriesRead) + group("third", "$-1")
}

func bulkOf(text string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(text), text) }

func TestParseCounted_ComparesTheCounts(t *testing.T) {
	twoEntries := "*1\r\n*2\r\n" + bulkOf("s") + "*2\r\n" + strings.Repeat("*2\r\n"+bulkOf("4-0")+"*2\r\n"+bulkOf("payload")+bulkOf("x"), 2)
	const none = "*-1\r\n"
	cases := map[string]struct {
		before, read, after string
		entries             int
		missed              int64
	}{
		"nothing is missing":            {groupsReply("g", ":3"), twoEntries, groupsReply("g", ":5"), 2, 0},
		"five are":                      {groupsReply("g", ":3"), twoEntries, groupsReply("g", ":10"), 2, 5},
		"nothing came":                  {groupsReply("g", ":3"), none, groupsReply("g", ":3"), 0, 0},
		"a number beyond 32 bits":       {groupsReply("g", ":99999999999"), twoEntries, groupsReply("g", ":100000000002"), 2, 1},
		"Redis could not tell before":   {groupsReply("g", "$-1"), twoEntries, groupsReply("g", ":10"), 2, 0},
		"Redis cannot tell now":         {groupsReply("g", ":3"), twoEntries, groupsReply("g", "$-1"), 2, 0},
		"the count has become less":     {groupsReply("g", ":9"), twoEntries, groupsReply("g", ":5"), 2, 0},
		"such a group is not there":     {groupsReply("other", ":3"), twoEntries, groupsReply("other", ":9"), 2, 0},
		"Redis before 7.0 has no count": {"*1\r\n*2\r\n" + bulkOf("name") + bulkOf("g"), twoEntries, "*0\r\n", 2, 0},
	}
	for name, c := range cases {
		consumer := NewConsumer(nil, "s", "g", "me")
		consumer.count.begin()
		consumer.countedAt = consumer.count.started()
		got, err := consumer.parseCounted(nil, []byte("*3\r\n"+c.before+c.read+c.after))
		require.NoError(t, err, name)
		require.Len(t, got.entries, c.entries, name)
		require.Equal(t, len(c.read), got.bytes, name)
		require.Equal(t, c.missed, got.trimmedUnread, name)
	}
}

func TestParseCounted_TellsErrors(t *testing.T) {
	consumer := NewConsumer(nil, "s", "g", "me")
	const missing = "-ERR no such key\r\n"
	for reply, want := range map[string]string{
		"-OOM command not allowed\r\n":                            "OOM command not allowed",
		"*3\r\n" + missing + "-NOGROUP No such key\r\n" + missing: "NOGROUP No such key",
	} {
		_, err := consumer.parseCounted(nil, []byte(reply))
		require.EqualError(t, err, want)
	}
	for _, reply := range []string{"", "+OK\r\n", "*-1\r\n", "*2\r\n*0\r\n*-1\r\n", "*3\r\n*0\r\n*-1\r\n", "*3\r\n*1\r\n*2\r\n$4\r\nname\r\n*0\r\n*-1\r\n*0\r\n"} {
		_, err := consumer.parseCounted(nil, []byte(reply))
		require.ErrorIs(t, err, errProtocol, "%q", reply)
	}
}
