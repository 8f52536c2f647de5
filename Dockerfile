# One image for each stage:
#   docker build --build-arg STAGE=detector --tag syncline-detector:0.1.0 .
# STAGE   decoder, detector, lipsync, restorer or orchestrator: only its own dependency group is installed.
# FLAVOR  cpu; or cuda, which adds the group gpu. CUDA's libraries come with the wheels, the driver from the node.
# MODELS  baked puts the default models into the image; mounted expects them at /app/models.
ARG PYTHON=3.11-slim-bookworm

FROM python:${PYTHON} AS build
ARG STAGE
ARG FLAVOR=cpu
ARG MODELS=baked
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app
RUN python -m venv /opt/syncline && /opt/syncline/bin/pip install "pip==26.3"
COPY pyproject.toml constraints.txt README.md LICENSE models.toml ./
COPY syncline syncline
RUN test -n "${STAGE}" || { echo "--build-arg STAGE=... is missing"; exit 1; } \
    && if [ "${FLAVOR}" = cuda ]; then more="--group gpu"; fi \
    && /opt/syncline/bin/pip install --constraint constraints.txt --group "${STAGE}" ${more} . \
    && rm -r syncline build
COPY services/__init__.py services/__init__.py
COPY services/runtime services/runtime
COPY services/${STAGE} services/${STAGE}
RUN if [ "${STAGE}" = detector ] && [ "${MODELS}" = baked ]; then /opt/syncline/bin/python -m services.runtime.fetching; \
    else mkdir -p models; fi

FROM python:${PYTHON}
ARG STAGE
ENV STAGE=${STAGE} PATH=/opt/syncline/bin:${PATH} PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 SYNCLINE_LOG=json \
    GRPC_VERBOSITY=ERROR
COPY --from=build /opt/syncline /opt/syncline
COPY --from=build /app /app
WORKDIR /app
USER 10001:10001
# Probes ask the stock gRPC health service. exec: SIGTERM reaches the service, which drains.
ENTRYPOINT ["/bin/sh", "-c", "exec python -m services.${STAGE}"]
