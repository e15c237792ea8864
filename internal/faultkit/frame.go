package faultkit

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Frame is what a client sends at once in its protocol: a command of Redis, a message of
// PostgreSQL.
type Frame struct {
	// Name is a Redis command in capitals, or a PostgreSQL message as its documentation spells it
	// (only those that a Moment asks for).
	Name string
	// Args are the arguments of a Redis command.
	Args []string
	// Writes: since the last Sync a statement that writes positions was executed on this
	// connection (PostgreSQL).
	Writes bool
	// Reads: it makes Redis deliver entries, as XREADGROUP or as EXEC of a transaction with it.
	Reads bool

	raw []byte
}

// Moment picks the frame at which something is to happen.
type Moment func(Frame) bool

// Commit is the request that makes PostgreSQL commit written positions: CopyDone of a COPY, or
// the Sync that ends an implicit transaction.
func Commit(f Frame) bool {
	return f.Name == "CopyDone" || f.Name == "Sync" && f.Writes
}

// Read is the request that makes Redis deliver entries.
func Read(f Frame) bool { return f.Reads }

// DeadLetter is the script that writes a dead letter and acknowledges its entry: the only one
// that has the keys of two streams.
func DeadLetter(f Frame) bool {
	return (f.Name == "EVAL" || f.Name == "EVALSHA") && len(f.Args) > 3 && strings.HasSuffix(f.Args[3], ":dead")
}

// Command is a command of Redis whose arguments begin with args.
func Command(name string, args ...string) Moment {
	return func(f Frame) bool {
		if f.Name != name || len(f.Args) < len(args) {
			return false
		}
		for i, arg := range args {
			if f.Args[i] != arg {
				return false
			}
		}
		return true
	}
}

// Protocol is what a Proxy knows of the protocol that passes through it.
type Protocol struct {
	// frames returns a function that reads a client's next frame.
	frames func(*bufio.Reader) func() (Frame, error)
	// answered stands in the server's answer to a frame once the server has done what it asks.
	answered []byte
	// probe is sent behind a frame where only the answer to a further frame can tell that.
	probe []byte
}

// PostgreSQL is the frontend/backend protocol 3, without TLS. ReadyForQuery, outside of a
// transaction, says that the server has committed or rolled back.
func PostgreSQL() Protocol {
	return Protocol{frames: postgresFrames, answered: []byte("Z\x00\x00\x00\x05I")}
}

// Redis is RESP as clients send it, without TLS: arrays of bulk strings.
func Redis() Protocol {
	const text = "faultkit: all before this is done"
	return Protocol{
		frames:   redisFrames,
		answered: []byte(text),
		probe:    fmt.Appendf(nil, "*2\r\n$4\r\nECHO\r\n$%d\r\n%s\r\n", len(text), text),
	}
}

// maxFrame bounds what a frame's header may claim.
const maxFrame = 1 << 30

// postgresFrames reads messages of the frontend: first StartupMessage or what stands in its place,
// without a type byte, then a type byte, the length and the body.
func postgresFrames(r *bufio.Reader) func() (Frame, error) {
	const protocol3 = 196608
	started := false
	statements := map[string]bool{} // by name: writes positions
	writes := false
	return func() (Frame, error) {
		head := 1
		if !started {
			head = 0
		}
		raw := make([]byte, head+4)
		if _, err := io.ReadFull(r, raw); err != nil {
			return Frame{}, err
		}
		length := binary.BigEndian.Uint32(raw[head:])
		if length < 4 || length > maxFrame {
			return Frame{}, fmt.Errorf("message of %d bytes", length)
		}
		raw = append(raw, make([]byte, length-4)...)
		body := raw[head+4:]
		if _, err := io.ReadFull(r, body); err != nil {
			return Frame{}, err
		}
		f := Frame{raw: raw}
		if !started {
			started = len(body) >= 4 && binary.BigEndian.Uint32(body) == protocol3
			return f, nil
		}
		switch raw[0] {
		case 'P': // Parse: name, query
			name, rest := cString(body)
			query, _ := cString(rest)
			// sqlc heads each query with its name.
			statements[name] = strings.Contains(query, "name: UpsertPositions ") || strings.Contains(query, "name: InsertPositions ")
		case 'B': // Bind: portal, name
			_, rest := cString(body)
			name, _ := cString(rest)
			writes = writes || statements[name]
		case 'S':
			f.Name, f.Writes = "Sync", writes
			writes = false
		case 'c':
			f.Name = "CopyDone"
		}
		return f, nil
	}
}

func cString(b []byte) (text string, rest []byte) {
	before, after, _ := bytes.Cut(b, []byte{0})
	return string(before), after
}

// redisFrames reads commands: *n, then n times $length and the argument.
func redisFrames(r *bufio.Reader) func() (Frame, error) {
	multi, reads := false, false // in a transaction, and what that does
	return func() (Frame, error) {
		var f Frame
		n, err := respHeader(r, '*', &f.raw)
		if err != nil {
			return Frame{}, err
		}
		for i := range n {
			size, err := respHeader(r, '$', &f.raw)
			if err != nil {
				return Frame{}, err
			}
			start := len(f.raw)
			f.raw = append(f.raw, make([]byte, size+len("\r\n"))...)
			if _, err := io.ReadFull(r, f.raw[start:]); err != nil {
				return Frame{}, err
			}
			text := string(f.raw[start : start+size])
			if i == 0 {
				f.Name = strings.ToUpper(text)
				continue
			}
			f.Args = append(f.Args, text)
		}
		switch f.Name {
		case "MULTI":
			multi, reads = true, false
		case "XREADGROUP":
			f.Reads, reads = !multi, multi
		case "EXEC":
			f.Reads, multi, reads = reads, false, false
		}
		return f, nil
	}
}

// respHeader reads <kind><number>\r\n and appends it to raw.
func respHeader(r *bufio.Reader, kind byte, raw *[]byte) (int, error) {
	line, err := r.ReadBytes('\n')
	if err != nil {
		return 0, err
	}
	*raw = append(*raw, line...)
	if len(line) < 4 || line[0] != kind {
		return 0, fmt.Errorf("%q where %q was expected", line, kind)
	}
	n, err := strconv.Atoi(string(line[1 : len(line)-2]))
	if err != nil || n < 0 || n > maxFrame {
		return 0, fmt.Errorf("%q is no length", line)
	}
	return n, nil
}
