# The image for whoever has a container engine; `cargo xtask image` writes one of the same layout without.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --package orlop

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends btrfs-progs e2fsprogs mount util-linux xfsprogs \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/target/release/orlop /usr/local/bin/orlop
ENTRYPOINT ["/usr/local/bin/orlop"]
