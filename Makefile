# Everything runs in .venv, which the targets make when it is missing or pyproject.toml has changed.

VENV    := .venv
PYTHON  := $(VENV)/bin/python
OUT     ?= out/result.mp4
MINUTES ?= 60
CLIPS   ?= ../shared/clips
STAGES  := decoder detector lipsync restorer orchestrator
OVERLAYS := local gpu-split production
FLAVOR  ?= cpu
MODELS  ?= baked
VERSION  = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' syncline/_version.py)
SUFFIX   = $(if $(filter cuda,$(FLAVOR)),-cuda)
INCLUDE  = $(shell $(PYTHON) -c "import google.rpc; print(google.rpc.__path__[0])")/../..

.PHONY: help install neural models demo run up protos test groups manifests images reference chaos soak lint lock bench load quality

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 10

install: $(VENV)/installed ## the environment with all services and tools, pinned by constraints.txt

$(VENV)/installed: pyproject.toml constraints.txt
	python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --upgrade "pip==26.3"
	$(PYTHON) -m pip install --quiet --constraint constraints.txt --group dev --editable .
	touch $@

neural: $(VENV)/neural ## what the neural engines and their tests need besides: PyTorch and ONNX

$(VENV)/neural $(VENV)/quality: $(VENV)/installed
	$(PYTHON) -m pip install --quiet --constraint constraints.txt --group $(@F)
	touch $@

models: install ## the default models, checked by SHA-256
	$(PYTHON) -m services.runtime.fetching

demo: models ## a lip-synced video from a free photo and a synthetic voice: out/demo.mp4, .report.json, .png
	$(PYTHON) examples/demo.py

run: models ## a lip-synced video from your files: make run VIDEO=face.mp4 AUDIO=speech.wav OUT=out/result.mp4
	@test -n "$(VIDEO)" -a -n "$(AUDIO)" || { echo "usage: make run VIDEO=face.mp4 AUDIO=speech.wav OUT=out/result.mp4"; exit 2; }
	@mkdir -p $(dir $(OUT))
	$(VENV)/bin/syncline run "$(VIDEO)" "$(AUDIO)" -o "$(OUT)"

up: models ## all five services on localhost:50050, until Ctrl-C
	$(VENV)/bin/syncline up

protos: install ## the Python stubs, from protos/
	$(PYTHON) -m grpc_tools.protoc -I protos -I $(INCLUDE) \
		--python_out=. --pyi_out=. --grpc_python_out=. \
		protos/syncline/v1/*.proto protos/services/orchestrator/keda/*.proto

test: models neural ## the whole test-suite; what needs PostgreSQL's server is skipped, and says so, where it is not installed
	$(PYTHON) -m pytest -n 2 --dist worksteal

groups: models ## each stage with nothing but its own dependency group: it starts and answers
	$(PYTHON) -m pytest -m install tests/images

manifests: install ## the overlays of k8s/, rendered, against schemas, our policies and checkov's
	$(PYTHON) -m tools.crds
	$(PYTHON) -m pytest tests/kubernetes
	test -x build/checkov/bin/checkov || { python3 -m venv build/checkov && build/checkov/bin/pip install --quiet checkov==3.3.30; }
	@mkdir -p build/k8s
	for overlay in $(OVERLAYS); do kubectl kustomize k8s/overlays/$$overlay > build/k8s/$$overlay.yaml || exit 1; done
	build/checkov/bin/checkov --config-file k8s/checkov.yaml --skip-download --quiet --compact --directory build/k8s

images: ## one container image for each stage: make images FLAVOR=cuda MODELS=mounted
	for stage in $(STAGES); do docker build --build-arg STAGE=$$stage --build-arg FLAVOR=$(FLAVOR) \
		--build-arg MODELS=$(MODELS) --tag syncline-$$stage:$(VERSION)$(SUFFIX) . || exit 1; done

reference: install ## docs/reference.md: variables, metrics and error reasons, from the code
	$(PYTHON) -m tools.reference

chaos: models ## every fault on every service in mid-job: some ten minutes
	$(PYTHON) -m pytest --chaos tests/end_to_end/test_kills.py tests/end_to_end/test_uploads.py --timeout 300

soak: models ## an hour of jobs with faults; memory, descriptors and threads of every process: make soak MINUTES=60
	$(PYTHON) -m benchmarks.soak $(MINUTES)

lint: install ## style, types, protos, stubs in step with the protos
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/protolint lint protos/syncline
	$(MAKE) --no-print-directory protos
	git diff --exit-code --stat syncline/v1 services/orchestrator/keda

lock: install ## constraints.txt anew, from pyproject.toml and the newest releases
	$(PYTHON) -m pip install --quiet "uv==0.13.8"
	$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --group dev --group neural --group quality --upgrade \
		--no-emit-index-url --no-annotate --no-header pyproject.toml --output-file constraints.txt

bench: models neural ## the job store; a job beside FFmpeg and one process (VIDEO=clip.mp4 AUDIO=speech.wav); networks beside eager PyTorch
	$(PYTHON) -m benchmarks.store
	$(PYTHON) -m benchmarks.render $(VIDEO) $(if $(AUDIO),--audio $(AUDIO))
	$(PYTHON) -m benchmarks.networks

load: models ## 200 short jobs from 20 clients with 2 workers: order, latency of calls, memory
	$(PYTHON) -m benchmarks.load

quality: models $(VENV)/quality ## the lips on real clips beside the truth: make quality CLIPS=folder, NAMES="clip ..." for some
	$(PYTHON) -m benchmarks.quality $(CLIPS) $(NAMES)
