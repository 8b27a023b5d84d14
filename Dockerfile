# syntax=docker/dockerfile:1
# One image for every role: operator, master, worker, demo service.
FROM node:22-bookworm AS web
WORKDIR /web
COPY web .
RUN npm ci --ignore-scripts && npm run build

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
COPY --from=web /web/dist web/dist
ENV STARLING_REQUIRE_UI=1
# For the image of the end-to-end tests: test-hooks.
ARG FEATURES=
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --profile dist --locked --features "$FEATURES" && cp target/dist/starling /starling

# glibc, libgcc and CA certificates, no shell; the same files as the test image has.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /starling /starling
USER 65532:65532
ENTRYPOINT ["/starling"]
