# The image holds one static binary and the certificates that TLS needs. It is the worker, and with
# another command every other part of the service: `migrate up`, `publish`, `status`.

# The builder runs on the machine's own platform and cross-compiles, which is faster than emulation.
FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
WORKDIR /src

# Dependencies first: this layer stays until go.mod changes.
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

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/processor /processor

ARG VERSION=devel
ARG REVISION=unknown
ARG CREATED
LABEL org.opencontainers.image.title="processor" \
      org.opencontainers.image.description="Makes every GPS position on a Redis Stream exactly one row in TimescaleDB." \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED"

# A number, so that Kubernetes can see that it is not root. There is no /etc/passwd.
USER 65532:65532
EXPOSE 8080
# SIGTERM is the default, and what the worker finishes its batches on.
ENTRYPOINT ["/processor"]
CMD ["run"]
