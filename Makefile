# Tetraview: `make help` lists what there is. Two Python environments, as separate as on an artist's machine:
#   .venv          the engine, the command line and their tests
#   .venv-blender  Blender as a Python module (pip bpy), without torch

PYTHON ?= python3
GUI_ROOT ?= build/gui-root
TEST_JOBS ?= 2

ENGINE_PYTHON := .venv/bin/python
BLENDER_PYTHON := .venv-blender/bin/python
BLENDER5_PYTHON := .venv-blender-5/bin/python

export TETRAVIEW_ENGINE_PYTHON ?= $(CURDIR)/$(ENGINE_PYTHON)
ifneq ($(wildcard ../shared/data),)
export TETRAVIEW_DATA ?= $(abspath ../shared/data)
endif

.PHONY: help setup demo test test-engine test-blender test-blender-5 check extension gui benchmark benchmark-gpu lock clean

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /|/' | awk -F'|' '{printf "  make %-16s %s\n", $$1, $$2}'

setup: .venv/.complete .venv-blender/.complete ## make .venv and .venv-blender (nothing to do when they are there)

.venv/.complete: pyproject.toml wheels/requirements-dev.txt
	@scripts/make_venv.sh "$(PYTHON)" .venv wheels/requirements-dev.txt
	@$(ENGINE_PYTHON) -m pip install -qq --no-deps -e .
	@touch $@

.venv-blender/.complete: wheels/requirements-blender.txt
	@scripts/make_venv.sh "$(PYTHON)" .venv-blender wheels/requirements-blender.txt
	@touch $@

.venv-blender-5/.complete: wheels/requirements-blender-5.txt
	@scripts/make_venv.sh "$(PYTHON)" .venv-blender-5 wheels/requirements-blender-5.txt
	@touch $@

demo: setup ## four photos, and a prompt, to meshes in out/demo/, by the operators in real Blender; PROMPT="a red armchair": that alone
	@timeout --kill-after=10 900 $(BLENDER_PYTHON) scripts/demo_blender.py --output out/demo $(if $(PROMPT),--prompt "$(PROMPT)")

test: test-engine test-blender test-blender-5 ## every test, on a machine with nothing installed too

test-engine: setup ## tests of the engine, the command line and the package (.venv); TEST_JOBS=8: so many at a time
	OMP_NUM_THREADS=1 timeout --kill-after=10 1200 $(ENGINE_PYTHON) -m pytest tests --ignore=tests/blender -n $(TEST_JOBS) --dist loadfile

test-blender: setup ## tests in real Blender 4.5 (pip bpy)
	timeout --kill-after=10 600 $(BLENDER_PYTHON) -m pytest tests/blender

test-blender-5: setup .venv-blender-5/.complete ## the same tests in Blender 5.0
	timeout --kill-after=10 600 $(BLENDER5_PYTHON) -m pytest tests/blender

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

lock: setup ## resolve the lock files in wheels/ anew (needs the package index)
	@$(ENGINE_PYTHON) scripts/lock_wheels.py

clean: ## remove everything that was made (environments too)
	rm -rf build dist out .venv .venv-blender .venv-blender-5 *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
