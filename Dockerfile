# For those who have a container engine; `make image` makes the same without one.
#   docker build --build-arg COMMIT=$(git rev-parse --short=12 HEAD) -t registry.example.com/sluice:0.2.0 .
FROM rust:1.95-alpine AS build
RUN apk add --no-cache musl-dev
WORKDIR /sluice
COPY . .
ARG COMMIT=""
# Rust's target on Alpine is musl, and its programs are static.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/sluice/target \
    SLUICE_COMMIT=$COMMIT cargo build --release --locked -p sluice --bin sluice \
    && cp target/release/sluice /usr/local/bin/sluice

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /usr/local/bin/sluice /sluice
USER 65532:65532
EXPOSE 8080 8081
ENTRYPOINT ["/sluice"]
CMD ["run"]
