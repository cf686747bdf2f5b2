# Everything a newcomer types. Python 3.11 or newer; PYTHON=... chooses another interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check format bench install clean

install: $(VENV)/.installed

# pip and not uv: pip also looks for the CPU build of torch where the machine offers one
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[models,grammar,http,serve,track,captions,ray,dev]'
	touch $@

demo: install        ## synth, build, sft, evaluate, sweep on a made-up area; results in runs/demo
	$(BIN)/georefer demo recipes/demo runs/demo

test: install        ## the whole test suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

check: install       ## format, lint, types, and the rule of floors
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/architecture

format: install
	$(BIN)/ruff check --fix src tests benchmarks
	$(BIN)/ruff format src tests benchmarks

bench: install       ## side-by-side timings, as ratios
	for file in benchmarks/*.py; do $(BIN)/python $$file || exit 1; done

clean:
	rm -rf $(VENV) runs/demo
