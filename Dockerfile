# The image that ships: one program and its configuration on a slim Debian. docs/container.md says
# how to run it; `make image` builds it, `make image-test` proves what that page promises.
#
# Nothing here needs BuildKit or a frontend of its own, so every builder takes the file as it is.

ARG BUILD_IMAGE=swift:6.3-bookworm
# Of the same Debian as what builds: the program is linked against that glibc.
ARG RUNTIME_IMAGE=debian:bookworm-slim

FROM ${BUILD_IMAGE} AS build
WORKDIR /src

# What changes least comes first, so that a change of the sources costs a compilation and no more.
COPY scripts/install.sh scripts/
RUN scripts/install.sh build binary
COPY Package.swift ./
RUN swift package resolve

# Tests and the like are not built, but the manifest names their folders.
COPY Sources Sources
COPY Tests Tests
COPY Examples Examples
COPY Benchmarks/Picks Benchmarks/Picks
RUN swift build --configuration release --static-swift-stdlib -Xlinker --no-export-dynamic --product sluice
COPY scripts/check-binary.sh scripts/
RUN scripts/check-binary.sh .build/release/sluice
# Modes are set here: those of a checkout depend on the umask of whoever made it.
COPY config.yaml ./
RUN install -D --strip --mode=755 .build/release/sluice /image/sluice \
 && install -D --mode=644 config.yaml /image/config.yaml

FROM ${RUNTIME_IMAGE}

# Nothing is installed: beyond glibc the program needs libstdc++6 and libgcc-s1, and this Debian has
# both, because its apt does. Were one missing, the check below would fail the build.
COPY --from=build /image/sluice /usr/local/bin/sluice
COPY --from=build /image/config.yaml /etc/sluice/config.yaml

# A number, because only of a number can an orchestrator tell that it is not root. It owns no file.
USER 65532:65532
WORKDIR /
RUN ["sluice", "check", "--config", "/etc/sluice/config.yaml"]

# Whether its control loop turns. Not whether it is ready: engines replace what is unhealthy, and a proxy
# must not lose its sessions because the servers behind it are down. A configuration without `admin`
# counts as healthy. An image in the OCI's format has no such line (podman: --format docker).
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s \
  CMD ["sluice", "probe", "--live", "--if-configured", "--config", "/etc/sluice/config.yaml"]

# Lets sessions finish (`shutdown: drain`); give `docker stop` more time than that.
STOPSIGNAL SIGTERM
ENTRYPOINT ["sluice"]
CMD ["run", "--config", "/etc/sluice/config.yaml"]

# Last, because they differ with every commit.
ARG RUNTIME_IMAGE
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="sluice" \
      org.opencontainers.image.description="A TCP proxy and load balancer" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${RUNTIME_IMAGE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
