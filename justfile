# Recipes call scripts and .ci/run, so that CI does the very same. just itself is rust-just on npm:
# after `just test` or scripts/test it is test/timescale/node_modules/.bin/just.

# List the recipes
default:
    @just --list

# Run everything on disposable servers, with a simulated fleet
demo *flags:
    go run . demo {{ flags }}

# Install what the tests need, then run them all
test *flags:
    scripts/test {{ flags }}

# Generate db/ from sql/
generate:
    .ci/run generate

# Fail where db/ is not what sql/ says
verify:
    .ci/run verify

# Check formatting, go.mod, vet and staticcheck
lint:
    .ci/run lint

# Format the Go code
fmt:
    gofmt -w .

# Run the benchmarks
bench *flags:
    go test -run '^$' -bench . -benchmem {{ flags }} ./...

# Run what CI runs
ci:
    .ci/run

# Build bin/processor
build:
    CGO_ENABLED=0 go build -trimpath -o bin/processor .
