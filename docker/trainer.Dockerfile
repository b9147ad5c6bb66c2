# The trainer: with torch, and so large; it runs once and is gone.
FROM python:3.11-slim AS build
WORKDIR /src
RUN python -m venv /venv
# Every release is pinned, that of the tool that builds this package too: newer releases of pip look for it in the second variable.
ENV PIP_CONSTRAINT=/src/constraints.txt PIP_BUILD_CONSTRAINT=/src/constraints.txt
COPY pyproject.toml constraints.txt README.md LICENSE ./
# Dependencies first, so that a change of code does not install torch again.
RUN mkdir model service training && touch model/__init__.py service/__init__.py training/__init__.py \
    && /venv/bin/pip install --no-cache-dir '.[training]'
COPY model ./model
COPY training ./training
RUN /venv/bin/pip install --no-cache-dir --no-deps --force-reinstall .

FROM python:3.11-slim
RUN useradd --system --uid 10001 --no-create-home nexttrack \
    && install -d -o nexttrack /artifacts /work
COPY --from=build /venv /venv
COPY docker/demo.sh /usr/local/bin/nexttrack-demo
USER nexttrack
WORKDIR /work
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 ORT_DISABLE_TELEMETRY=1 TORCHINDUCTOR_CACHE_DIR=/tmp/torch
CMD ["sh", "/usr/local/bin/nexttrack-demo"]
