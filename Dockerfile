# medmirror in a container: docs/containers.md. The first stage builds the wheel, the second has what runs and nothing else.
# The Python that the test suite runs on; the embedded Postgres has wheels for it.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
# A compiler of the distribution: the one that pip would fetch tunes the library to this machine's processor.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY pyproject.toml setup.py MANIFEST.in README.md LICENSE requirements.lock ./
COPY scripts/locked.py scripts/
COPY backend backend
COPY sql sql
COPY src/medmirror src/medmirror
# Each file that is fetched has the hash of requirements.lock.
RUN python scripts/locked.py build >build.txt \
    && python scripts/locked.py embedded service matching mysql >run.txt \
    && pip install --no-cache-dir --require-hashes --requirement build.txt \
    && pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir dist . \
    && python -m venv /opt/medmirror \
    && /opt/medmirror/bin/pip install --no-cache-dir --require-hashes --requirement run.txt \
    && /opt/medmirror/bin/pip install --no-cache-dir --no-deps dist/*.whl

FROM python:${PYTHON}-slim
COPY --from=build /opt/medmirror /opt/medmirror
RUN useradd --system --uid 10001 --home-dir /var/lib/medmirror --create-home --shell /usr/sbin/nologin medmirror
ENV PATH=/opt/medmirror/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MEDMIRROR_HOME=/var/lib/medmirror
USER 10001
WORKDIR /var/lib/medmirror
EXPOSE 8080
STOPSIGNAL SIGTERM
# For `serve`; compose.yaml switches it off for workers and schedulers, which answer no HTTP.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8080, timeout=4); c.request('GET', '/health'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["medmirror"]
# Reached from inside the container alone, until compose.yaml or you say how keys are safe on their way.
CMD ["serve"]
