# The service alone: no torch, no compiler, no shell script. Builds in two steps so that pip's leftovers stay behind.
FROM python:3.11-slim AS build
WORKDIR /src
RUN python -m venv /venv
# Every release is pinned, that of the tool that builds this package too: newer releases of pip look for it in the second variable.
ENV PIP_CONSTRAINT=/src/constraints.txt PIP_BUILD_CONSTRAINT=/src/constraints.txt
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY model ./model
COPY service ./service
COPY training/__init__.py ./training/__init__.py
RUN /venv/bin/pip install --no-cache-dir '.[service]'

FROM python:3.11-slim
RUN useradd --system --uid 10001 --no-create-home nexttrack
COPY --from=build /venv /venv
USER nexttrack
WORKDIR /srv
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 ORT_DISABLE_TELEMETRY=1 \
    NEXTTRACK_HOST=0.0.0.0 \
    NEXTTRACK_PORT=8000 \
    NEXTTRACK_ARTIFACT=/artifacts/current \
    NEXTTRACK_STATE_DIR=/tmp/nexttrack
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 \
    CMD ["/venv/bin/python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
CMD ["/venv/bin/python", "-m", "service"]
