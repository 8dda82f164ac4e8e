# API and reconciler; no torch, no ray. Build from the repository's root:
#   docker build --file deploy/service.Dockerfile --tag dale-service:0.1.0 .
FROM python:3.11.14-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/dale
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY dale dale
COPY workers workers
COPY service service
RUN /opt/dale/bin/pip install --no-cache-dir --constraint constraints.txt '.[service,postgres,tracing]'

FROM python:3.11.14-slim-bookworm
# The number is spelt out, so that Kubernetes can see that it is not root.
RUN useradd --uid 1000 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin dale
COPY --from=build /opt/dale /opt/dale
COPY deploy/serve_api.py /opt/dale/serve_api.py
ENV PATH=/opt/dale/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /tmp
USER 1000:1000
EXPOSE 8000
CMD ["python", "/opt/dale/serve_api.py"]
