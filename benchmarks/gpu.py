"""Everything that only an NVIDIA GPU can tell, in one run of under 8 minutes: tests, compute-sanitizer, speed.

    python benchmarks/gpu.py OUTPUT_FOLDER                 on a machine with an NVIDIA GPU
    python benchmarks/gpu.py OUTPUT_FOLDER --rehearse      all steps, tiny, on any machine; measures nothing

The Python that runs it needs torch with CUDA, CuPy, Triton, diffusers, NumPy, SciPy, OpenCV, pytest and hypothesis; what it lacks
may lie in a folder on PYTHONPATH. This package need not be installed. Each step has a time limit and a log in OUTPUT_FOLDER; a
step that fails stops none of the others. The GPU sections of `benchmarks/RESULTS.md` are filled in (not by a rehearsal), and both
that file and `gpu.md`, those sections alone, are put into OUTPUT_FOLDER.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from results import RESULTS, machine, read_section, replace_section, table, write_section

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
MINUTES = 7.8
PATIENCE = 3  # of a rehearsal
SECTIONS = ("gpu-machine", "gpu-tests", "gpu-triplane", "gpu-full-size", "gpu-full-size-compiled")
NEEDED = ("torch", "cupy", "triton", "diffusers", "scipy", "cv2", "pytest", "hypothesis")
WANTED = ("embreex", "fast_simplification")
NOT_MEASURED = "not measured"
NO_CACHING = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}  # else a read beyond a tensor's end falls into the same block, unseen
SANITIZER_PLACES = ("/usr/local/cuda/bin", "/opt/cuda/bin")


@dataclass(frozen=True)
class Step:
    """One program.

    Attributes:
        name: Also of its log.
        title: For the table.
        command: Program and arguments.
        limit_s: It is stopped after that.
        section: Section of the results that it writes itself; empty if it writes none.
        environment: Variables for it alone.
        missing: Why it cannot be run; empty if it can.
    """

    name: str
    title: str
    command: Sequence[str]
    limit_s: float
    section: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    missing: str = ""


def steps(results: Path, rehearse: bool) -> list[Step]:
    """The programs to run, in this order: the tests also fill the cache of compiled kernels.

    Args:
        results: File with the sections that steps write.
        rehearse: Tiny, without a GPU.
    """
    tiny = ["--rehearse"] if rehearse else []
    every = [sys.executable, str(HERE / "every_kernel.py"), *tiny]
    sanitizer = shutil.which("compute-sanitizer", path=os.pathsep.join([os.environ.get("PATH", ""), *SANITIZER_PLACES]))
    missing = "" if sanitizer or rehearse else "compute-sanitizer is not on the PATH"
    without = " (a rehearsal, without compute-sanitizer)" if rehearse else ""
    watched = [] if rehearse else [sanitizer or "compute-sanitizer", "--error-exitcode", "9"]
    output = ["--output", str(results)]
    full_size = [sys.executable, str(HERE / "full_size.py"), *tiny, *output]
    # fmt: off
    return [
        Step("tests", "tests marked `gpu`",
             [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "gpu", str(ROOT / "tests" / "kernels")], 100),
        Step("every_kernel", "every kernel against its twin", every, 60),
        Step("triplane", "`triplane.py`", [sys.executable, str(HERE / "triplane.py"), *tiny, *output], 110, "gpu-triplane"),
        Step("full_size", "`full_size.py`", full_size, 70, "gpu-full-size"),
        Step("memcheck", "compute-sanitizer memcheck, every kernel" + without,
             [*watched, *(["--tool", "memcheck"] if watched else []), *every], 45, "", NO_CACHING, missing),
        Step("racecheck", "compute-sanitizer racecheck, every kernel" + without,
             [*watched, *(["--tool", "racecheck"] if watched else []), *every], 45, "", NO_CACHING, missing),
        Step("full_size_compiled", "`full_size.py --compile`", [*full_size, "--compile"], 110, "gpu-full-size-compiled"),
    ]
    # fmt: on


def run(step: Step, folder: Path, environment: Mapping[str, str], left_s: float) -> str:
    """Run a step with its output in a log; returns what came of it: "passed ...", "FAILED ..." or "not run ..."."""
    if step.missing:
        return f"not run: {step.missing}"
    limit_s = min(step.limit_s, left_s)
    if limit_s < 5:
        return "not run: no time left"
    start = time.monotonic()
    log = folder / f"{step.name}.log"
    with log.open("wb") as file:
        program = subprocess.Popen(
            step.command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT,
            env={**environment, **step.environment}, start_new_session=True,
        )  # fmt: skip
        try:
            status = program.wait(timeout=limit_s)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)  # its children too
            program.wait()
            return f"FAILED: stopped after {limit_s:.0f} s"
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [""]
    last = lines[-1].strip("= ")[:160].replace("|", "/")
    if status:
        return f"FAILED with status {status}: {last}"
    return f"passed in {time.monotonic() - start:.0f} s: {last}" if not step.section else "passed"


def told_why(section: str, outcome: str) -> str:
    """The section of a step that did not pass: what it had written by then is kept."""
    return f"{NOT_MEASURED}: {outcome}" if section == NOT_MEASURED else f"**Not complete: {outcome}.**\n\n{section}"


def about() -> str:
    """The GPU, its driver and the versions, for the section of the machine; runs in a process of its own."""
    import torch

    versions = [f"torch {torch.__version__} (CUDA {torch.version.cuda})"]
    for name in ("cupy", "triton", "diffusers"):
        if importlib.util.find_spec(name) is not None:
            versions.append(f"{name} {importlib.import_module(name).__version__}")
    gpu = "no GPU"
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        gpu = (
            f"{properties.name}, compute capability {properties.major}.{properties.minor}, {properties.multi_processor_count} "
            f"multiprocessors, {properties.total_memory / 2**30:.0f} GiB, L2 cache {properties.L2_cache_size / 2**20:.0f} MiB"
        )
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    with contextlib.suppress(OSError, subprocess.SubprocessError, IndexError):
        driver = subprocess.run(query, stdout=subprocess.PIPE, text=True, timeout=20, check=True).stdout.split()[0]
        versions.append(f"driver {driver}")
    return f"{gpu}. {', '.join(versions)}. {machine()}."


def environment_with_package(folder: Path) -> dict[str, str]:
    """The environment in which `import tetraview` finds this repository, installed or not: by a link in `folder`."""
    (folder / "tetraview").symlink_to(ROOT, target_is_directory=True)
    path = [str(folder), *filter(None, [os.environ.get("PYTHONPATH", "")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", metavar="OUTPUT_FOLDER", help="receives logs and results")
    parser.add_argument("--rehearse", action="store_true", help="everything tiny, without a GPU; RESULTS.md stays as it is")
    parser.add_argument("--only", nargs="+", metavar="STEP", help="some steps alone, by the names of their logs")
    parser.add_argument("--minutes", type=float, default=MINUTES, help=f"for all of it (default {MINUTES:g})")
    parser.add_argument("--about", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.about:
        print(about())
        return 0
    if options.folder is None:
        parser.error("give a folder for logs and results")
    start = time.monotonic()
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    results = folder / RESULTS.name
    shutil.copyfile(RESULTS, results)
    for name in (*NEEDED, *WANTED):
        if importlib.util.find_spec(name) is None:
            print(f"no module {name}: what needs it {'fails' if name in NEEDED else 'is left out'}")
    with tempfile.TemporaryDirectory(prefix="tetraview-gpu-") as link:
        environment = environment_with_package(Path(link))
        command = [sys.executable, str(Path(__file__).resolve()), "--about"]
        told = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, timeout=120)
        device = told.stdout.strip().splitlines()[-1] if told.stdout.strip() else "torch cannot be imported."
        print(device, flush=True)
        if device.startswith(("no GPU", "torch")) and not options.rehearse:
            print("no NVIDIA GPU: not measured", file=sys.stderr)
            return 1
        write_section(results, "gpu-machine", f"Measured on: {device}")
        outcomes: dict[str, str] = {}
        plan = [step for step in steps(results, options.rehearse) if not options.only or step.name in options.only]
        if options.rehearse:  # the kernels' sources take longer as C++
            plan = [replace(step, limit_s=PATIENCE * step.limit_s) for step in plan]
        left_s = 60 * options.minutes * (PATIENCE if options.rehearse else 1)
        for step in plan:
            if step.section:
                write_section(results, step.section, NOT_MEASURED)
            outcomes[step.name] = run(step, folder, environment, left_s - (time.monotonic() - start))
            print(f"{step.name}: {outcomes[step.name]}", flush=True)
            if step.section and not outcomes[step.name].startswith("passed"):
                so_far = read_section(results.read_text(encoding="utf-8"), step.section)
                write_section(results, step.section, told_why(so_far, outcomes[step.name]))
    rows = [[step.title, outcomes[step.name]] for step in plan if not step.section]
    if rows:
        write_section(results, "gpu-tests", table(["step", "result"], rows))
    text = results.read_text(encoding="utf-8")
    (folder / "gpu.md").write_text(
        "\n\n".join(f"## {name}\n\n{read_section(text, name)}" for name in SECTIONS) + "\n", encoding="utf-8"
    )
    if not options.rehearse:
        document = RESULTS.read_text(encoding="utf-8")
        for name in SECTIONS:
            document = replace_section(document, name, read_section(text, name))
        RESULTS.write_text(document, encoding="utf-8")
    failed = [name for name, outcome in outcomes.items() if outcome.startswith("FAILED")]
    print(f"{time.monotonic() - start:.0f} s in all; logs and results in {folder}")
    print(f"failed: {', '.join(failed)}" if failed else "nothing failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
