# The two commands of the README are `make demo` and `make test`; both set up what is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test check install lock manifests clean

demo: install  ## Run the whole pipeline on the sample photos; WEIGHTS=file.h5 does it with InceptionV3
	$(BIN)/python -m samples.demo $(if $(WEIGHTS),--inception-v3-weights $(WEIGHTS))

test: install check  ## Everything CI checks
	$(BIN)/python -m pytest -n 2 --dist loadscope

check: install  ## Style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

install: $(INSTALLED)

$(INSTALLED): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else f"Python 3.11, 3.12 or 3.13 is needed, this is {sys.version.split()[0]}; try: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

lock:  ## Resolve the dependencies again
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet \
		--all-extras --group dev pyproject.toml --output-file requirements.txt

manifests: install  ## Compile the published pipelines again
	$(BIN)/python -m pipeline --compile --target kubeflow --output manifests/pipelines/kubeflow.yaml
	$(BIN)/python -m pipeline --compile --target kubeflow --spot --output manifests/pipelines/kubeflow-spot.yaml
	$(BIN)/python -m pipeline --compile --target kubeflow --gpu none --output manifests/pipelines/kubeflow-cpu.yaml
	$(BIN)/python -m pipeline --compile --target vertex --output manifests/pipelines/vertex.yaml

clean:  ## Remove what the commands above made
	rm -rf $(VENV) build runs
