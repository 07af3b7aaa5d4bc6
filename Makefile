# Set-up costs once; every target can be run again and again.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed
JOBS ?= 2

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

venv: $(STAMP) ## set-up alone: .venv with the suite and its tools

train: venv ## train the image CVAE on the embedded digits, test it, draw pictures, print the results
	$(BIN)/python scripts/train_image.py fit --config configs/image/digits.yaml

# xdist would begin with the files of most tests, and end with one process waiting for the long tests of the scripts.
test: venv ## the default tests, JOBS=2 processes of one thread each
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder

coverage: venv ## the default tests, and the lines that none of them runs
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder \
		--cov=common --cov=modalities --cov=scripts --cov-report=term-missing:skip-covered

EXTRAS := .venv/extras

$(EXTRAS): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable '.[dev,demo,descriptions,export,mlflow,ray,slurm,sweeps,tables,tensorboard]'
	touch $(EXTRAS)

test-extras: $(EXTRAS) ## the tests that need an extra or a data set; installs the extras, lets nothing be skipped
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m extras --no-skips --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder

bench: venv ## speed of writing, trainings, likelihoods, whole commands and data, for docs/performance.md
	$(BIN)/python scripts/benchmark.py decoding
	$(BIN)/python scripts/benchmark.py training
	$(BIN)/python scripts/benchmark.py profile
	$(BIN)/python scripts/benchmark.py evaluation
	$(BIN)/python scripts/benchmark.py generation
	$(BIN)/python scripts/benchmark.py startup
	$(BIN)/python scripts/benchmark.py preparation

# Others' trainers, for comparison; torch and their other needs are those of .venv.
peers: venv ## .venv/peers with pythae and Pyro, for `benchmark.py training --works mlp`
	test -x .venv/peers/bin/python || $(PYTHON) -m venv .venv/peers
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> "$$(.venv/peers/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/suite.pth"
	.venv/peers/bin/python -m pip install --quiet --disable-pip-version-check --no-deps pythae==0.1.2 \
		pyro-ppl==1.9.1 pyro-api==0.1.2 opt_einsum==3.4.0

forests: ## .venv/forests with miceforest and missforest, for their rows of the tables of imputation
	test -x .venv/forests/bin/python || $(PYTHON) -m venv .venv/forests
	.venv/forests/bin/python -m pip install --quiet --disable-pip-version-check miceforest==6.0.5 MissForest==4.2.3 \
		lightgbm==4.5.0 numpy==2.4.6 pandas==3.1.1 scikit-learn==1.7.2

# The longest first; each takes one thread.
TABLES := text audio yelp sprites quadrants mnist conditioning imputation_mixed imputation
STUDIES := conditions-tunes data-tunes conditions-digits data-digits

tables: venv ## every comparison table and study at its quick budget, JOBS=2 at a time; goes on where it stopped
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[tables]'
	-OMP_NUM_THREADS=1 $(MAKE) --jobs $(JOBS) --keep-going $(TABLES:%=table-%) $(STUDIES) complexity
	$(BIN)/python scripts/compare.py check --write

table-%:
	$(BIN)/python scripts/compare.py run $*

table-conditioning: table-text table-audio  # whose runs it shares

conditions-%:
	$(BIN)/python scripts/study.py conditions $*

data-%:
	$(BIN)/python scripts/study.py data $*

complexity: table-conditioning
	$(BIN)/python scripts/study.py complexity \
		--ckpt "$$(ls -d runs/tables/image/digits-cvae-digit/*/checkpoints/best.ckpt | tail -1)"

golden: venv ## renew the golden losses: after a change that is meant to move them, and no other
	$(BIN)/python -m tests.golden.cases

soak: venv ## the slow tests
	$(BIN)/python -m pytest -m slow

soak-notebooks: venv ## the notebooks of docs/notebooks, from their first cell to the last; what they show is not kept
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable '.[notebooks]'
	$(BIN)/jupyter execute --timeout=900 docs/notebooks/*.ipynb

# Each takes at most an hour, goes on where it stopped, and writes its rows of docs/reliability.md.
SOAK := OMP_NUM_THREADS=1 $(BIN)/python -m tests.soak

soak-kills: venv ## trainings that are killed, and numbers that are not finite
	$(SOAK).kills --runs 100 --minutes 42
	$(SOAK).non_finite --runs 96 --minutes 15

soak-fuzz: venv ## damaged and mutated files for everything that reads files
	$(SOAK).fuzz --cases 10000 --minutes 58 --seed 0 --out runs/soak/fuzz; status=$$?; \
		$(BIN)/python -m tests.soak.table runs/soak/fuzz/fuzz.json; exit $$status

soak-steps: venv ## 20,000 steps, and what guards and checkpoints cost
	$(SOAK).steps --steps 20000 --minutes 45
	$(SOAK).steps --cost --minutes 13

soak-hostile: venv ## hostile checkpoints and configurations
	$(SOAK).hostile --minutes 58

audit: venv ## known weaknesses of the installed packages, from PyPI's advisories; needs a network
	test -x .venv/audit/bin/pip-audit || { $(PYTHON) -m venv .venv/audit && \
		.venv/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit; }
	$(BIN)/python -m tests.soak.audit .venv/audit/bin/pip-audit \
		"$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

lint: venv ## ruff (lint and format), mypy, the contracts of imports, the picture of the layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/architecture.py --check

architecture: venv ## draw docs/architecture.svg anew from the imports
	$(BIN)/python scripts/architecture.py

clean: ## remove .venv (runs and data stay)
	rm -rf .venv
