# docker build -t hubreg . && docker run -p 8080:8080 -v hubreg:/data hubreg
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY hubreg hubreg
RUN python -m venv /opt/hubreg && /opt/hubreg/bin/pip install --no-cache-dir .

FROM python:3.13-slim
RUN useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin hubreg \
    && install -d -o hubreg -g hubreg -m 0700 /data
COPY --from=build /opt/hubreg /opt/hubreg
ENV PATH=/opt/hubreg/bin:$PATH HUBREG_DATA=/data HUBREG_HOST=0.0.0.0 HUBREG_PORT=8080
USER hubreg
WORKDIR /data
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/health', timeout=2)"]
ENTRYPOINT ["hubreg"]
CMD ["serve"]
