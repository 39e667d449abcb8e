"""What the kernels' other tests stand on: CUDA's threads, barriers, warp functions and atomics, on the CPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from . import cuda_on_cpu

PROBE = Path(cuda_on_cpu.__file__).with_name("probe.cu")

pytestmark = pytest.mark.skipif(cuda_on_cpu.compiler() is None, reason="no C++ compiler")


@pytest.mark.parametrize(("kernel", "dtype"), [("convert_half", torch.float16), ("convert_bfloat16", torch.bfloat16)])
def test_storage_is_rounded_as_torch_rounds(kernel, dtype):
    special = [0.0, -0.0, 1.0, 65504.0, 65520.0, 1e-8, 6e-8, 1e39, float("inf"), float("nan"), 1.00390625, 1.01171875]
    values = torch.cat([torch.tensor(special), torch.randn(1000) * 10 ** torch.randint(-8, 8, (1000,))])
    out, back = torch.empty(len(values), dtype=dtype), torch.empty(len(values))
    cuda_on_cpu.build(PROBE).launch(kernel, 3, 64, [values, out, back, len(values)])
    expected = values.to(dtype)
    torch.testing.assert_close(out, expected, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(back, expected.float(), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_blocks_reduce_through_shuffles_shared_memory_and_atomics(seed):
    values = torch.randint(-3, 4, (50 * 128,)).float()
    sums, votes, total = torch.zeros(50), torch.zeros(200, dtype=torch.int32), torch.zeros(8)
    program = cuda_on_cpu.build(PROBE)
    program.seed = seed
    program.launch("block_sums", 50, 128, [values, sums, votes, total])
    assert torch.equal(sums, values.reshape(50, 128).sum(1))
    expected = ((values.reshape(200, 32) > 0).long() << torch.arange(32)).sum(1)
    assert torch.equal(votes.long() & 0xFFFFFFFF, expected)
    assert total.tolist() == [values.sum(), 0, 0, 0, values.sum(), 50, 100, 150]


def test_equal_keys_of_a_warp_find_each_other():
    keys = torch.randint(0, 9, (1000,), dtype=torch.int32)
    counts = torch.zeros(9, dtype=torch.int32)
    cuda_on_cpu.build(PROBE).launch("count_keys", 8, 128, [keys, counts, 1000])
    assert torch.equal(counts.long(), torch.bincount(keys.long(), minlength=9))


def test_a_launch_without_blocks_does_nothing_and_a_wrong_one_is_refused():
    program, total = cuda_on_cpu.build(PROBE), torch.zeros(8)
    program.launch("block_sums", 0, 128, [torch.zeros(0), torch.zeros(0), torch.zeros(0), total])
    assert total.sum() == 0
    with pytest.raises(TypeError, match="takes 4 arguments"):
        program.launch("block_sums", 1, 128, [total])
    with pytest.raises(ValueError, match="contiguous"):
        program.launch("block_sums", 1, 128, [torch.zeros(4, 4).T, total, total, total])


def test_threads_that_wait_in_vain_are_reported_not_left_hanging():
    code = (
        "from pathlib import Path; from tests.kernels import cuda_on_cpu\n"
        f"cuda_on_cpu.build(Path({str(PROBE)!r})).launch('wait_in_vain', 1, 32, [16])"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    assert "deadlock" in done.stderr


def test_a_source_that_is_not_c_is_reported_with_the_compiler_s_words(tmp_path):
    (tmp_path / "wrong.cu").write_text('extern "C" __global__ void wrong(float *x) { x[0] = nonsense; }')
    with pytest.raises(RuntimeError, match="nonsense"):
        cuda_on_cpu.build(tmp_path / "wrong.cu")
