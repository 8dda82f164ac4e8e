# Ray head and Ray workers, with the training code. Build from the repository's root:
#   docker build --file deploy/worker.Dockerfile --tag dale-worker:0.1.0-cuda .
#   docker build --file deploy/worker.Dockerfile --tag dale-worker:0.1.0 --build-arg PIP_EXTRA_INDEX_URL=… .
# On Linux the usual torch is the CUDA build with its several gigabytes of libraries. The CPU build has an index of its
# own; PyTorch's installation page names its address.
FROM python:3.11.14-slim-bookworm AS build
ARG PIP_EXTRA_INDEX_URL=""
WORKDIR /src
RUN python -m venv /opt/dale
COPY constraints.txt ./
COPY pyproject.toml README.md LICENSE ./
COPY dale dale
COPY workers workers
COPY service service
RUN /opt/dale/bin/pip install --no-cache-dir --constraint constraints.txt '.[train]'

FROM python:3.11.14-slim-bookworm
# Long runs are compiled on CPUs (workers/compilation.py): that takes a C++ compiler.
RUN apt-get update && apt-get install --yes --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 1000 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin dale
COPY --from=build /opt/dale /opt/dale
# A token is asked for unless somebody turns that off on purpose.
ENV PATH=/opt/dale/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    RAY_AUTH_MODE=token \
    RAY_USAGE_STATS_ENABLED=0
WORKDIR /tmp
USER 1000:1000
EXPOSE 6379 8265
CMD ["ray", "start", "--head", "--block", "--port=6379", "--dashboard-host=0.0.0.0", "--num-cpus=0"]
