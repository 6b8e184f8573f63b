# The images of the operator and of the HTTP API: one file, as they differ in their packages and
# programs only. hack/images builds each with PROGRAM=operator or PROGRAM=gateway; the build context
# is the project's root (see .dockerignore). The last stage has no shell and no package manager.
ARG PROGRAM

# A base image may lack copyright files. Installing a package again brings its file back.
FROM debian:trixie-slim AS base
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 \
    && dpkg-query -W -f '${Package}\n' | while read -r package; do \
        [ -e "/usr/share/doc/$package/copyright" ] || echo "$package"; \
    done | xargs -r apt-get install -y --reinstall --no-install-recommends

FROM base AS packages
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates python3-pip
ARG PROGRAM
COPY ${PROGRAM}/requirements.lock /
# Only set if they are set for the person who builds.
ARG PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_TRUSTED_HOST HTTP_PROXY HTTPS_PROXY NO_PROXY
# The secret `ca` is the host's certificates, for networks that sign TLS with their own authority.
RUN --mount=type=secret,id=ca,required=false --mount=type=cache,target=/root/.cache/pip <<'SCRIPT'
set -eu
if [ -e /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi
pip install --root-user-action ignore --disable-pip-version-check --no-compile --no-deps \
  --only-binary :all: --require-hashes --target /packages -r /requirements.lock
find /packages -type d '(' -name tests -o -name test -o -name bin ')' -prune -exec rm -r {} +
# Python does not check these against the sources, which never change in an image. That saves one
# read per module.
python3 -m compileall -q --invalidation-mode unchecked-hash /packages
# The sources of the generated client are 60 MB, and no traceback needs them.
python3 -m compileall -q -b --invalidation-mode unchecked-hash /packages/kubernetes
find /packages/kubernetes '(' -name '*.py' -o -name '*.pyi' ')' -delete
find /packages/kubernetes -name __pycache__ -prune -exec rm -r {} +
SCRIPT

FROM base AS operator-program
COPY operator/conversion_operator /app/conversion_operator
COPY converter-module/media_converter /app/media_converter
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /app

FROM base AS gateway-program
COPY operator/conversion_operator/__init__.py /app/conversion_operator/
COPY operator/conversion_operator/api /app/conversion_operator/api
COPY operator/conversion_operator/cluster /app/conversion_operator/cluster
COPY operator/conversion_operator/core /app/conversion_operator/core
COPY gateway/converter_gateway /app/converter_gateway
COPY converter-module/media_converter /app/media_converter
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /app

FROM base AS files
COPY --from=packages /packages /packages
COPY converter-module/build/closure.py hack/python_image.py /build/
RUN python3 /build/python_image.py /image

FROM scratch AS runtime
COPY --from=files /image /
COPY --from=packages /packages /packages
ENV PATH=/usr/bin
ENV PYTHONPATH=/app:/packages PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532

FROM runtime AS operator
COPY --from=operator-program /app /app
ENTRYPOINT ["python3", "-m", "conversion_operator"]

FROM runtime AS gateway
COPY --from=gateway-program /app /app
ENTRYPOINT ["python3", "-m", "converter_gateway"]

FROM ${PROGRAM}
ARG PROGRAM
# From the Git tags, see hack/images.
ARG VERSION=0.0.0 REVISION=unknown
ENV MY_CONVERTER_VERSION=${VERSION}
LABEL org.opencontainers.image.title="my-converter-${PROGRAM}" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.licenses="Apache-2.0"
