# The image contains one static binary, the CA certificates, and the licences of the modules in the binary. By default it
# runs the worker; other commands are `migrate up`, `publish`, `status`, `doctor` and `dlq`.

# scripts/pin --update appends the digest of the registry.
ARG GO_IMAGE=golang:1.26-bookworm

# The build stage runs on the platform of the build machine and cross-compiles, which is faster than
# emulation.
FROM --platform=$BUILDPLATFORM $GO_IMAGE AS build
WORKDIR /src

# Dependencies first: this layer is cached until go.mod changes.
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod \
    go mod download

COPY main.go ./
COPY db/ db/
COPY internal/ internal/
COPY sql/ sql/

ARG TARGETOS TARGETARCH
ARG VERSION=devel
ARG REVISION=unknown
RUN --mount=type=cache,target=/go/pkg/mod \
    --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -tags worker -ldflags "-s -w -X main.version=$VERSION -X main.revision=$REVISION" -o /out/processor .

# Most licences require that their text comes with the binary.
RUN --mount=type=cache,target=/go/pkg/mod \
    GOOS=$TARGETOS GOARCH=$TARGETARCH go list -deps -tags worker -f '{{with .Module}}{{if .Version}}{{.Path}} {{.Dir}}{{end}}{{end}}' . | sort -u >/tmp/modules && \
    echo "go $(go env GOROOT)" >>/tmp/modules && \
    while read -r path dir; do \
      mkdir -p "/out/licenses/$path" && \
      find "$dir" -maxdepth 1 -type f \( -iname 'licen[cs]e*' -o -iname 'copying*' -o -iname 'notice*' \) -exec cp {} "/out/licenses/$path/" \; && \
      [ -n "$(ls "/out/licenses/$path")" ] || exit 1; \
    done </tmp/modules

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/licenses /licenses
COPY --from=build /out/processor /processor

ARG VERSION=devel
ARG REVISION=unknown
ARG CREATED
LABEL org.opencontainers.image.title="processor" \
      org.opencontainers.image.description="Stores every GPS position of a Redis Stream as exactly one row in TimescaleDB." \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED"

# Numeric, because the image has no /etc/passwd and Kubernetes must be able to verify runAsNonRoot.
USER 65532:65532
EXPOSE 8080
# The default stop signal, SIGTERM, makes the worker finish its batches, for up to SHUTDOWN_TIMEOUT, 20 s. Docker
# waits only 10 s before SIGKILL: run the container with --stop-timeout 30.
ENTRYPOINT ["/processor"]
CMD ["run"]
