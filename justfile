# Recipes call scripts/ and .ci/run, as CI does. just is the npm package rust-just: scripts/test installs
# it as test/timescale/node_modules/.bin/just.

# List the recipes
default:
    @just --list

# Run everything on disposable servers, with a simulated fleet
demo *flags:
    go run . demo {{ flags }}

# Install the dependencies of the tests, then run all tests
test *flags:
    scripts/test {{ flags }}

# Generate db/ from sql/
generate:
    .ci/run generate

# Fail if db/ does not match sql/
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
