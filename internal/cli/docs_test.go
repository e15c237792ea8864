package cli

import (
	"encoding"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"

	"processor/internal/doctor"
	"processor/internal/observe"
	"processor/internal/servertest"
	"processor/internal/status"
	"processor/internal/trace"
)

// The reference of the command line is made of kong's model.
func TestDocs_CommandsAreThoseOfTheBinary(t *testing.T) {
	all := leaves(t)
	settings := map[string]bool{}
	for _, command := range all {
		if command.Name == "run" {
			for _, flag := range command.Flags {
				settings[flag.Name] = true
			}
		}
	}
	require.Contains(t, settings, "redis-url")
	var page strings.Builder
	for _, command := range all {
		describe(&page, command, settings)
	}
	servertest.Generated(t, "cli.md", "commands", page.String())
}

// describe writes the part of one command. The settings of run have a page, to which it refers.
func describe(page *strings.Builder, command *kong.Node, settings map[string]bool) {
	fmt.Fprintf(page, "### processor %s\n\n%s\n\n", path(command), command.Help)
	for _, argument := range command.Positional {
		fmt.Fprintf(page, "Argument `%s`: %s\n\n", argument.Summary(), argument.Help)
	}
	var shared []string
	rows := ""
	for _, flag := range command.Flags {
		if settings[flag.Name] {
			shared = append(shared, "`--"+flag.Name+"`")
			continue
		}
		name := "--" + flag.Name
		if !flag.IsBool() {
			name += " " + flag.PlaceHolder
		}
		rows += fmt.Sprintf("| `%s` | `%s` | %s |\n", name, flag.Envs[0], strings.ReplaceAll(flag.Help, "|", `\|`))
	}
	switch {
	case command.Name == "run":
		page.WriteString("Flags: [configuration.md](configuration.md).\n\n")
	case len(shared) > 0:
		fmt.Fprintf(page, "Settings, as in [configuration.md](configuration.md): %s.\n\n", strings.Join(shared, ", "))
	}
	if rows != "" {
		fmt.Fprintf(page, "| Flag | Variable | Meaning |\n|---|---|---|\n%s\n", rows)
	}
}

// members lists what a Go value is as JSON: a path of each scalar, such as streams[].group.lag, with * for a key of
// a map, and its type.
func members(t reflect.Type, path string) (all []string) {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return []string{path + " string"}
	case t.Kind() != reflect.Pointer && t.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
		return []string{path + " string"}
	case t.Kind() == reflect.Pointer:
		all = members(t.Elem(), path)
		if len(all) == 1 && strings.HasPrefix(all[0], path+" ") {
			all[0] += " or null"
		}
		return all
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8:
		return []string{path + " string"}
	case t.Kind() == reflect.Slice:
		return members(t.Elem(), path+"[]")
	case t.Kind() == reflect.Map:
		return members(t.Elem(), path+".*")
	case t.Kind() == reflect.Struct:
		for i := range t.NumField() {
			field := t.Field(i)
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if field.Anonymous && name == "" {
				all = append(all, members(field.Type, path)...)
				continue
			}
			inside := members(field.Type, strings.TrimPrefix(path+"."+name, "."))
			if strings.Contains(field.Tag.Get("json"), ",omitempty") { // absent, not null
				inside[0] = strings.TrimSuffix(inside[0], " or null")
			}
			all = append(all, inside...)
		}
		return all
	}
	switch t.Kind() {
	case reflect.Bool:
		return []string{path + " boolean"}
	case reflect.String:
		return []string{path + " string"}
	}
	return []string{path + " number"}
}

var memberRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (boolean|string|number)( or null)? \\| [A-Za-z0-9`].* \\|$")

// The tables of JSON members are those of what the binary writes.
func TestDocs_JSONIsThatOfTheBinary(t *testing.T) {
	content, err := os.ReadFile("../../docs/http.md")
	require.NoError(t, err)
	tables := map[string][]string{}
	for _, part := range strings.Split(string(content), "\n## ")[1:] {
		heading, body, _ := strings.Cut(part, "\n")
		for _, m := range memberRow.FindAllStringSubmatch(body, -1) {
			tables[heading] = append(tables[heading], m[1]+" "+m[2]+m[3])
		}
	}
	want := map[string]reflect.Type{
		"GET /readyz":                    reflect.TypeFor[observe.Readiness](),
		"GET /healthz":                   reflect.TypeFor[observe.Liveness](),
		"processor status --json":        reflect.TypeFor[status.View](),
		"processor doctor --json":        reflect.TypeFor[doctor.Finding](),
		"processor dlq list --json":      reflect.TypeFor[letterJSON](),
		"processor dlq show --json":      reflect.TypeFor[showJSON](),
		"processor dlq list --by --json": reflect.TypeFor[letterGroup](),
		"processor trace --json":         reflect.TypeFor[trace.Answer](),
	}
	for heading, written := range want {
		listed := tables[heading]
		slices.Sort(listed)
		there := members(written, "")
		slices.Sort(there)
		require.Equal(t, there, listed, heading)
		delete(tables, heading)
	}
	require.Empty(t, tables, "no test compares these tables")
}

func TestMembers_ListsWhatJSONHas(t *testing.T) {
	type inner struct {
		Rate *float64  `json:"rate"`
		At   time.Time `json:"at"`
	}
	type outer struct {
		inner
		OK    bool           `json:"ok"`
		Each  []inner        `json:"each"`
		Maybe *inner         `json:"maybe"`
		By    map[string]int `json:"by,omitempty"`
		May   *string        `json:"may,omitempty"`
		Bytes []byte         `json:"bytes"`
	}
	require.Equal(t, []string{
		"rate number or null", "at string", "ok boolean", "each[].rate number or null", "each[].at string",
		"maybe.rate number or null", "maybe.at string", "by.* number", "may string", "bytes string",
	}, members(reflect.TypeFor[outer](), ""))
}
