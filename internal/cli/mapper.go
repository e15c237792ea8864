package cli

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"processor/internal/bench"
	"processor/internal/deadletter"
)

// mappers read the values of flags, and say flag, variable, value and what is allowed where one
// cannot be used. Numbers and durations keep within their tag `range:"least..most"`.
func mappers() []kong.Option {
	return []kong.Option{
		kong.KindMapper(reflect.Int, number("a whole number", strconv.Atoi)),
		kong.KindMapper(reflect.Float64, number("a number", parseFloat)),
		kong.TypeMapper(reflect.TypeFor[time.Duration](), number("a duration such as 250ms, 5s or 1m30s", time.ParseDuration)),
		kong.KindMapper(reflect.Bool, boolMapper{}),
		kong.TypeMapper(reflect.TypeFor[groupBy](), one("one of "+strings.Join(groupNames(), ", "), parseGroupBy)),
		kong.TypeMapper(reflect.TypeFor[expected](), one("one of "+strings.Join(userNames(), ", "), parseUser)),
		kong.TypeMapper(reflect.TypeFor[instant](), one("a time such as "+exampleTime, parseInstant)),
		kong.TypeMapper(reflect.TypeFor[slog.Level](), one("one of "+strings.Join(levelNames(), ", "), parseLevel)),
		kong.TypeMapper(reflect.TypeFor[letterID](), one("an id such as 1764036553000-0", parseLetterID)),
		kong.TypeMapper(reflect.TypeFor[[]deadletter.Reason](), list("one or several of "+strings.Join(reasonNames(), ", "), parseReason)),
		kong.TypeMapper(reflect.TypeFor[scenarioNames](), list("one or several of "+strings.Join(bench.Names(), ", "), parseScenario)),
		kong.TypeMapper(reflect.TypeFor[[]string](), list("names separated by commas", parseName)),
		kong.TypeMapper(reflect.TypeFor[deviceIDs](), list("device ids separated by commas", parseDevice)),
	}
}

// instant is a time on the command line.
type instant struct{ time.Time }

const exampleTime = "2025-06-01T12:00:00Z"

func parseInstant(text string) (instant, error) {
	at, err := time.Parse(time.RFC3339Nano, text)
	return instant{at}, err
}

func parseFloat(text string) (float64, error) { return strconv.ParseFloat(text, 64) }

func parseBool(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "true", "yes", "1":
		return true, nil
	case "false", "no", "0":
		return false, nil
	}
	return false, errNotAllowed
}

func levelNames() []string { return []string{"debug", "info", "warn", "error"} }

// parseLevel does not take all that slog.Level does, such as INFO+2.
func parseLevel(text string) (level slog.Level, err error) {
	if !slices.Contains(levelNames(), text) {
		return 0, errNotAllowed
	}
	err = level.UnmarshalText([]byte(text))
	return level, err
}

func parseReason(text string) (deadletter.Reason, error) {
	var reason deadletter.Reason
	err := reason.UnmarshalText([]byte(text))
	return reason, err
}

func parseDevice(text string) (string, error) {
	if text == "" {
		return "", errNotAllowed
	}
	return text, nil
}

// parseName takes every name: what a stream may be called is checked in one place, see service.CheckStreams.
func parseName(text string) (string, error) { return text, nil }

// errNotAllowed never shows: the error of decode says what is allowed.
var errNotAllowed = errors.New("not allowed")

// one is a mapper of single values that parse takes.
func one[T any](allowed string, parse func(string) (T, error)) kong.MapperFunc {
	return func(ctx *kong.DecodeContext, target reflect.Value) error {
		return decode(ctx, allowed, parse, assign[T](target))
	}
}

// number is a mapper of numbers of a kind, within the flag's range.
func number[T cmp.Ordered](kind string, parse func(string) (T, error)) kong.MapperFunc {
	return func(ctx *kong.DecodeContext, target reflect.Value) error {
		low, high, bounded := strings.Cut(ctx.Value.Tag.Get("range"), "..")
		if !bounded {
			return decode(ctx, kind, parse, assign[T](target))
		}
		within := func(text string) (T, error) {
			v, err := parse(text)
			least, lowErr := parse(low)
			most, highErr := parse(high)
			if err == nil && (v < least || v > most || v != v) { // NaN is within no bounds
				err = strconv.ErrRange
			}
			return v, errors.Join(err, lowErr, highErr)
		}
		return decode(ctx, kind+" from "+low+" to "+high, within, assign[T](target))
	}
}

// list is a mapper of values separated by commas and white space around them, at least one: an empty list would mean all where
// a script's variable was not set.
func list[T any](allowed string, parse func(string) (T, error)) kong.MapperFunc {
	return func(ctx *kong.DecodeContext, target reflect.Value) error {
		all := func(text string) (values []T, err error) {
			for part := range strings.SplitSeq(text, ",") {
				v, err := parse(strings.TrimSpace(part))
				if err != nil {
					return nil, err
				}
				values = append(values, v)
			}
			return values, nil
		}
		return decode(ctx, allowed, all, func(values []T) {
			target.Set(reflect.AppendSlice(target, reflect.ValueOf(values))) // a flag may be repeated
		})
	}
}

// boolMapper reads yes and no. A flag without a value is yes.
type boolMapper struct{}

// IsBool is called by kong.
func (boolMapper) IsBool() bool { return true }

// Decode is called by kong.
func (boolMapper) Decode(ctx *kong.DecodeContext, target reflect.Value) error {
	if ctx.Scan.Peek().Type != kong.FlagValueToken {
		target.SetBool(true)
		return nil
	}
	return one("true, yes, 1, false, no or 0", parseBool)(ctx, target)
}

// decode reads one value and hands what parse makes of it to set.
func decode[T any](ctx *kong.DecodeContext, allowed string, parse func(string) (T, error), set func(T)) error {
	var text string
	if err := ctx.Scan.PopValueInto(allowed, &text); err != nil {
		return err
	}
	v, err := parse(text)
	if err != nil {
		return fmt.Errorf("%q%s is not %s", text, variable(ctx.Value, text), allowed)
	}
	set(v)
	return nil
}

// assign sets a target of T or of a type made of it.
func assign[T any](target reflect.Value) func(T) {
	return func(v T) { target.Set(reflect.ValueOf(v).Convert(target.Type())) }
}

// variable names the flag's environment variable, since either may have brought the text. It is
// empty where the variable holds that very text: kong adds where that came from.
func variable(v *kong.Value, text string) string {
	if len(v.Tag.Envs) == 0 || slices.ContainsFunc(v.Tag.Envs, func(env string) bool {
		value, set := os.LookupEnv(env)
		return set && value == text
	}) {
		return ""
	}
	return " (environment variable " + strings.Join(v.Tag.Envs, ", ") + ")"
}
