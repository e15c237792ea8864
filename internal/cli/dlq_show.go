package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"

	"processor/internal/deadletter"
	"processor/internal/observe"
	"processor/internal/stream"
)

type dlqShowCmd struct {
	queues
	ID   letterID `arg:"" help:"Id of the dead letter, as dlq list shows it, or of the entry that it was."`
	JSON bool     `name:"json" env:"DLQ_JSON" help:"One JSON object."`
}

// showJSON is what dlq show --json writes.
type showJSON struct {
	letterJSON
	Fields []fieldJSON `json:"fields"`
}

// fieldJSON has one of the two values: JSON holds no bytes that are not UTF-8.
type fieldJSON struct {
	Name   string  `json:"name"`
	Value  *string `json:"value,omitempty"`
	Base64 []byte  `json:"value_base64,omitempty"`
}

// Help is called by kong.
func (c *dlqShowCmd) Help() string {
	return `Examples:
  processor dlq show 1764036553000-0
  processor dlq show 1764036553000-0 --json | jq .fields`
}

// Run is called by kong.
func (c *dlqShowCmd) Run(ctx context.Context, out Streams) error {
	all, client, err := c.open(ctx, letterFilter{}, c.ID)
	if err != nil {
		return granted(err, c.Redis.URL, listRights(c.Streams))
	}
	defer client.Close()
	letter, err := all[0].Find(ctx, c.ID.ID)
	if err != nil {
		return granted(err, c.Redis.URL, listRights(c.Streams))
	}
	if letter == nil {
		return fmt.Errorf("stream %s has no dead letter with the id or source id %s", c.Streams[0], c.ID.ID)
	}
	if c.JSON {
		return printJSON(out.Out, showJSON{asJSON(c.Streams[0], letter), fieldsJSON(letter.Fields)})
	}
	printLetter(out.Out, c.Streams[0], letter)
	return nil
}

func fieldsJSON(fields []stream.Field) []fieldJSON {
	all := make([]fieldJSON, len(fields))
	for i, f := range fields {
		all[i].Name = string(f.Name)
		if utf8.Valid(f.Value) {
			text := string(f.Value)
			all[i].Value = &text
		} else {
			all[i].Base64 = f.Value
		}
	}
	return all
}

func printLetter(w io.Writer, name string, l *deadletter.Letter) {
	line := func(label, text string) { fmt.Fprintf(w, "%-12s%s\n", label, text) }
	line("id", l.ID.String())
	line("stream", name)
	line("source id", orDash(printable(l.SourceID)))
	line("time", stamp(l.At()))
	line("reason", printable(l.ReasonText()))
	line("detail", orDash(printable(l.Detail)))
	line("sqlstate", orDash(printable(l.SQLState)))
	line("device", orDash(printable(l.Device)))
	for _, f := range l.Fields {
		if string(f.Name) != "payload" {
			line("field", fmt.Sprintf("%s = %q", printable(string(f.Name)), f.Value))
			continue
		}
		fmt.Fprintf(w, "payload (%s):\n%s\n", plural(len(f.Value), "byte"), readable(f.Value))
	}
}

// readable indents what is JSON, every digit as it was, and quotes what is not.
func readable(payload []byte) string {
	var indented bytes.Buffer
	if !utf8.Valid(payload) || json.Indent(&indented, payload, "", "  ") != nil {
		return strconv.Quote(string(payload))
	}
	return observe.Escape(indented.String(), func(r rune) bool { return r == '\n' })
}
