"""Resolve the engine's lock files in wheels/ anew: every version pinned, every wheel hashed, sizes in the header.

    python scripts/lock_wheels.py --uv PATH/TO/uv

What the engine needs is read from pyproject.toml. uv resolves it once for all platforms; of its answer only the wheels that the
targets below would really install are kept, so a lock also proves that each target has a wheel for every package.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags, mac_platforms
from packaging.utils import parse_wheel_filename

ROOT = Path(__file__).resolve().parent.parent
TORCH = "2.13.0"
NOT_ON_THE_ARTISTS_PATH = {"transformers"}
CUDA_PREFIXES = ("nvidia-", "cuda-", "triton")

# Wheels of PyTorch's own index, which the Python package index lacks: (variant, target) -> version, bytes, sha256.
# How each hash was checked is told in wheels/README.md.
TORCH_INDEX_WHEELS: dict[tuple[str, str], tuple[str, int, str]] = {
    ("cpu", "linux-x64-3.11"): ("2.13.0+cpu", 191_794_682, "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b"),
    ("cpu", "linux-x64-3.13"): ("2.13.0+cpu", 191_815_667, "3fbf9c9d1f3c10c2d59d04aca426dee9ccc6ceb32d255c61e93acc3b4f75fae6"),
    ("cuda", "windows-x64-3.13"): (
        "2.13.0+cu130",
        1_915_517_499,
        "cf23236e9deed7d3510d14d9b9592d75d272ef7b35bbfee31a02bea339c73971",
    ),
}


@dataclass(frozen=True)
class Target:
    """A Blender's platform and Python, as markers and wheel tags see it."""

    platform: str
    python: tuple[int, int]

    @property
    def name(self) -> str:
        return f"{self.platform}-{self.python[0]}.{self.python[1]}"

    @property
    def marker_environment(self) -> dict[str, str]:
        sys_platform, system, os_name, machine = {
            "linux-x64": ("linux", "Linux", "posix", "x86_64"),
            "windows-x64": ("win32", "Windows", "nt", "AMD64"),
            "macos-arm64": ("darwin", "Darwin", "posix", "arm64"),
        }[self.platform]
        version = f"{self.python[0]}.{self.python[1]}"
        return {
            "sys_platform": sys_platform, "platform_system": system, "os_name": os_name, "platform_machine": machine,
            "python_version": version, "python_full_version": f"{version}.9", "implementation_name": "cpython",
            "platform_python_implementation": "CPython", "extra": "",
        }  # fmt: skip

    @property
    def tags(self) -> list[Tag]:
        """Wheel tags this target accepts, best first."""
        platforms = {
            "linux-x64": [f"manylinux_2_{minor}_x86_64" for minor in range(28, 4, -1)]
            + ["manylinux2014_x86_64", "manylinux1_x86_64"],
            "windows-x64": ["win_amd64"],
            "macos-arm64": list(mac_platforms((14, 0), "arm64")),
        }[self.platform]
        interpreter = f"cp{self.python[0]}{self.python[1]}"
        return [*cpython_tags(self.python, None, platforms), *compatible_tags(self.python, interpreter, platforms)]


PYTHONS = ((3, 11), (3, 13))
VARIANTS: dict[str, tuple[Target, ...]] = {
    "cpu": tuple(Target(platform, python) for platform in ("linux-x64", "windows-x64", "macos-arm64") for python in PYTHONS),
    "cuda": (Target("linux-x64", (3, 11)), Target("linux-x64", (3, 13)), Target("windows-x64", (3, 13))),
    "mps": tuple(Target("macos-arm64", python) for python in PYTHONS),
}


def engine_requirements(variant: str) -> list[str]:
    """The engine's requirements from pyproject.toml, with torch pinned and CuPy added for CUDA."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [Requirement(line) for line in project["dependencies"]]
    kept = [str(line) for line in names if line.name not in {"torch", *NOT_ON_THE_ARTISTS_PATH}]
    return [f"torch=={TORCH}", "pip>=25.3", *kept, *(["cupy-cuda13x[ctk]>=14"] if variant == "cuda" else [])]


def resolve(uv: str, requirements: Iterable[str]) -> list[dict[str, Any]]:
    """The packages of uv's universal resolution for Python >= 3.11 (PEP 751 tables)."""
    with tempfile.TemporaryDirectory() as folder:
        wanted, answer = Path(folder, "requirements.in"), Path(folder, "pylock.toml")
        wanted.write_text("\n".join(requirements))
        command = [uv, "pip", "compile", "--universal", "--python-version", "3.11", "--format", "pylock.toml", "-q", str(wanted)]
        subprocess.run([*command, "-o", str(answer)], check=True)
        packages: list[dict[str, Any]] = tomllib.loads(answer.read_text())["packages"]
    return packages


def pick_wheel(package: dict[str, Any], target: Target) -> dict[str, Any]:
    """The wheel of `package` that pip would take on `target`.

    Raises:
        LookupError: It has none for that target.
    """
    rank = {tag: place for place, tag in enumerate(target.tags)}
    fitting = []
    for wheel in package.get("wheels", ()):
        filename = wheel["url"].rsplit("/", 1)[-1].replace("%2B", "+")
        places = [rank[tag] for tag in parse_wheel_filename(filename)[3] if tag in rank]
        if places:
            fitting.append((min(places), wheel))
    if not fitting:
        raise LookupError(f"{package['name']} {package['version']} has no wheel for {target.name}")
    return min(fitting, key=lambda pair: pair[0])[1]


