# The image of a GPU node: Ray's own for LLMs, what NCCL needs of InfiniBand, RoCE and EFA beside it, and this package with the versions that
# it was tested with. Nodes that start from it install nothing. `make image` builds it; DECISIONS.md says why this base.
#
#   BASE     by a digest where builds must repeat: --build-arg BASE=rayproject/ray-llm@sha256:…
#   PARTS    gpu, or bare: the base and this package only, for a base of another kind (tests)
#   EFA      the version of AWS's installer; empty leaves it out
#   OPTIONS  further ones of `pip install`: --no-deps for a base that has them, --no-index --find-links for a folder of wheels
ARG BASE=rayproject/ray-llm:2.60.0-py312-cu130
ARG PARTS=gpu

FROM ${BASE} AS bare

FROM ${BASE} AS gpu
ARG EFA=1.48.0
USER root
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# Without kernel modules: those are the host's. It goes first, because its libfabric wants a newer rdma-core than the distribution has, which
# it brings. Without libhwloc libfabric cannot be loaded, and NCCL falls back to sockets without a word. NCCL must find Amazon's plug-in only
# where the node's start names its folder: over InfiniBand it needs none.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates curl libhwloc15 pciutils \
    && if [ -n "${EFA}" ] && [ "$(uname -m)" = x86_64 ]; then \
         curl --fail --silent --show-error --location "https://efa-installer.amazonaws.com/aws-efa-installer-${EFA}.tar.gz" | tar -xz -C /tmp \
         && (cd /tmp/aws-efa-installer && ./efa_installer.sh --yes --skip-kmod --skip-limit-conf --no-verify) \
         && rm -rf /tmp/aws-efa-installer /etc/ld.so.conf.d/*ofi*nccl*.conf && ldconfig; \
       fi \
    && apt-get install --yes --no-install-recommends ibverbs-providers ibverbs-utils libibverbs1 librdmacm1 rdma-core \
    && rm -rf /var/lib/apt/lists/*
# `herd doctor` asks dcgmi where there is one. The base has NVIDIA's packages among its sources; one that has not goes without.
# hadolint ignore=DL3008
RUN apt-get update \
    && if apt-cache show datacenter-gpu-manager-4-cuda13 > /dev/null 2>&1; then \
         apt-get install --yes --no-install-recommends datacenter-gpu-manager-4-core datacenter-gpu-manager-4-cuda13; \
       else \
         echo "dcgmi is left out: this base has no package of it" >&2; \
       fi \
    && rm -rf /var/lib/apt/lists/*

# hadolint ignore=DL3006
FROM ${PARTS}
ARG CONSTRAINTS=constraints-gpu.txt
ARG OPTIONS=""
COPY ${CONSTRAINTS} dist/llama_herd-*.whl /opt/herd/
# Ray's own user: `ray up` runs everything as the image's.
USER 1000
# hadolint ignore=SC2086
RUN pip install --no-cache-dir ${OPTIONS} --constraint "/opt/herd/${CONSTRAINTS}" /opt/herd/llama_herd-*.whl
