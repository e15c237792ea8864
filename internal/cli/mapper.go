package cli

import (
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// intMapper and durationMapper read numbers and durations within the range of their tag
// `range:"least..most"`, and say flag, variable, value and what is allowed where one is not.

func intMapper() kong.Option {
	return kong.KindMapper(reflect.Int, kong.MapperFunc(func(ctx *kong.DecodeContext, target reflect.Value) error {
		return decode(ctx, "a whole number", strconv.Atoi, func(v int) { target.SetInt(int64(v)) })
	}))
}

func durationMapper() kong.Option {
	return kong.TypeMapper(reflect.TypeFor[time.Duration](), kong.MapperFunc(func(ctx *kong.DecodeContext, target reflect.Value) error {
		return decode(ctx, "a duration such as 250ms, 5s or 1m30s", time.ParseDuration, func(v time.Duration) { target.SetInt(int64(v)) })
	}))
}

// enumMapper reads a text that is one of its tag `enum:"a,b"`. kong checks that too, but later,
// when it no longer says which variable brought the text.
func enumMapper() kong.Option {
	return kong.KindMapper(reflect.String, kong.MapperFunc(func(ctx *kong.DecodeContext, target reflect.Value) error {
		var text string
		if err := ctx.Scan.PopValueInto("string", &text); err != nil {
			return err
		}
		if ctx.Value.Enum != "" && !ctx.Value.EnumMap()[text] {
			return fmt.Errorf("%q%s is not one of %s", text, variable(ctx.Value, text), strings.Join(ctx.Value.EnumSlice(), ", "))
		}
		target.SetString(text)
		return nil
	}))
}

func decode[T int | time.Duration](ctx *kong.DecodeContext, kind string, parse func(string) (T, error), set func(T)) error {
	var text string
	if err := ctx.Scan.PopValueInto(kind, &text); err != nil {
		return err
	}
	allowed := kind
	low, high, bounded := strings.Cut(ctx.Value.Tag.Get("range"), "..")
	if bounded {
		allowed += " from " + low + " to " + high
	}
	v, err := parse(text)
	if err == nil && bounded {
		err = within(v, low, high, parse)
	}
	if err != nil {
		return fmt.Errorf("%q%s is not %s", text, variable(ctx.Value, text), allowed)
	}
	set(v)
	return nil
}

func within[T int | time.Duration](v T, low, high string, parse func(string) (T, error)) error {
	least, err := parse(low)
	if err != nil {
		return err
	}
	most, err := parse(high)
	if err != nil {
		return err
	}
	if v < least || v > most {
		return strconv.ErrRange
	}
	return nil
}

// variable names the flag's environment variable, since either may have brought the text. It is
// empty where the variable holds that very text: kong adds where that came from.
func variable(v *kong.Value, text string) string {
	for _, env := range v.Tag.Envs {
		if value, set := os.LookupEnv(env); set && value == text {
			return ""
		}
	}
	if len(v.Tag.Envs) == 0 {
		return ""
	}
	return " (environment variable " + strings.Join(v.Tag.Envs, ", ") + ")"
}