def shortest_marker(where: Sequence[Target], all_targets: Sequence[Target]) -> str:
    """A marker that tells `where` from the rest of `all_targets`; "" if there is no rest.

    As `engine/client/environment.py` reads it: clauses joined by " or ", each a sys_platform and a python_version joined
    by " and ".
    """

    def python_clause(pythons: set[tuple[int, int]], among: set[tuple[int, int]]) -> list[str]:
        if pythons == among:
            return []
        return ["python_version < '3.12'" if pythons == {(3, 11)} else "python_version >= '3.12'"]

    if set(where) == set(all_targets):
        return ""
    by_platform = {name: {t.python for t in where if t.platform == name} for name in dict.fromkeys(t.platform for t in where)}
    among = {
        name: {t.python for t in all_targets if t.platform == name} for name in dict.fromkeys(t.platform for t in all_targets)
    }
    if set(by_platform) == set(among):  # every platform: perhaps the Python alone tells them apart
        for clause in (["python_version < '3.12'"], ["python_version >= '3.12'"]):
            wanted = {(3, 11)} if "<" in clause[0] else {(3, 13)}
            if all(by_platform[name] == among[name] & wanted for name in among):
                return clause[0]
    sys_platforms = {"linux-x64": "linux", "windows-x64": "win32", "macos-arm64": "darwin"}
    return " or ".join(
        " and ".join([f"sys_platform == '{sys_platforms[name]}'", *python_clause(pythons, among[name])])
        for name, pythons in by_platform.items()
    )


def write_lock(variant: str, packages: list[dict[str, Any]]) -> Path:
    """Write wheels/requirements-<variant>.txt; returns its path."""
    download_bytes = {target.name: 0 for target in VARIANTS[variant]}
    counts = dict(download_bytes)
    pins: dict[str, tuple[list[Target], set[str]]] = {}  # requirement -> targets that need it, hashes of their wheels
    for package in packages:
        if variant != "cuda" and package["name"].startswith(CUDA_PREFIXES):
            continue
        marker = package.get("marker", "").removeprefix("python_full_version >= '3.11'").removeprefix(" and ")
        for target in VARIANTS[variant]:
            if marker and not Marker(marker).evaluate(target.marker_environment):
                continue
            special = TORCH_INDEX_WHEELS.get((variant, target.name)) if package["name"] == "torch" else None
            if special:
                version, size, sha256 = special
            else:
                wheel = pick_wheel(package, target)
                version, size, sha256 = package["version"], wheel["size"], wheel["hashes"]["sha256"]
            where, hashes = pins.setdefault(f"{package['name']}=={version}", ([], set()))
            where.append(target)
            hashes.add(sha256)
            download_bytes[target.name] += size
            counts[target.name] += 1
    path = ROOT / f"wheels/requirements-{variant}.txt"
    lines = ["# Made by scripts/lock_wheels.py: do not edit. Each target with its packages and the bytes of their wheels:"]
    lines += [f"# target {name} {counts[name]} {size}" for name, size in download_bytes.items()]
    for requirement in sorted(pins):
        where, hashes = pins[requirement]
        marker = shortest_marker(where, VARIANTS[variant])
        first = requirement + (f" ; {marker}" if marker else "")
        lines.append(" \\\n    ".join([first, *(f"--hash=sha256:{digest}" for digest in sorted(hashes))]))
    path.write_text("\n".join(lines) + "\n")
    return path


def write_development_pins(uv: str) -> Path:
    """Write wheels/requirements-dev.txt: the versions of .venv on Linux and macOS, Python 3.11, without hashes.

    Of CUDA's packages, which torch's build for Linux asks for, only those that the development environment itself names.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [f"torch=={TORCH}", *project["dependencies"], *project["optional-dependencies"]["dev"]]
    named = {requirement.name: requirement.marker for requirement in map(Requirement, wanted)}
    target = Target("linux-x64", (3, 11))
    path = ROOT / "wheels/requirements-dev.txt"
    pins = []
    for package in resolve(uv, wanted):
        marker = package.get("marker")
        for_this_target = not marker or Marker(marker).evaluate(target.marker_environment)
        if for_this_target and (package["name"] in named or not package["name"].startswith(CUDA_PREFIXES)):
            own_marker = named.get(package["name"])
            pins.append(f"{package['name']}=={package['version']}" + (f" ; {own_marker}" if own_marker else ""))
    path.write_text(
        "\n".join(["# Made by scripts/lock_wheels.py: do not edit. The development environment, .venv.", *pins]) + "\n"
    )
    return path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--uv", default="uv", help="the uv program (pip install uv)")
    uv = parser.parse_args().uv
    try:
        for variant in VARIANTS:
            print(write_lock(variant, resolve(uv, engine_requirements(variant))).relative_to(ROOT))
        print(write_development_pins(uv).relative_to(ROOT))
    except (LookupError, subprocess.CalledProcessError, FileNotFoundError) as error:
        print(f"Not locked: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
