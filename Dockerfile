# All images of the project: docker build --target broker|detector|logger|processor|store|sample .
# One base for every architecture. Nothing runs as root, nothing needs a writable root file system or a shell.

FROM debian:trixie-slim AS base
LABEL org.opencontainers.image.title="Facebridge" \
      org.opencontainers.image.description="Faces seen by a camera on an edge device land in an S3 bucket, each exactly once" \
      org.opencontainers.image.licenses="MIT"

FROM base AS broker
RUN apt-get update \
 && apt-get install -y --no-install-recommends mosquitto mosquitto-clients \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/* /var/log/* /etc/mosquitto
# Its group may read them too, so that a broker can run as whoever owns the keys.
COPY --chown=10001:10001 --chmod=0440 mosquitto/*.conf mosquitto/edge.acl /mosquitto/
WORKDIR /
USER 10001:10001
ENTRYPOINT ["mosquitto", "-c"]
CMD ["mosquitto/edge.conf"]

FROM base AS python
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/* /var/log/*
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 METRICS_PORT=9090
WORKDIR /app

FROM python AS build
# uv would otherwise trust only the authorities that it brings along.
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_PYTHON_DOWNLOADS=never
RUN apt-get update && apt-get install -y --no-install-recommends python3-pip && rm -rf /var/lib/apt/lists/*
COPY requirements/tools.txt ./
RUN pip install --quiet --no-cache-dir --target /uv --require-hashes -r tools.txt && /uv/bin/uv venv --quiet /opt/venv

# An environment per client, from its own lock.
FROM build AS detector-env
COPY requirements/detector.txt ./
RUN --mount=type=cache,target=/root/.cache/uv /uv/bin/uv pip sync --quiet --python /opt/venv --require-hashes detector.txt
FROM build AS logger-env
COPY requirements/logger.txt ./
RUN --mount=type=cache,target=/root/.cache/uv /uv/bin/uv pip sync --quiet --python /opt/venv --require-hashes logger.txt
FROM build AS processor-env
COPY requirements/processor.txt ./
RUN --mount=type=cache,target=/root/.cache/uv /uv/bin/uv pip sync --quiet --python /opt/venv --require-hashes processor.txt
FROM build AS demo-env
COPY requirements/demo.txt ./
RUN --mount=type=cache,target=/root/.cache/uv /uv/bin/uv pip sync --quiet --python /opt/venv --require-hashes demo.txt

FROM python AS client
USER 10001:10001
# Ready means: connected, and able to do its work.
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=3 CMD ["python3", "-c", \
  "from urllib.request import urlopen; urlopen('http://127.0.0.1:9090/readyz', timeout=4)"]

FROM client AS logger
COPY --from=logger-env /opt/venv /opt/venv
COPY bus bus
COPY logger logger
ENTRYPOINT ["python3", "-m", "logger"]

FROM client AS processor
COPY --from=processor-env /opt/venv /opt/venv
COPY bus bus
COPY processor processor
ENTRYPOINT ["python3", "-m", "processor"]

FROM client AS detector
USER root
# A volume that is mounted here for the first time takes over this owner.
RUN install -d -o 10001 -g 10001 /outbox
USER 10001:10001
ENV OUTBOX=/outbox/outbox.db
COPY --from=detector-env /opt/venv /opt/venv
COPY bus bus
COPY detector detector
# The model is in the image and is the right one, or there is no image.
RUN ["python3", "-c", "from detector.eye.faces import model_path; model_path(None)"]
ENTRYPOINT ["python3", "-m", "detector"]

# What stands in for the camera on a machine without one; also enrols and audits there.
FROM python AS sample
RUN install -d -o 10001 -g 10001 /clip /pki /pki/access_rules /pki/cloud-broker /pki/processor /pki/edge-1
USER 10001:10001
COPY --from=demo-env /opt/venv /opt/venv
COPY bus bus
COPY detector detector
COPY identity identity
COPY mosquitto/cloud.acl mosquitto/cloud.acl
COPY audit audit
COPY demo demo
COPY deploy deploy
ENTRYPOINT ["python3", "-m"]
CMD ["demo.sample_camera"]

# What stands in for AWS S3.
FROM python AS store
RUN install -d -o 10001 -g 10001 /data
COPY --from=demo-env /opt/venv/bin/weed /usr/local/bin/weed
USER 10001:10001
WORKDIR /data
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s CMD ["python3", "-c", \
  "import socket; socket.create_connection(('127.0.0.1', 8333), 4)"]
ENTRYPOINT ["weed", "-logdir=/tmp", "mini", "-dir=/data", "-s3.autoCreateBucket=false", "-s3.port=8333", \
  "-s3.port.iceberg=0", "-s3.port.lance=0", "-admin.ui=false", "-master.telemetry=false"]
