# Tetraview: `make help` lists what there is. Python environments, as separate as on an artist's machine:
#   .venv              the engine, the command line and their tests: Python 3.11
#   .venv-blender-4.5  Blender as a Python module (pip bpy), without torch: Python 3.11
#   .venv-blender-5.2  the same, Python 3.13
#   .venv-blender-5.3  the same, Python 3.13
# PYTHON311=... and PYTHON313=... name the Pythons; without them, scripts/make_venv.sh looks for both.

GUI_ROOT ?= build/gui-root
TEST_JOBS ?= 2

BLENDERS := 4.5 5.2 5.3
PYTHON_OF_4.5 := 3.11
PYTHON_OF_5.2 := 3.13
PYTHON_OF_5.3 := 3.13

PYTHON ?= python3
ENGINE_PYTHON := .venv/bin/python
BLENDER_PYTHON := .venv-blender-4.5/bin/python

export TETRAVIEW_ENGINE_PYTHON ?= $(CURDIR)/$(ENGINE_PYTHON)
ifneq ($(wildcard ../shared/data),)
export TETRAVIEW_DATA ?= $(abspath ../shared/data)
endif

BLENDER_TESTS := $(BLENDERS:%=test-blender-%)
.PHONY: help setup demo test test-engine test-blender $(BLENDER_TESTS) check extension gui gui-modal benchmark benchmark-gpu fuzz lock golden clean

help: ## this list
	@grep -hE '^[a-z0-9-]+:[^=]*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /|/' | awk -F'|' '{printf "  make %-16s %s\n", $$1, $$2}'

setup: .venv/.complete .venv-blender-4.5/.complete .node/.complete ## make .venv, .venv-blender-4.5 and .node, where they are missing

.venv/.complete: pyproject.toml wheels/requirements-dev.txt
	@scripts/make_venv.sh 3.11 .venv wheels/requirements-dev.txt "$(PYTHON311)"
	@$(ENGINE_PYTHON) -m pip install -qq --no-deps -e .
	@touch $@

.venv-blender-%/.complete: wheels/requirements-blender-%.txt
	@scripts/make_venv.sh $(PYTHON_OF_$*) .venv-blender-$* $< "$(PYTHON$(subst .,,$(PYTHON_OF_$*)))"
	@touch $@

.node/.complete: tests/node/package.json tests/node/package-lock.json
	@command -v npm >/dev/null || { echo "node and npm are needed for the Khronos glTF validator: install Node.js." >&2; exit 1; }
	@mkdir -p .node && cp tests/node/package.json tests/node/package-lock.json .node/
	@npm ci --prefix .node --silent --no-audit --no-fund
	@touch $@

demo: .venv/.complete .venv-blender-4.5/.complete ## four photos, and a prompt, to meshes in out/demo/, by the operators in real Blender; PROMPT="a red armchair": that alone
	@timeout --kill-after=10 900 $(BLENDER_PYTHON) scripts/demo_blender.py --output out/demo $(if $(PROMPT),--prompt "$(PROMPT)")

test: test-engine test-blender ## every test, on a machine with nothing installed too

test-engine: setup ## tests of the engine, the command line and the package (.venv); TEST_JOBS=8: so many at a time
	OMP_NUM_THREADS=1 timeout --kill-after=10 1200 $(ENGINE_PYTHON) -m pytest tests --ignore=tests/blender -n $(TEST_JOBS) --dist loadfile

test-blender: setup ## tests in real Blender 4.5 LTS, 5.2 LTS and 5.3 (pip bpy), TEST_JOBS at a time; make test-blender-5.3: that one alone
	@$(MAKE) --no-print-directory --keep-going --jobs $(TEST_JOBS) --output-sync=target $(BLENDER_TESTS)

$(BLENDER_TESTS): test-blender-%: .venv/.complete .venv-blender-%/.complete
	OMP_NUM_THREADS=1 timeout --kill-after=10 900 .venv-blender-$*/bin/python -m pytest tests/blender

check: setup ## ruff, mypy and the import rules
	$(ENGINE_PYTHON) -m ruff check .
	$(ENGINE_PYTHON) -m mypy
	$(ENGINE_PYTHON) -m pytest -q tests/unit/test_import_rules.py

extension: setup ## dist/tetraview-<version>.zip by Blender's own builder, validated before and after
	@$(ENGINE_PYTHON) scripts/build_extension.py --output dist

gui: extension ## screenshots of the panel in a real Blender 5 window -> docs/images/ (root on Debian; first time about 3 minutes)
	@scripts/gui/make_root.sh "$(GUI_ROOT)"
	@scripts/gui/take_shot.sh "$(GUI_ROOT)" docs/images/panel.png
	@scripts/gui/take_shot.sh "$(GUI_ROOT)" docs/images/strip.png "a red mushroom"

gui-modal: extension ## ten passes: a mesh arrives in a real Blender window while 26 tools are held (root on Debian, 20 minutes)
	@scripts/gui/make_root.sh "$(GUI_ROOT)"
	@WINDOW=900x700 LIMIT_S=3000 scripts/gui/in_window.sh "$(GUI_ROOT)" scripts/gui/modal_tools.py /probe/tetraview.zip /probe/photos /probe/report.txt $(or $(PASSES),10)
	@tail -1 "$(GUI_ROOT)/probe/report.txt" | grep '^passed'

benchmark: setup ## time and memory of the main job, and of its parts
	$(ENGINE_PYTHON) benchmarks/photo_to_mesh.py --blender $(BLENDER_PYTHON)
	$(ENGINE_PYTHON) benchmarks/prompt_to_mesh.py --blender $(BLENDER_PYTHON)
	$(ENGINE_PYTHON) benchmarks/photo_intake.py
	$(ENGINE_PYTHON) benchmarks/texture.py
	$(ENGINE_PYTHON) benchmarks/lattice_sdf.py $(if $(TETRAVIEW_DATA),--model engine/weights/starter/reconstructor,--shape torus)
	$(BLENDER_PYTHON) benchmarks/blender_import.py
	$(ENGINE_PYTHON) benchmarks/cpu.py --output benchmarks/RESULTS.md

benchmark-gpu: ## on a machine with an NVIDIA GPU, under 8 minutes: kernel tests, compute-sanitizer, speed; PYTHON=one with CUDA's torch
	$(PYTHON) benchmarks/gpu.py out/gpu

FUZZ_SECONDS ?= 300
FUZZ_PYTHON ?= $(ENGINE_PYTHON)

fuzz: ## four fuzz targets, FUZZ_SECONDS=300 each; needs atheris (pip install -e .[fuzz]) in FUZZ_PYTHON
	@for target in protocol_lines requests views_folders photos; do \
	  $(FUZZ_PYTHON) -m fuzz $$target --seconds $(FUZZ_SECONDS) || exit 1; done

lock: setup ## resolve the lock files in wheels/ anew (needs the package index)
	@$(ENGINE_PYTHON) scripts/lock_wheels.py

golden: setup ## measure the golden figures (tests/golden/figures.json) anew, after a change of the product that is meant
	@$(ENGINE_PYTHON) -m tests.golden.renew

clean: ## remove everything that was made (environments too)
	rm -rf build dist out .venv .venv-blender-* .node *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
