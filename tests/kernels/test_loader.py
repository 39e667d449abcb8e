"""What is kept on disk, what happens when something is missing, and how arguments reach CuPy."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import types
import warnings
from pathlib import Path

import numpy
import pytest
import torch
from tetraview.engine.job import folder
from tetraview.kernels import loader, nvrtc, programs, sources

from . import cuda_on_cpu

PROBE = Path(cuda_on_cpu.__file__).with_name("probe.cu")

try:
    nvrtc.find_libraries()
except nvrtc.NvrtcError as missing:
    pytestmark = pytest.mark.skip(reason=str(missing))


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    """A loader that has loaded nothing yet, with an empty data folder."""
    monkeypatch.setattr(loader, "_programs", {})
    monkeypatch.setattr(loader, "_warned", set())
    loader._cupy.cache_clear()
    monkeypatch.setenv("TETRAVIEW_HOME", str(tmp_path / "home"))
    yield
    loader._cupy.cache_clear()


@pytest.fixture
def compilations(monkeypatch) -> list[str]:
    """The targets that NVRTC really compiled for, one entry each time."""
    done = []
    compile_source = nvrtc.compile_source

    def counted(source, definitions, target):
        done.append(target)
        return compile_source(source, definitions, target)

    monkeypatch.setattr(nvrtc, "compile_source", counted)
    return done


# ---- on disk


def test_machine_code_is_compiled_once_and_kept(tmp_path, compilations):
    first = loader.machine_code(PROBE, {}, "sm_90", 13000, tmp_path / "kernels")
    assert first.startswith(b"\x7fELF") and compilations == ["sm_90"]
    assert loader.machine_code(PROBE, {}, "sm_90", 13000, tmp_path / "kernels") == first
    assert compilations == ["sm_90"]
    assert [path.name.split("-")[0] for path in (tmp_path / "kernels").iterdir()] == ["probe"]


def test_whatever_the_code_depends_on_changes_its_key(tmp_path, monkeypatch):
    copy = tmp_path / "probe.cu"
    copy.write_bytes(PROBE.read_bytes())
    keys = {
        loader.cache_key(copy, {}, "sm_90", 13000),
        loader.cache_key(copy, {}, "sm_89", 13000),
        loader.cache_key(copy, {}, "compute_90", 13000),
        loader.cache_key(copy, {}, "sm_90", 13010),
        loader.cache_key(copy, {"A": 1}, "sm_90", 13000),
        loader.cache_key(copy, {"A": 2}, "sm_90", 13000),
        loader.cache_key(copy, {"A": 1, "B": 1}, "sm_90", 13000),
    }
    assert loader.cache_key(copy, {"B": 1, "A": 1}, "sm_90", 13000) in keys  # the order of the macros does not matter
    copy.write_text(copy.read_text() + "\n// changed\n")
    keys.add(loader.cache_key(copy, {}, "sm_90", 13000))
    monkeypatch.setattr(nvrtc, "version", lambda: "13.1")
    keys.add(loader.cache_key(copy, {}, "sm_90", 13000))
    monkeypatch.setattr(nvrtc, "OPTIONS", (*nvrtc.OPTIONS, "--use_fast_math"))
    keys.add(loader.cache_key(copy, {}, "sm_90", 13000))
    header = tmp_path / sources.HEADER
    header.write_text((sources.FOLDER / sources.HEADER).read_text() + "\n// changed\n")
    monkeypatch.setattr(loader, "FOLDER", tmp_path)
    keys.add(loader.cache_key(copy, {}, "sm_90", 13000))
    assert len(keys) == 11


@pytest.mark.parametrize("damage", [b"", b"x" * 10, None])
def test_a_damaged_file_is_made_anew(tmp_path, compilations, damage):
    whole = loader.machine_code(PROBE, {}, "sm_80", 13000, tmp_path)
    (path,) = tmp_path.iterdir()
    kept = path.read_bytes()
    path.write_bytes(kept[:-100] if damage is None else damage)
    assert loader.machine_code(PROBE, {}, "sm_80", 13000, tmp_path) == whole
    assert compilations == ["sm_80"] * 2 and path.read_bytes() == kept


def test_a_folder_that_cannot_be_written_only_costs_time(tmp_path, compilations, caplog):
    (tmp_path / "kernels").write_text("a file where the folder should be")
    for _ in range(2):
        assert loader.machine_code(PROBE, {}, "sm_80", 13000, tmp_path / "kernels").startswith(b"\x7fELF")
    assert len(compilations) == 2 and "cannot keep" in caplog.text


def test_two_processes_at_once_leave_one_whole_file(tmp_path):
    """Many times over, with a compiler that takes no time: each makes the file while the other makes, reads or removes it."""
    code = bytes(range(256)) * 4096
    script = (
        "import sys\nfrom pathlib import Path\nfrom tetraview.kernels import loader, nvrtc\n"
        f"folder, probe, code = Path({str(tmp_path)!r}), Path({str(PROBE)!r}), bytes(range(256)) * 4096\n"
        "nvrtc.compile_source = lambda *_: nvrtc.Cubin(code, '')\n"
        "print('ready', flush=True)\nsys.stdin.readline()\n"
        "for _ in range(200):\n"
        "    [path.unlink(missing_ok=True) for path in folder.glob('probe-*')]\n"
        "    assert loader.machine_code(probe, {}, 'sm_90', 1, folder) == code\n"
        "assert loader.machine_code(probe, {}, 'sm_90', 1, folder) == code\n"
    )
    pipe = subprocess.PIPE
    children = [
        subprocess.Popen([sys.executable, "-c", script], stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(2)
    ]
    for child in children:
        assert child.stdout.readline() == "ready\n", child.stderr.read()
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        _, log = child.communicate(timeout=120)
        assert child.returncode == 0 and log == ""
    (path,) = tmp_path.iterdir()  # and no temporary one
    assert path.read_bytes()[32:] == code


@pytest.mark.parametrize("system", ["linux", "darwin", "win32"])
@pytest.mark.parametrize("chosen", [{}, {"TETRAVIEW_HOME": "~/elsewhere"}, {"XDG_DATA_HOME": "/data", "LOCALAPPDATA": "/local"}])
def test_kernels_lie_in_the_engines_home(monkeypatch, system, chosen):
    for name in ("TETRAVIEW_HOME", "XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", system)
    assert loader.cache_folder() == folder.default_home() / "kernels"


# ---- nothing is touched too early, and what fails is said once


def test_importing_the_kernels_loads_neither_cupy_nor_nvrtc(tmp_path):
    (tmp_path / "cupy.py").write_text("raise SystemExit('cupy was imported')")
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from tetraview.kernels import loader, nvrtc, programs, reference\n"
        "import importlib, torch\n"
        "for name in loader.sources():\n"
        "    importlib.import_module('tetraview.kernels.' + name)\n"
        "    assert programs.program(name, loader.variants(name)[0], torch.device('cpu')) is None\n"
        "assert 'cupy' not in sys.modules and nvrtc._library.cache_info().currsize == 0\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


class FakeStream:
    @classmethod
    def from_external(cls, stream):
        made = cls()
        made.of = stream.__cuda_stream__()
        return made


class FakeCupy(types.ModuleType):
    """As much of CuPy as the loader uses, hand-written, noting what it is told."""

    def __init__(self, current: list) -> None:
        super().__init__("cupy")
        self.loaded, self.launches, self.allocator = [], [], None
        fake = self

        class Function:
            def __init__(self, name):
                self.name = name

            def __call__(self, grid, block, args, shared_mem=0, stream=None):
                fake.launches.append((self.name, grid, block, args, stream.of, tuple(current)))

        class Module:
            def load(self, code):
                assert type(code) is bytes
                fake.loaded.append((code, tuple(current)))

            def get_function(self, name):
                return Function(name)

        @contextlib.contextmanager
        def device(index):
            current.append(("cupy", index))
            yield
            current.pop()

        class Allocator:
            def __init__(self, allocate, free):
                self.allocate, self.free = allocate, free

            def malloc(self, size):
                return self.allocate(size, 1)

        self.cuda = types.SimpleNamespace(
            runtime=types.SimpleNamespace(driverGetVersion=lambda: 13000),
            function=types.SimpleNamespace(Module=Module),
            Stream=FakeStream,
            Device=device,
            PythonFunctionAllocator=Allocator,
            set_allocator=lambda malloc: setattr(fake, "allocator", malloc),
        )


@pytest.fixture
def fake_gpu(monkeypatch) -> FakeCupy:
    """Two H100s that are not there: torch's questions about devices are answered, and CuPy is a stand-in."""
    current = []

    @contextlib.contextmanager
    def device(of):
        current.append(("torch", torch.device(of).index))
        yield
        current.pop()

    monkeypatch.setattr(torch.cuda, "device", device)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda of: (9, 0))
    streams = [types.SimpleNamespace(cuda_stream=700), types.SimpleNamespace(cuda_stream=701)]
    monkeypatch.setattr(torch.cuda, "current_stream", lambda of: streams[of if isinstance(of, int) else of.index])
    monkeypatch.setattr(nvrtc, "source_path", lambda source: PROBE)
    cupy = FakeCupy(current)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    return cupy


