# Two commands do everything: `make lab` opens the course, `make test` proves it. See README.md.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
COURSE := .[experiments,deploy,photos]
COURSE_AND_TOOLS := .[experiments,deploy,photos,grading,book,dev]
# TORCH=cpu or TORCH=cu126 … chooses the build of torch (uv only): make lab TORCH=cpu
export UV_TORCH_BACKEND = $(TORCH)
ifeq ($(TORCH),)
unexport UV_TORCH_BACKEND
endif
# The versions that were tested together; PINS= takes the newest ones that pyproject.toml allows.
PINS   ?= constraints.txt
HOW    := $(if $(PINS),-c $(PINS)) $(if $(RESOLUTION),--resolution $(RESOLUTION)) $(if $(PRE),--prerelease $(PRE))

.PHONY: lab test quick test-oldest notebooks book book-serve bench weights update clean

lab: $(VENV)/.lab          ## install, copy missing chapters to work/, open JupyterLab (ARGS=--no-browser)
	$(BIN)/dl-course lab $(ARGS)

test: $(VENV)/.test        ## install, then everything that CI runs
	$(BIN)/python tests/run_all.py $(ARGS)

quick: $(VENV)/.test       ## lint, types, floors, and the tests of the rooms that learners read: between two edits
	$(BIN)/python tests/run_all.py --quick

test-oldest:               ## with the oldest versions that pyproject.toml allows: all but notebooks and browser
	$(MAKE) test VENV=.venv-oldest PINS= RESOLUTION=lowest-direct ARGS=--oldest

notebooks: $(VENV)/.test   ## build chapters/ from solutions/
	$(BIN)/dl-course build

book: $(VENV)/.test        ## the web site, into build/book/html (WHAT="html epub pdf" for all three)
	$(BIN)/python -m book $(or $(WHAT),html)

book-serve: $(VENV)/.test  ## the same, built anew and shown whenever something changes
	$(BIN)/python -m book serve

bench: $(VENV)/.test       ## every benchmark, each beside its rival
	@for file in $(filter-out %/weights.py,$(wildcard benchmarks/*.py)); do echo "== $$file"; $(BIN)/python $$file || exit 1; done

weights: $(VENV)/.test     ## train and store the networks that the package carries
	$(BIN)/python benchmarks/weights.py

# Made for the oldest Python, so that they hold on the newer ones too. Without what torch pins by itself,
# so that another build of torch (TORCH=cpu) still fits; lines without addresses, so that any index does.
update: $(VENV)/.test      ## write constraints.txt anew
	PATH="$(BIN):$$PATH" uv pip compile pyproject.toml --all-extras --upgrade --python-version 3.11 --quiet \
		--no-annotate --no-header | grep -vE '^(nvidia|cuda|triton)' > constraints.new
	mv constraints.new constraints.txt

clean:                     ## remove the environments and what tools left; work/ and datasets/ stay
	rm -rf $(VENV) .venv-oldest build dist *.egg-info .*_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# uv where it can be had, because it is ten times faster; else pip.
INSTALL = if $(BIN)/uv --version >/dev/null 2>&1; then UV="$(BIN)/uv"; \
	elif command -v uv >/dev/null 2>&1; then UV=uv; \
	else $(BIN)/python -m pip install --quiet uv && UV="$(BIN)/uv" || UV=; fi; \
	if [ -n "$$UV" ]; then VIRTUAL_ENV="$(VENV)" $$UV pip install --quiet $(HOW) -e $(1); \
	else echo "no uv to be had: pip installs, which takes longer"; \
		$(BIN)/python -m pip install --quiet $(if $(PINS),-c $(PINS)) -e $(1); fi

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name it: make lab PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.lab: pyproject.toml $(PINS) | $(BIN)/python
	@echo "installing the course into $(VENV) (once)"
	@$(call INSTALL,'$(COURSE)')
	@touch $@

$(VENV)/.test: pyproject.toml $(PINS) | $(BIN)/python
	@echo "installing the course and its tools into $(VENV) (once)"
	@$(call INSTALL,'$(COURSE_AND_TOOLS)')
	@touch $@ $(VENV)/.lab
