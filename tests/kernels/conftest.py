"""Where the kernels' tests run: their sources on the CPU everywhere, and the same tests on an NVIDIA GPU if there is one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from tetraview.kernels import programs

from . import cuda_on_cpu


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def kernel_device(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    """A device whose `programs.program` runs the `.cu` files: the CPU by `cuda_on_cpu`, or a GPU by the real loader.

    It keeps no state between examples, so hypothesis's check `function_scoped_fixture` may be suppressed.
    """
    if request.param == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("no NVIDIA GPU")
        yield torch.device("cuda", torch.cuda.current_device())
        return
    if cuda_on_cpu.compiler() is None:
        pytest.skip("no C++ compiler")
    with programs.use_backend("cpu", cuda_on_cpu.cpu_program):
        yield torch.device("cpu")