class OnGpu(torch.Tensor):
    """A tensor that says it is on the second GPU."""

    device = torch.device("cuda", 1)


def test_a_program_is_loaded_once_for_each_gpu_and_set_of_definitions(fake_gpu, compilations):
    first = programs.program("probe", {}, torch.device("cuda", 1))
    assert first is not None and programs.program("probe", {}, torch.device("cuda", 1)) is first
    assert len(fake_gpu.loaded) == 1 and compilations == ["sm_90"]
    code, current = fake_gpu.loaded[0]
    assert code.startswith(b"\x7fELF") and current == (("torch", 1), ("cupy", 1))
    zero = programs.program("probe", {}, torch.device("cuda"))  # the current one, 0: another load of the same file
    assert zero is not first and zero is programs.program("probe", {}, torch.device("cuda", 0))
    assert len(fake_gpu.loaded) == 2 and compilations == ["sm_90"] and fake_gpu.loaded[1][1] == (("torch", 0), ("cupy", 0))
    assert programs.program("probe", {"A": 1}, torch.device("cuda", 1)) is not first
    assert compilations == ["sm_90"] * 2
    assert len(list(loader.cache_folder().iterdir())) == 2


def test_a_launch_converts_its_arguments_and_uses_torchs_stream(fake_gpu):
    """On a stand-in for CuPy, so only this: what it is handed. `test_a_kernel_runs_on_the_gpu` asks a GPU."""
    program = programs.program("probe", {}, torch.device("cuda", 1))
    values = torch.arange(4.0).as_subclass(OnGpu)
    program.launch("count_keys", 3, 64, [values, 2**40, True, 0.1, values[:0]])
    (launch,) = fake_gpu.launches
    name, grid, block, args, stream, current = launch
    assert (name, grid, block) == ("count_keys", (3,), (64,))
    assert stream == (0, 701) and current == (("torch", 1), ("cupy", 1))
    assert [type(arg) for arg in args] == [numpy.uint64, numpy.int64, numpy.int64, numpy.float32, numpy.uint64]
    assert args[:4] == [values.data_ptr(), 2**40, 1, numpy.float32(0.1)]
    program.launch("count_keys", 0, 64, [values, 1])
    assert len(fake_gpu.launches) == 1, "CuPy makes one block of none"


