"""Every `.cu` compiles for every architecture we promise, with the definitions its front uses: by NVRTC, without a GPU."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tetraview.kernels import loader, nvrtc
from tetraview.kernels.sources import FOLDER

from . import cuda_on_cpu

ARCHS = (75, 80, 89, 90, 100, 120)
MOST_SPILLED_BYTES = 0
"""A thread may keep no register in local memory: a kernel that does wants other launch bounds or less at once."""

PROBE = Path(cuda_on_cpu.__file__).with_name("probe.cu")

try:
    nvrtc.find_libraries()
except nvrtc.NvrtcError as missing:  # the wheel exists for Linux and Windows
    pytestmark = pytest.mark.skip(reason=str(missing))


def compiled(path: str | Path, variants: tuple) -> dict[tuple[int, int], nvrtc.Cubin]:
    """Machine code by (place of the variant, architecture), compiled on all cores: NVRTC lets other threads run."""
    jobs = [(place, arch) for place in range(len(variants)) for arch in ARCHS]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(jobs, pool.map(lambda job: nvrtc.compile_cubin(path, variants[job[0]], job[1]), jobs), strict=True))


def table(cubins: dict[tuple[int, int], nvrtc.Cubin]) -> str:
    """A row for each kernel, a column for each architecture: the most registers of any variant, and "+" bytes spilled, if any."""
    names = sorted({name for cubin in cubins.values() for name in cubin.resources})
    rows = []
    for name in names:
        cells = []
        for arch in ARCHS:
            used = [cubin.resources[name] for (_, of), cubin in cubins.items() if of == arch and name in cubin.resources]
            spilled = max(one.spill_bytes for one in used)
            cells.append(f"{max(one.registers for one in used)}" + (f"+{spilled}" if spilled else ""))
        rows.append(f"{name:32}" + "".join(f"{cell:>8}" for cell in cells))
    return "\n".join([f"{'registers':32}" + "".join(f"{f'sm_{arch}':>8}" for arch in ARCHS), *rows])


@pytest.mark.parametrize("source", loader.sources())
def test_every_kernel_compiles_for_every_architecture_without_spills(source, capsys):
    variants = loader.variants(source)
    assert variants, f"VARIANTS of kernels/{source}.py is empty"
    before = time.perf_counter()
    cubins = compiled(source, variants)
    seconds = time.perf_counter() - before
    with capsys.disabled():
        print(f"\n{source}.cu, {len(cubins)} programs in {seconds:.1f} s\n{table(cubins)}")
    written = set(
        re.findall(r"__global__\s+void\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)", (FOLDER / f"{source}.cu").read_text())
    )
    assert written == {name for cubin in cubins.values() for name in cubin.resources}
    for (place, arch), cubin in cubins.items():
        what = f"{source}.cu with {dict(variants[place])} for sm_{arch}"
        assert cubin.data.startswith(b"\x7fELF") and set(re.findall(r"for '(\w+)'", cubin.log)) == {f"sm_{arch}"}, what
        assert "warning" not in cubin.log, f"{what}:\n{cubin.log}"
        for name, used in cubin.resources.items():
            assert used.spill_bytes <= MOST_SPILLED_BYTES, f"{what}: {name} spills {used.spill_bytes} bytes a thread"


def test_device_code_of_the_header_compiles(capsys):
    cubins = compiled(PROBE, ({},))
    with capsys.disabled():
        print(f"\n{PROBE.name}\n{table(cubins)}")
    for cubin in cubins.values():
        resources = cubin.resources
        assert set(resources) == {"convert_half", "convert_bfloat16", "block_sums", "count_keys", "wait_in_vain"}
        assert resources["block_sums"].shared_bytes >= 16 and resources["count_keys"].shared_bytes == 0
        assert all(4 <= used.registers <= 255 and used.spill_bytes == 0 for used in resources.values())


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_spills_are_seen(tmp_path):
    hungry = write(
        tmp_path / "hungry.cu",
        'extern "C" __global__ void __launch_bounds__(1024) hungry(const float *in, float *out) {\n'
        "    float x[160];\n"
        "#pragma unroll\n"
        "    for (int k = 0; k < 160; ++k) x[k] = in[k * 1024 + threadIdx.x];\n"
        "    __syncthreads();\n"
        "#pragma unroll\n"
        "    for (int k = 0; k < 160; ++k) out[(k * 7 % 160) * 1024 + threadIdx.x] = x[k] * x[(k * 13 + 5) % 160];\n"
        "}\n",
    )
    used = nvrtc.compile_cubin(hungry, {}, 90).resources["hungry"]
    assert used.registers == 64 and used.spill_bytes > 100 and used.stack_bytes > 50


def test_a_mistake_is_reported_with_its_place(tmp_path):
    wrong = write(tmp_path / "wrong.cu", 'extern "C" __global__ void wrong(float *out) {\n    out[0] = nonsense;\n}\n')
    with pytest.raises(nvrtc.NvrtcError, match=r'(?s)^wrong.cu does not compile for sm_80.*wrong.cu\(2\).*"nonsense"'):
        nvrtc.compile_cubin(wrong, {}, 80)
    with pytest.raises(nvrtc.NvrtcError, match=r"probe.cu does not compile for sm_10 .*(?s:.*)--gpu-architecture"):
        nvrtc.compile_cubin(PROBE, {}, 10)


def test_definitions_reach_the_source(tmp_path):
    picky = write(
        tmp_path / "picky.cu",
        '#if SIZE != 3 || __CUDA_ARCH__ != 890 || TETRAVIEW_ARCH != 890\n#error "no"\n#endif\n'
        'extern "C" __global__ void name(TYPE *out) { out[0] = from_float<TYPE>(SIZE); }\n',
    )
    assert set(nvrtc.compile_cubin(picky, {"SIZE": 3, "TYPE": "Half", "name": "other"}, 89).resources) == {"other"}
    with pytest.raises(nvrtc.NvrtcError, match="no"):
        nvrtc.compile_cubin(picky, {"SIZE": 4, "TYPE": "Half"}, 89)


def test_the_virtual_target_gives_ptx():
    ptx = nvrtc.compile_source(PROBE, {}, "compute_90")
    assert b".target sm_90" in ptx.data and b".entry count_keys" in ptx.data
    assert ptx.data.endswith(b"\0"), "the driver reads PTX up to a zero"
    assert ptx.resources == {}


@pytest.mark.parametrize(
    ("arch", "target"),
    [(75, "sm_75"), (86, "sm_80"), (89, "sm_89"), (103, "sm_100"), (121, "sm_120"), (110, "compute_100"), (150, "compute_120")],
)
def test_a_newer_gpu_gets_the_newest_code_that_it_runs(arch, target):
    assert nvrtc.best_target(arch, ARCHS) == target


def test_a_gpu_that_is_too_old_is_refused():
    with pytest.raises(nvrtc.NvrtcError, match=r"capability 7.0 is too old: its kernels need 7.5"):
        nvrtc.best_target(70, ARCHS)


def test_the_compiler_knows_what_we_promise():
    assert set(ARCHS) <= set(nvrtc.known_archs())
    assert [nvrtc.best_target(arch, nvrtc.known_archs()) for arch in ARCHS] == [f"sm_{arch}" for arch in ARCHS]


LAYOUTS = {
    "cuda 13, linux": ("nvidia/cu13/lib", "libnvrtc.so.13", "libnvrtc-builtins.so.13.0", "libnvrtc.alt.so.13"),
    "cuda 13, windows": ("nvidia/cu13/bin/x86_64", "nvrtc64_130_0.dll", "nvrtc-builtins64_130.dll", "nvrtc64_130_0.alt.dll"),
    "cuda 12, linux": ("nvidia/cuda_nvrtc/lib", "libnvrtc.so.12", "libnvrtc-builtins.so.12.9", "libnvrtc.alt.so.12"),
    "cuda 12, windows": ("nvidia/cuda_nvrtc/bin", "nvrtc64_120_0.dll", "nvrtc-builtins64_129.dll", "nvrtc64_120_0.alt.dll"),
}


def unpack(root: Path, layout: str) -> tuple[Path, Path]:
    """Empty files where a wheel has its libraries; returns those that are to be found."""
    folder, library, builtins, other = LAYOUTS[layout]
    (root / folder).mkdir(parents=True)
    for name in (library, builtins, other, re.sub(r"(\.dll|\.so\..*)$", r".alt\1", builtins)):
        (root / folder / name).touch()
    return root / folder / library, root / folder / builtins


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_wheel_is_found(tmp_path, layout):
    expected = unpack(tmp_path / "site", layout)
    assert tuple(nvrtc.find_libraries([tmp_path / "none", tmp_path / "site"])) == expected


def test_the_wheel_of_torchs_cuda_is_taken(tmp_path):
    thirteen, twelve = unpack(tmp_path, "cuda 13, linux"), unpack(tmp_path, "cuda 12, linux")
    assert tuple(nvrtc.find_libraries([tmp_path], cuda="12.8")) == twelve
    assert tuple(nvrtc.find_libraries([tmp_path], cuda="13.0")) == thirteen
    assert tuple(nvrtc.find_libraries([tmp_path], cuda=None)) == thirteen


def test_without_the_wheel_the_message_says_what_to_install(tmp_path):
    (tmp_path / "nvidia/cu13/lib").mkdir(parents=True)
    (tmp_path / "nvidia/cu13/lib/libnvrtc.so.13").touch()  # without its built-ins it is no use
    with pytest.raises(nvrtc.NvrtcError, match=r"install the CUDA engine again.*nvidia-cuda-nvrtc"):
        nvrtc.find_libraries([tmp_path])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/maps")
def test_a_cuda_toolkit_of_another_version_does_not_matter(tmp_path):
    """Libraries of the same names come first on every path that the loader, or a toolkit's users, would search."""
    for folder in ("lib64", "lib", "nvvm/lib64"):
        (tmp_path / folder).mkdir(parents=True)
        for path in nvrtc.find_libraries():
            (tmp_path / folder / path.name).write_text("not a library")
    script = (
        "import sys\nfrom pathlib import Path\nfrom tetraview.kernels import nvrtc\n"
        f"print(len(nvrtc.compile_cubin(Path({str(PROBE)!r}), {{}}, 90).data))\n"
        "print(*sorted({line.split()[-1] for line in open('/proc/self/maps') if 'nvrtc' in line}), sep='\\n')\n"
    )
    environment = {**os.environ, "LD_LIBRARY_PATH": f"{tmp_path / 'lib64'}:{tmp_path / 'lib'}"}
    environment |= {name: str(tmp_path) for name in ("CUDA_PATH", "CUDA_HOME", "CUDA_ROOT")}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    size, *mapped = done.stdout.split()
    assert int(size) > 10_000
    assert sorted(mapped) == sorted(str(path.resolve()) for path in nvrtc.find_libraries())


def test_the_compiler_of_the_tests_is_the_one_that_is_installed_for_artists():
    root = FOLDER.parent
    pins = {
        re.search(r"^nvidia-cuda-nvrtc==([\d.]+)", (root / "wheels" / name).read_text(), re.MULTILINE)[1]
        for name in ("requirements-dev.txt", "requirements-cuda.txt")
    }
    named = set(re.findall(r"nvidia-cuda-nvrtc==([\d.]+)", (root / "pyproject.toml").read_text()))
    assert len(pins) == 1 and named == pins
    assert pins.pop().startswith(nvrtc.version() + ".")
