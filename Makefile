# The two commands of the README are `make demo` and `make test`; both set up what is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test test-docker container-tests check install lock manifests images push clean

demo: install  ## Run the whole pipeline on the sample photos; WEIGHTS=file.h5 does it with InceptionV3
	$(BIN)/python -m samples.demo $(if $(WEIGHTS),--inception-v3-weights $(WEIGHTS))

test: install check  ## Everything CI checks
	$(BIN)/python -m pytest -n 2 --dist loadscope

# Values given on the command line win: make test-docker BASE_IMAGE=python:3.12-slim-bookworm
test-docker: BASE_IMAGE = debian-python:bookworm
test-docker: VARIANT = cpu
test-docker: WEIGHTS = samples/efficientnet_lite0/imagenet_float16.npz
test-docker: WEIGHTS_SHA256 = 04ce2cb2a30d2f438712260a5da77972f9d398d3838fe8b1adcec4684ae1394a
test-docker: install  ## Build the images and run every component in them; as root it installs docker where it is missing
	images/with_docker.sh $(BASE_IMAGE) $(MAKE) BASE_IMAGE=$(BASE_IMAGE) VARIANT=$(VARIANT) \
		WEIGHTS=$(WEIGHTS) WEIGHTS_SHA256=$(WEIGHTS_SHA256) images container-tests

container-tests: install
	CONTAINER_TESTS=required $(BIN)/python -m pytest tests/containers

check: install  ## Style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

install: $(INSTALLED)

$(INSTALLED): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else f"Python 3.11, 3.12 or 3.13 is needed, this is {sys.version.split()[0]}; try: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

COMPILE := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 \
	--generate-hashes --no-header --no-annotate --quiet

lock:  ## Resolve the dependencies again, for this machine and for each image
	$(COMPILE) --extra training --extra embedding --extra fast --extra launch --extra onnx --extra signing --group dev --output-file requirements.txt
	$(COMPILE) --extra fast --output-file images/data/requirements.txt
	$(COMPILE) --extra training --extra embedding --extra fast --output-file images/training/requirements-cpu.txt
	$(COMPILE) --extra training-gpu --extra embedding --extra fast --output-file images/training/requirements-gpu.txt
	grep -A 4 '^kfp==' requirements.txt | sed '/^kfp-/,$$d' > images/requirements-kfp.txt

manifests: install  ## Compile the published components and pipelines again
	$(BIN)/python -m pipeline --components --output manifests/components
	$(BIN)/python -m pipeline --compile --target kubeflow --output manifests/pipelines/kubeflow.yaml
	$(BIN)/python -m pipeline --compile --target kubeflow --spot --output manifests/pipelines/kubeflow-spot.yaml
	$(BIN)/python -m pipeline --compile --target kubeflow --gpu none --output manifests/pipelines/kubeflow-cpu.yaml
	$(BIN)/python -m pipeline --compile --target vertex --output manifests/pipelines/vertex.yaml

VARIANT ?= gpu
BASE_IMAGE ?= python:3.12-slim-bookworm
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' components/__init__.py)

REVISION = $(shell git describe --always --dirty --abbrev=40 --exclude='*' 2>/dev/null || echo unknown)
SOURCE ?= unknown
IMAGES := data training

# Weights to carry in the training image, and the SHA-256 they must have.
WEIGHTS_FILE = $(notdir $(WEIGHTS))
WEIGHTS_ARGUMENTS = --build-arg WEIGHTS_FILE=$(WEIGHTS_FILE) --build-arg WEIGHTS_SHA256=$(WEIGHTS_SHA256)

images: weights-in-place $(IMAGES:%=image-%)  ## Build both images; VARIANT=cpu without CUDA, WEIGHTS=FILE WEIGHTS_SHA256=... carries weights

image-training: BUILD_ARGUMENTS = --build-arg VARIANT=$(VARIANT) $(if $(WEIGHTS),$(WEIGHTS_ARGUMENTS))
image-training: weights-in-place

image-%:
	docker build --file images/$*/Dockerfile --tag image-classification-$*:$(VERSION) \
		--build-arg BASE_IMAGE=$(BASE_IMAGE) $(BUILD_ARGUMENTS) \
		--build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) --build-arg SOURCE=$(SOURCE) .

.PHONY: weights-in-place
weights-in-place:
	@test -z '$(WEIGHTS)' || test -f '$(WEIGHTS)' || { echo 'WEIGHTS=$(WEIGHTS) is not a file' >&2; exit 2; }
	@test -z '$(WEIGHTS)' || test -n '$(WEIGHTS_SHA256)' || { \
		echo "add WEIGHTS_SHA256=... to say which bytes you mean; this file has $$(sha256sum '$(WEIGHTS)' | cut -d' ' -f1)" >&2; \
		exit 2; }
	@test -z '$(WEIGHTS)' || cp '$(WEIGHTS)' images/training/weights/

push:  ## Push both images to REGISTRY=host/path and print their digests, to compile and submit with
	@test -n '$(REGISTRY)' || { echo 'give REGISTRY=..., for example europe-docker.pkg.dev/my-project/images' >&2; exit 2; }
	images/push.sh $(REGISTRY) $(VERSION) $(IMAGES)

clean:  ## Remove what the commands above made; runs of your own stay, for the models registered in them
	rm -rf $(VENV) build runs/demo-*
