# The tool itself with the programs that it starts, for hosts that have neither Python nor those:
#
#   docker build -t bangerbuild .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" -v bangerbuild:/cache bangerbuild apply
#
# Nothing in it needs root, and it starts no VM by itself: the image has no VMM.

FROM debian:bookworm-slim AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/bangerbuild
WORKDIR /source
COPY . .
RUN /opt/bangerbuild/bin/pip install --no-cache-dir .

FROM debian:bookworm-slim
# Versions are those of the Debian release: pinned ones are gone from its mirrors within weeks.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        buildah \
        ca-certificates \
        e2fsprogs \
        fdisk \
        gpg \
        debian-archive-keyring \
        mmdebstrap \
        python3 \
        qemu-utils \
        skopeo \
        squashfs-tools-ng \
        zstd \
    && rm -rf /var/lib/apt/lists/* \
    && install --directory --mode=1777 /cache /work
COPY --from=build /opt/bangerbuild /opt/bangerbuild
ENV PATH=/opt/bangerbuild/bin:$PATH \
    HOME=/cache \
    XDG_CACHE_HOME=/cache
WORKDIR /work
USER 1000:1000
ENTRYPOINT ["bangerbuild"]
