# `make book` and `make test` do everything from a fresh clone; each step is skipped while nothing it reads has changed.
# The python3 that is there without .venv, even where that is active.
ifndef PYTHON
PYTHON := $(or $(shell PATH="$$(echo "$$PATH" | sed 's|$(CURDIR)/.venv/bin:||g')" command -v python3),python3)
endif
PYTHONS := 3.11 3.12 3.13 3.14
EXCEPT := 3.11.0 3.11.1 3.11.2 3.11.3 3.14.1
CONSTRAINTS ?= constraints.txt
# Chapters, and files of tests, at a time: one thread each, for small networks gain little from a second one.
# Of several goals, as in `make clean book`, each waits for the one before.
JOBS ?= $(shell nproc 2> /dev/null || getconf _NPROCESSORS_ONLN)
MAKEFLAGS += $(if $(word 2,$(MAKECMDGOALS)),,--jobs=$(JOBS))
BIN := .venv/bin
BOOK := alexnet-claim-by-claim
CHAPTERS := $(wildcard book/[0-9][0-9]_*.ipynb)
NOTEBOOKS := $(CHAPTERS) $(wildcard book/text/*.md)
EXECUTED := $(CHAPTERS:%=_build/source/%)
PAGES := _config.yml _toc.yml $(wildcard book/*.md book/*.bib book/_ext/*.py book/_ext/*.js) $(shell find book/_static -type f)
TABLED := README.md $(addprefix book/,intro.md scoreboard.md studies.md full_scale.md questions.md)
CODE := pyproject.toml $(shell find alexnet_repro -name '*.py' -o -name py.typed)
TESTS := $(shell find tests -name '*.py')
SETUP := README.md CONTRIBUTING.md CITATION.cff LICENSE Makefile MANIFEST.in constraints.txt environment.yml jupytext.toml \
	.ci/run $(wildcard .github/workflows/* .binder/* benchmarks/*.py benchmarks/results/*)
TEX := latexmk texlive-xetex texlive-latex-extra texlive-fonts-recommended fonts-freefont-otf fonts-dejavu-core
EVIDENCE := $(shell find book/evidence -name '*.json') $(wildcard book/checkpoints/*)
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONWARNINGS := ignore::DeprecationWarning
export MPLBACKEND :=
# What notebooks print is compared with what is stored in them, which a CPU has computed.
_build/tested notebooks $(EXECUTED): export CUDA_VISIBLE_DEVICES :=

# $(call needs,TOOLS,PACKAGES): stops where a command, or a file of TeX, is missing, with Debian's packages that have it.
needs = @for tool in $(1); do command -v $$tool > /dev/null || kpsewhich $$tool > /dev/null 2>&1 || { echo "make $(@:-tools=) needs $$tool:" \
	"apt-get install --no-install-recommends $(2)" >&2; exit 1; }; done

.PHONY: help book pdf epub pdf-tools epub-tools test test-oldest browser notebooks house evidence bench gpu links dist
.PHONY: lint format clean
help:
	@echo "make book       environment, every chapter executed at scale smoke, the book built into _build/html"
	@echo "make pdf        the book as one file, _build/alexnet-claim-by-claim.pdf;  make epub: for readers of e-books"
	@echo "make test       the package's tests, then the book's notebooks against their stored outputs"
	@echo "make test-oldest: the package's tests with the oldest of everything that pyproject.toml allows, in _build/oldest"
	@echo "make browser    the built book's tests in a browser: needs chromium"
	@echo "make notebooks  book/*.ipynb brought up to date with book/text/*.md, and executed"
	@echo "make house      the rooms of the library in README and CONTRIBUTING.md: sizes, and a picture of their imports"
	@echo "make evidence   CLAIM=relu SCALE=paper SEEDS=1 DATA=folder: record the runs that are missing in book/evidence;"
	@echo "                where none is, run them once more in runs, and print old against new"
	@echo "make links      the book's links to other places, each tried; _build/links/_build/html/output.txt"
	@echo "make dist       source archive and wheel in _build/dist, checked"
	@echo "make bench      speed and memory on this machine, into benchmarks/results and README: under 10 minutes, alone"
	@echo "make gpu        tests and speed on a GPU, some five minutes; OUT=folder for their numbers, a file of JSON"
	@echo "make lint       the complaints of ruff, mypy and codespell;  make format: ruff's fixes"
	@echo "make clean      removes what make built, but not .venv"

# $(call usable,PYTHON,MODULE,PYTHONS): whether it runs, is one of these versions but none of EXCEPT, and has the module.
usable = $(1) -c 'import sys, $(2); v = sys.version_info; \
	sys.exit("%d.%d" % v[:2] not in "$(3)".split() or "%d.%d.%d" % v[:3] in "$(EXCEPT)".split())'
# $(call here,FOLDER): whether its commands name the Python in it. Those of a folder that was moved or copied name another.
here = grep -qF '$(CURDIR)/$(1)/bin/python' $(1)/bin/pip
# $(call environment,FOLDER,PYTHONS): makes one there, unless there is one that is usable.
environment = @echo "== installing the environment into $(1)"; { $(call usable,$(1)/bin/python,pip,$(2)) && $(call here,$(1)); } \
	2> /dev/null || { $(call usable,$(PYTHON),ensurepip,$(2)) && $(PYTHON) -m venv --clear $(1); } || { echo "$(PYTHON) has no venv," \
	"or is none of the Pythons that work here, $(2) (but not $(EXCEPT)): make PYTHON=... names another" >&2; exit 1; }

MOVED := $(if $(wildcard .venv/.installed),$(shell { $(call here,.venv) && $(BIN)/python -c 'import sys'; } 2> /dev/null || echo always))
.venv/.installed: pyproject.toml constraints.txt $(MOVED)
	$(call environment,.venv,$(PYTHONS))
	$(BIN)/python -m pip install --quiet $(CONSTRAINTS:%=-c %) -e '.[book,test,dev]'
	@touch $@

_build/oldest/.installed: pyproject.toml
	$(call environment,$(@D),$(firstword $(PYTHONS)))
	@sed -nE 's/^ *"([a-z0-9-]+)>=([0-9.]+).*/\1==\2/p' pyproject.toml > $(@D)/floors.txt
	$(@D)/bin/python -m pip install --quiet -c $(@D)/floors.txt -e '.[book,test]'
	@touch $@

# $(call listed,FILE,WORDS): writes the words into the file, one a line, unless it has them: files that are gone count.
listed = @mkdir -p $(@D); printf '%s\n' $(sort $(2)) > $(1).new; cmp -s $(1).new $(1) && rm $(1).new || mv $(1).new $(1)
_build/sources: always
	$(call listed,$@,$(CODE) $(EVIDENCE))
_build/pages: always
	$(call listed,$@,$(PAGES) $(CHAPTERS))
_build/files: always
	$(call listed,$@,$(CODE) $(EVIDENCE) $(PAGES) $(NOTEBOOKS) $(TESTS) $(SETUP))
.PHONY: always

book: _build/html/.built
	@echo "$$(find _build/html/book -name '*.html' | wc -l) pages: $(CURDIR)/_build/html/index.html"

_build/source/book/%.ipynb: book/%.ipynb $(CODE) $(EVIDENCE) _build/sources .venv/.installed
	@echo "== executing book/$*.ipynb"
	@mkdir -p $(@D)
	OMP_NUM_THREADS=1 papermill $< _build/$*.ipynb -k python3 --no-progress-bar --log-level WARNING
	@mv _build/$*.ipynb $@

_build/source/_config.yml: $(EXECUTED) $(PAGES) _build/pages
	alexnet-repro claims verify
	@rm -rf _build/source/book/_ext _build/source/book/_static _build/source/book/*.md _build/source/book/*.bib
	@for made in _build/source/book/*.ipynb; do test -e book/$${made##*/} || rm $$made; done
	@cp -r $(wildcard book/*.md book/*.bib) book/_ext book/_static _build/source/book/
	@cp _toc.yml _config.yml _build/source/

# Every page is made anew: each has the titles of all others beside it, and the warnings of one that is kept do not come
# back.
_build/html/.built: _build/source/_config.yml
	@echo "== building the book"
	@rm -rf _build/html
	jupyter-book build _build/source --path-output . --all -W --keep-going -n --quiet
	@alexnet-repro --version
	@touch $@

pdf: pdf-tools _build/$(BOOK).pdf
epub: epub-tools _build/$(BOOK).epub
pdf-tools:
	$(call needs,latexmk xelatex pzdr.tfm,$(TEX))
epub-tools:
	$(call needs,latex dvisvgm,dvisvgm texlive-latex-extra preview-latex-style)

_build/$(BOOK).pdf: _build/source/_config.yml
	@echo "== printing the book"
	@rm -rf _build/pdf
	jupyter-book build _build/source --path-output _build/pdf --builder pdflatex -W --keep-going -n --quiet > _build/pdf.log
	@cp _build/pdf/_build/latex/$(BOOK).pdf $@

_build/$(BOOK).epub: _build/source/_config.yml
	@echo "== binding the book"
	@rm -rf _build/epub
	jupyter-book build _build/source --path-output _build/epub --builder custom --custom-builder epub -W --keep-going -n --quiet
	@cp _build/epub/_build/epub/$(BOOK).epub $@

test: _build/tested
	@echo "the tests have passed; make -B test runs them again"

_build/tested: .venv/.installed _build/files $(CODE) $(EVIDENCE) $(PAGES) $(NOTEBOOKS) $(TESTS) $(SETUP)
	@echo "== testing the package"
	OMP_NUM_THREADS=1 pytest -n $(JOBS) --dist loadfile
	@echo "== testing the notebooks against their stored outputs"
	OMP_NUM_THREADS=1 pytest --nbval book/ -n $(JOBS) --dist loadfile
	@mkdir -p $(@D) && touch $@

# Old packages warn of what newer ones under them have renamed: that is no failure here.
test-oldest: _build/oldest/.installed
	OMP_NUM_THREADS=1 $(<D)/bin/python -m pytest -W default --ignore tests/book --ignore tests/browser \
	    -n $(JOBS) --dist loadfile

browser: book
	$(call needs,chromium,chromium)
	pytest -m browser -o faulthandler_timeout=120 -o faulthandler_exit_on_timeout=true

notebooks: .venv/.installed
	python book/_ext/pair.py book/text/*.md
	echo $(CHAPTERS) | OMP_NUM_THREADS=1 xargs -n 1 -P $(JOBS) python book/_ext/execute.py
	python book/_ext/page_tables.py $(TABLED)
	python book/_ext/house.py
	typer alexnet_repro.cli.main utils docs --name alexnet-repro --title "Command line" --output book/command_line.md

house: .venv/.installed
	python book/_ext/house.py

evidence: .venv/.installed
	alexnet-repro claims run $(CLAIM) --scale $(or $(SCALE),paper) $(SEEDS:%=--seeds %) $(if $(DATA),--data-root "$(DATA)") \
		--again runs/again-$$(date +%Y%m%d-%H%M%S)

bench: .venv/.installed
	python benchmarks/measure.py
	python book/_ext/page_tables.py $(TABLED)

# With the environment in .venv or, where that can't be made, with PYTHON as it is.
gpu:
	PYTHONPATH="$(CURDIR)" $(or $(wildcard $(BIN)/python),$(PYTHON)) benchmarks/gpu.py $(if $(OUT),--out "$(OUT)")

links: book
	jupyter-book build _build/source --path-output _build/links --builder linkcheck --quiet

dist:
	$(PYTHON) -m venv _build/packaging
	_build/packaging/bin/python -m pip install --quiet build twine
	_build/packaging/bin/python -m build --outdir _build/dist
	_build/packaging/bin/twine check --strict _build/dist/*

lint: .venv/.installed
	ruff check
	ruff format --check
	mypy
	codespell

format: .venv/.installed
	ruff check --fix
	ruff format

clean:
	rm -rf _build build
