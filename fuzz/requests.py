"""A request as JSON, from a job's folder, a .blend or another version: read, checked, and its files looked for."""

from __future__ import annotations

from tetraview.engine.errors import EngineError, explained
from tetraview.engine.job.generate import phases_to_run
from tetraview.engine.job.workplace import check_inputs
from tetraview.engine.types import GenerateRequest


def run(data: bytes) -> None:
    """Read the bytes as a request; `EngineError`, a refusal of the system, and `ValueError` of what is no JSON are expected."""
    try:
        request = GenerateRequest.from_json(data.decode("utf-8", "surrogatepass"))
    except ValueError:
        return
    try:
        request.check()
        assert phases_to_run(request, None)
        check_inputs(request)
    except EngineError:
        return
    except OSError as error:  # of a path that the system refuses: the worker and the command line say it so
        assert explained(error) is not None
        return
    again = GenerateRequest.from_json(request.to_json())
    assert again == request and again.views_key() == request.views_key()
