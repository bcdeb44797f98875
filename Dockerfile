# One image for every role: web, live, worker, beat and migrate differ in their command alone (docker-compose.yml).
# Alone it is the whole platform in one process, without an agent: docker run -p 8000:8000 -v gaas:/var/lib/gaas gaas
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
RUN python3 -m venv /opt/gaas
WORKDIR /srv/gaas
# The requirements first: a change of the code alone installs nothing again.
COPY requirements.txt ./
COPY gpus/agent/requirements.txt gpus/agent/requirements.txt
RUN /opt/gaas/bin/python -m pip install --no-input --prefer-binary -r requirements.txt
COPY . .
RUN SECRET_KEY=only-for-the-build STATIC_ROOT=/srv/gaas/static LOG_LEVEL=WARNING \
        /opt/gaas/bin/python manage.py collectstatic --noinput \
    && /opt/gaas/bin/python -m compileall -q /opt/gaas/lib /srv/gaas

FROM ${BASE_IMAGE}
RUN useradd --system --create-home --home-dir /var/lib/gaas --uid 10001 gaas
COPY --from=build /opt/gaas /opt/gaas
COPY --from=build /srv/gaas /srv/gaas
ENV PATH=/opt/gaas/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    GAAS_HOME=/var/lib/gaas STATIC_ROOT=/srv/gaas/static PORT=8000
WORKDIR /srv/gaas
USER gaas
VOLUME /var/lib/gaas
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as web; web.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/livez', timeout=4)"]
CMD ["sh", "-c", "exec python manage.py up --host 0.0.0.0 --port \"$PORT\" --no-agent"]
