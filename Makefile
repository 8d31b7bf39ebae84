# make setup | demo | test | lint | types | format | docs | pictures; `make VENV=/elsewhere/venv …` uses another environment

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PYTEST_WORKERS ?= 2

.PHONY: setup demo test lint types format docs pictures clean

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install $(PIP_FLAGS) -c constraints.txt -e ".[dev]"
	touch $@

# four reference pictures, one picture of all four, where the references look, and a sheet of it all: under demo/
demo: $(INSTALLED)
	$(BIN)/python examples/demo.py references demo
	$(BIN)/mosaic generate "a bear, a duck, a robot and a mug on grass" \
	    --reference bear=demo/bear.png --reference duck=demo/duck.png \
	    --reference robot=demo/robot.png --reference mug=demo/mug.png \
	    --seed 4 --output demo/result.png --attention demo/attention
	$(BIN)/python examples/demo.py sheet demo

test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(PYTEST_WORKERS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# the site, under build/site: open index.html there; nothing is fetched
docs: $(INSTALLED)
	$(BIN)/python examples/recipes_page.py docs/recipes.md
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# the pictures of README and docs, made by the code they show
pictures: demo
	mkdir -p docs/pictures
	cp demo/sheet.png docs/pictures/demo-sheet.png
	cp demo/attention/looks.png docs/pictures/demo-attention.png
	$(BIN)/python examples/toybox_pictures.py docs/pictures
	$(BIN)/python examples/matching_pictures.py docs/pictures

clean:
	rm -rf demo build dist
