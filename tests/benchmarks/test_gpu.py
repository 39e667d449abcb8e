"""The script for a machine with an NVIDIA GPU, as far as a machine without one can tell."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import every_kernel
import gpu
import pytest
import results
import torch

from .conftest import BENCHMARKS


def python(*code: str, **fields: object) -> gpu.Step:
    return gpu.Step("try", "title", [sys.executable, "-c", *code], **{"limit_s": 30.0, **fields})


def outcome(step: gpu.Step, folder: Path, left_s: float = 100.0) -> str:
    return gpu.run(step, folder, dict(os.environ), left_s)


def test_a_step_leaves_a_log_and_its_last_line(tmp_path: Path) -> None:
    said = outcome(
        python("import os; print('first'); print('== 3 passed, ' + os.environ['EXTRA'] + ' ==')", environment={"EXTRA": "a|b"}),
        tmp_path,
    )
    assert said.startswith("passed in ") and said.endswith("s: 3 passed, a/b")  # a bar would break the table
    assert (tmp_path / "try.log").read_text().splitlines()[0] == "first"


def test_a_failure_is_told_with_its_status(tmp_path: Path) -> None:
    assert (
        outcome(python("import sys; print('no memory', file=sys.stderr); sys.exit(9)"), tmp_path)
        == "FAILED with status 9: no memory"
    )


def test_a_step_is_stopped_with_its_children_when_its_time_is_over(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "alive")
    reader = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)  # at its end when no child holds the other side
    code = (
        "import signal, subprocess, sys\n"
        f"alive = open({str(tmp_path / 'alive')!r}, 'wb', buffering=0); alive.write(b'1')\n"
        "subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'], pass_fds=[alive.fileno()])\n"
        "signal.pause()"
    )
    assert outcome(python(code, limit_s=5.0), tmp_path) == "FAILED: stopped after 5 s"
    os.set_blocking(reader, True)
    assert os.read(reader, 1) == b"1"
    assert select.select([reader], [], [], 60)[0] and os.read(reader, 1) == b"", "a child is still alive"
    os.close(reader)


def test_what_cannot_be_run_is_not(tmp_path: Path) -> None:
    step = python("raise SystemExit(1)", missing="compute-sanitizer is not on the PATH")
    assert outcome(step, tmp_path) == "not run: compute-sanitizer is not on the PATH"
    assert outcome(python("raise SystemExit(1)"), tmp_path, left_s=3.0) == "not run: no time left"
    assert not list(tmp_path.iterdir())


def test_all_steps_fit_into_eight_minutes_and_name_what_is_there() -> None:
    steps = gpu.steps(Path("out.md"), rehearse=False)
    assert sum(step.limit_s for step in steps) <= 9 * 60  # were each to be stopped; the whole has a limit of its own
    assert gpu.MINUTES < 8
    document = results.RESULTS.read_text(encoding="utf-8")
    for step in steps:
        scripts = [part for part in step.command if part.endswith(".py")]
        assert all(Path(script).is_file() for script in scripts), scripts
        if step.section:
            assert step.section in gpu.SECTIONS
    for name in gpu.SECTIONS:
        assert results.read_section(document, name)


def test_what_a_stopped_step_had_written_is_kept() -> None:
    assert gpu.told_why("not measured", "FAILED: stopped after 5 s") == "not measured: FAILED: stopped after 5 s"
    assert gpu.told_why("| a |", "FAILED: stopped after 5 s") == "**Not complete: FAILED: stopped after 5 s.**\n\n| a |"


def test_the_package_is_found_without_being_installed(tmp_path: Path) -> None:
    environment = gpu.environment_with_package(tmp_path)
    code = "import tetraview.kernels.sources as p; print(p.FOLDER)"
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True, timeout=60, check=True, cwd=tmp_path
    )
    assert Path(found.stdout.strip()) == BENCHMARKS.parent / "kernels"
    assert environment["PYTHONPATH"].split(os.pathsep)[0] == str(tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("script", ["gpu.py", "full_size.py", "every_kernel.py"])
def test_without_a_gpu_nothing_is_measured(script: str, tmp_path: Path) -> None:
    before = results.RESULTS.read_bytes()
    arguments = [str(tmp_path)] if script == "gpu.py" else []
    environment = gpu.environment_with_package(tmp_path)
    command = [sys.executable, str(BENCHMARKS / script), *arguments]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert ended.returncode == 1
    assert "GPU: not " in ended.stderr
    assert results.RESULTS.read_bytes() == before


def test_every_kernel_of_the_sources_is_known() -> None:
    names = every_kernel.kernels_of_sources()
    assert {"triplane_forward", "cover_tiles", "emit_faces"} <= names
    written = sum(path.read_text().count("__global__ void") for path in (BENCHMARKS.parent / "kernels").glob("*.cu"))
    assert len(names) == written


def test_a_kernel_that_cannot_run_is_never_left_to_its_twin() -> None:
    backend = every_kernel.watch(lambda source, definitions, device: None, set())
    with pytest.raises(SystemExit, match=r"tets\.cu cannot run on cpu"):
        backend("tets", {}, torch.device("cpu"))


def test_launches_are_noted_but_for_empty_ones() -> None:
    class Silent:
        def launch(self, kernel: str, grid: int, block: int, args: object) -> None:
            assert block == 32

    launched: set[str] = set()
    program = every_kernel.watch(lambda source, definitions, device: Silent(), launched)("x", {}, torch.device("cpu"))
    program.launch("empty", 0, 32, [])
    program.launch("full", 1, 32, [])
    assert launched == {"full"}


def test_a_different_result_ends_the_check() -> None:
    every_kernel._same("x", torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0]), 1e-6)
    with pytest.raises(SystemExit, match="x: differs by"):
        every_kernel._same("x", torch.tensor([1.0, 2.1]), torch.tensor([1.0, 2.0]), 1e-6)
    with pytest.raises(SystemExit, match="x: differs by nan"):
        every_kernel._same("x", torch.tensor([float("nan")]), torch.tensor([1.0]), 1e-6)