@pytest.mark.parametrize(
    ("args", "grid", "block", "complaint"),
    [
        ([torch.zeros(4)], 1, 32, "count_keys: a tensor must be contiguous and on cuda:1, got .* on cpu"),
        ([torch.zeros(4, 4).as_subclass(OnGpu).T], 1, 32, r"contiguous and on cuda:1, got strides \(1, 4\)"),
        (["text"], 1, 32, "must be a tensor, an int or a float, got str"),
        ([], 2**31, 32, "a launch of 2147483648 blocks"),
        ([], 1, 1025, "of 1025 threads"),
        ([], -1, 32, "a launch of -1 blocks"),
    ],
)
def test_a_wrong_launch_is_refused(fake_gpu, args, grid, block, complaint):
    program = programs.program("probe", {}, torch.device("cuda", 1))
    with pytest.raises((ValueError, TypeError), match=complaint):
        program.launch("count_keys", grid, block, args)
    assert fake_gpu.launches == []


def test_cupy_draws_from_torchs_memory(fake_gpu, monkeypatch):
    asked, freed = [], []
    monkeypatch.setattr(torch.cuda, "caching_allocator_alloc", lambda *what: asked.append(what) or 4096)
    monkeypatch.setattr(torch.cuda, "caching_allocator_delete", freed.append)
    programs.program("probe", {}, torch.device("cuda", 1))
    assert fake_gpu.allocator(100) == 4096 and asked == [(100, 1, torch.cuda.current_stream(1))]
    fake_gpu.allocator.__self__.free(4096, 1)
    assert freed == [4096]


