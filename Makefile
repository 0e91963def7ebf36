# A fresh clone to a trained detector (make fit) or to green tests (make test). Needs make and Python 3.11 or newer, nothing else.

VENV ?= .venv
BIN := $(VENV)/bin
RUN ?= runs/dual_stream/make-fit
PYTEST_ARGS ?=
# two processes a core, since many tests wait for other processes; four at most, since each holds torch; a file's tests
# share what they trained
PARALLEL ?= -n $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) * 2))) --maxprocesses=4 --dist loadfile --no-loadscope-reorder
ROUNDS ?= 200
MINUTES ?= 30
# of make detector: the public data set on this disk, a file of ImageNet weights, a shorter training, where all of it goes
DATA ?=
WEIGHTS ?=
EPOCHS ?=
DETECTOR ?= runs/dual-stream-140k
# make notebooks NOTEBOOK=02_train: one of them
NOTEBOOK ?=

# python3.11 first: it is the version that small CPU builds of torch exist for everywhere
PYTHON ?= $(shell for each in python3.11 python3 python3.12 python3.13 python3.14 python; do \
	$$each -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$each && break; done)
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# the type checker; TY=true leaves it out
TY ?= $(BIN)/ty check

.PHONY: help fit detector test fast soak lint docs notebooks screenshots clean
.DELETE_ON_ERROR:

help:
	@echo "make fit    train the dual-stream detector on the toy set (about ten minutes on two cores)"
	@echo "make detector DATA=real_vs_fake"
	@echo "            the first detector of dfd models, made of 140K real and fake faces on your disk, and its figures beside the list's;"
	@echo "            EPOCHS=2 a short one, WEIGHTS=FILE without a hub, DETECTOR=FOLDER for what is made; goes on where it was stopped"
	@echo "make test   install what development needs and run the tests"
	@echo "make fast   the tests that take no seconds each, for the work in between (about four minutes on two cores)"
	@echo "make soak   runs told to go at every stage, killed, or out of disk, at random, two kinds of ROUNDS=200 or MINUTES=30 each;"
	@echo "            and 100,000 hostile pictures (HOSTILE_FILES)"
	@echo "make lint   ruff: check and format; ty: types"
	@echo "make docs   the documentation as a site, in site/; a broken link is an error"
	@echo "make notebooks  run the six notebooks on the toy set, and write their outputs (NOTEBOOK=02_train: one of them)"
	@echo "make screenshots  the screenshots of the documentation, by the detector of make fit; needs Chromium"
	@echo "make clean  remove the environment and the run of make fit"

fit: $(VENV)/.installed
	@if [ -f $(RUN)/summary.yaml ]; then \
		echo "already trained (rm -r $(RUN) to train again):"; cat $(RUN)/summary.yaml; \
	else \
		$(BIN)/dfd fit --config configs/dual_stream.yaml --run_folder $(RUN); \
	fi

# said before anything is installed
detector:
	@test -n "$(DATA)" || { echo "make detector needs the data set \"140K real and fake faces\" on your disk, as Kaggle has it, whose terms you accept there: make detector DATA=path/to/real_vs_fake" >&2; exit 1; }
	@test -d "$(DATA)" || { echo "make detector: there is no folder $(DATA). DATA is the folder of 140K real and fake faces on your disk, such as real_vs_fake" >&2; exit 1; }
	@$(MAKE) -s --no-print-directory $(VENV)/.installed
	@$(BIN)/dfd reproduce dual-stream-140k --data "$(DATA)" --out "$(DETECTOR)" $(if $(WEIGHTS),--weights "$(WEIGHTS)") $(if $(EPOCHS),--epochs $(EPOCHS))

# compiled before, since where PYTHONDONTWRITEBYTECODE is set each of some hundred processes would compile all of dfd anew
test: $(VENV)/.installed-dev
	$(BIN)/python -m compileall -q dfd
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL) -m "not openvino" $(PYTEST_ARGS)
# apart: a worker that had loaded it was once ended by a segmentation fault some tests later, of a cause not found
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m openvino tests/inference/test_exported_nets.py tests/inference/test_openvino_files.py

fast: $(VENV)/.installed-dev
	$(BIN)/python -m compileall -q dfd
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL) -m "not slow and not openvino" $(PYTEST_ARGS)

soak: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 SOAK_ROUNDS=$(ROUNDS) SOAK_MINUTES=$(MINUTES) $(BIN)/python -m pytest -m soak -o faulthandler_timeout=0 $(PYTEST_ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(TY)

docs: $(VENV)/.installed-dev
	@test -f zensical.toml || { echo "there is no zensical.toml here, which says what the documentation is made of" >&2; exit 1; }
	$(BIN)/zensical build --strict

notebooks: $(VENV)/.installed-notebooks
	$(BIN)/python notebooks/execute.py $(NOTEBOOK)

screenshots: $(VENV)/.installed-dev fit
	DFD_SCREENSHOTS=$(RUN)/checkpoints/best.ckpt $(BIN)/python -m pytest tests/serve/test_screenshots.py

clean:
	rm -rf $(VENV) $(RUN)

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "dfd needs Python 3.11 or newer with venv; none found. Name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install -e ".[train]" -c constraints.txt
	@touch $@

# --group needs pip 25.1
$(VENV)/.installed-notebooks: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install "pip>=25.1"
	$(PIP) install -e ".[train]" --group notebooks -c constraints.txt
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install "pip>=25.1"
	$(PIP) install -e ".[train,export,openvino,video,sweep,remote,attacks,c2pa,heif,serve]" --group dev -c constraints.txt
# peft lies apart, for the tests that need it: beside its transformers every start of dfd takes half a second longer
	$(PIP) install --target $(VENV)/lora --upgrade --no-deps peft accelerate transformers tokenizers regex -c constraints.txt
	@touch $@ $(VENV)/.installed $(VENV)/.installed-notebooks
