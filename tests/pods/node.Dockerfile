# A node for pods where there is no cluster: podman plays the very manifests that Kubernetes gets.
FROM debian:trixie-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends podman runc catatonit netavark aardvark-dns iptables nftables \
 && rm -rf /var/lib/apt/lists/*
# runc knows the older cgroups too; limits that an engine inside an engine may set.
RUN printf '[engine]\nruntime = "runc"\n[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\n' \
      >/etc/containers/containers.conf
ENV PODMAN_IGNORE_CGROUPSV1_WARNING=1
CMD ["sleep", "infinity"]