def broken_driver(cupy, monkeypatch):
    def refuse(self, code):
        raise RuntimeError("CUDA_ERROR_NO_BINARY_FOR_GPU")

    monkeypatch.setattr(cupy.cuda.function.Module, "load", refuse)
    return "NO_BINARY_FOR_GPU"


def missing_cupy(cupy, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    return "cupy"


def missing_nvrtc(cupy, monkeypatch):
    def nothing():
        raise nvrtc.NvrtcError("NVRTC is not installed")

    monkeypatch.setattr(nvrtc, "_library", nothing)
    monkeypatch.setattr(nvrtc, "known_archs", nvrtc.known_archs.__wrapped__)
    return "NVRTC is not installed"


def bad_source(cupy, monkeypatch):
    monkeypatch.setattr(nvrtc, "OPTIONS", ("-Dfloat=nonsense",))
    return "does not compile for sm_90"


def old_gpu(cupy, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda of: (6, 1))
    return "capability 6.1 is too old"


def amd_gpu(cupy, monkeypatch):
    monkeypatch.setattr(torch.version, "hip", "6.4")
    return "need an NVIDIA GPU"


@pytest.mark.parametrize("fault", [broken_driver, missing_cupy, missing_nvrtc, bad_source, old_gpu, amd_gpu])
def test_what_fails_is_said_once_and_the_twins_take_over(fake_gpu, monkeypatch, fault):
    reason = fault(fake_gpu, monkeypatch)
    with pytest.warns(RuntimeWarning, match=r"(?s)compiled probe kernels cannot run.*PyTorch code.*update.*install") as heard:
        assert programs.program("probe", {}, torch.device("cuda", 1)) is None
    assert len(heard) == 1 and reason in str(heard[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert programs.program("probe", {"A": 1}, torch.device("cuda", 1)) is None  # tried, said before
        monkeypatch.setattr(loader, "_load", lambda *_: pytest.fail("it was tried again"))
        assert programs.program("probe", {}, torch.device("cuda", 1)) is None


# ---- on a GPU


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
def test_a_kernel_runs_on_the_gpu(tmp_path, monkeypatch):
    """Compiled, kept, loaded, launched on a stream that is not the default one, right after work that it depends on."""
    monkeypatch.setattr(nvrtc, "source_path", lambda source: PROBE)
    device = torch.device("cuda", torch.cuda.current_device())
    for _ in range(2):  # the second time from disk
        loader._programs.clear()
        program = programs.program("probe", {}, device)
        with torch.cuda.stream(torch.cuda.Stream(device)):
            values = torch.randn(4096, 4096, device=device)
            for _ in range(20):
                values = values @ values.mul(1 / 64)
            keys = (values.flatten().nan_to_num() > 0).int()
            counts = torch.zeros(2, dtype=torch.int32, device=device)
            program.launch("count_keys", (len(keys) + 127) // 128, 128, [keys, counts, len(keys)])
            expected = torch.bincount(keys.long(), minlength=2)
            out, back = torch.empty(1000, dtype=torch.float16, device=device), torch.empty(1000, device=device)
            program.launch("convert_half", 3, 64, [values.flatten()[:1000].contiguous(), out, back, 1000])
        torch.cuda.synchronize()
        assert torch.equal(counts.long(), expected)
        torch.testing.assert_close(out, values.flatten()[:1000].half(), rtol=0, atol=0, equal_nan=True)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
@pytest.mark.parametrize("source", loader.sources())
def test_every_program_loads_on_the_gpu(source):
    device = torch.device("cuda", torch.cuda.current_device())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for definitions in loader.variants(source):
            assert programs.program(source, definitions, device) is not None
