# One image for every process of a stream; which one is the command: join, train, serve, status...
FROM python:3.11-slim

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1 \
    NUMBA_CACHE_DIR=/var/lib/clicktide/.numba

WORKDIR /opt/clicktide
COPY pyproject.toml constraints.txt README.md ./
COPY clicktide clicktide
COPY serving serving
COPY monitoring monitoring
COPY streaming streaming
COPY market market
COPY learning learning
COPY features features
COPY specs specs
RUN pip install -c constraints.txt . \
    && useradd --system --uid 10001 --home-dir /var/lib/clicktide --create-home clicktide

USER clicktide
WORKDIR /var/lib/clicktide
VOLUME /var/lib/clicktide
ENTRYPOINT ["clicktide"]
CMD ["--help"]
