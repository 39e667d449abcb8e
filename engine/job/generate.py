"""The one path from a request to an asset; the command line, Blender and the tests all drive this iterator."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from typing import Any

from ..errors import EngineError, InvalidRequestError
from ..models.loading import ModelCache
from ..types import PHASES, Event, GenerateRequest, Progress
from ..version import __version__
from .folder import JobFolder, default_home, write_json
from .history import TimingHistory
from .progress import JobClock, StepRunner
from .run import MESSAGES, Run, completes_views, is_warm, require_weights
from .workplace import workplace

logger = logging.getLogger(__name__)


def generate(
    request: GenerateRequest,
    *,
    stop_after: str | None = None,
    models: ModelCache | None = None,
    history: TimingHistory | None = None,
) -> Generator[Event, None, None]:
    """Make an asset from a prompt, from one to four photos, or from the framed views of an earlier run.

    Each stage's result is on disk before the next begins: in `request.output_dir`, or in a folder beside an earlier result there,
    which the new one replaces when it is whole. Events name the files where they are at the time. Closing the iterator cancels
    the job.

    Args:
        request: What to make.
        stop_after: Name of the last phase to run, or the last before it if this job does not have it; None for all of them.
        models: Where loaded models are kept between jobs; a new, empty one if None.
        history: Timings of earlier jobs, for the ETA; those in the engine's home if None.

    Yields:
        `Progress` all along, a `Preview` at each step of the painting, `Views` once all four are there, `Planes` after the
        planes, `Orbit` if it is asked for, `Asset` at the end.

    Raises:
        EngineError: The job cannot be done; one sentence says why.
    """
    request.check()
    request = replace(request, seed=request.seed % 2**63)  # any whole number is a seed; generators of random numbers are choosier
    phases = phases_to_run(request, stop_after)
    from ..devices import choose_device, use_all_cores

    models = ModelCache() if models is None else models
    history = TimingHistory(default_home()) if history is None else history
    require_weights(request, phases)
    device = choose_device(request.device)
    setting = {
        "device": device.name,
        "warm": is_warm(request, phases, models, device.name),
        "from_views": request.views_dir is not None,
        "painted": len(request.painted),
        "steps": request.steps if request.painted and not completes_views(request) else 0,
        "orbit_px": request.orbit_frames * request.orbit_px**2,
        "texture_px": request.texture_px,
        "poly_budget": request.poly_budget,
    }
    clock = JobClock(phases, history.expected_s(setting, phases))
    with workplace(request) as place:
        with job_log(place.final), remembered(clock, history, setting), StepRunner(clock, use_all_cores) as steps:
            run = Run(request, models, device.name, place.job)
            if device.note:
                yield Progress(phases[0], 0.0, None, device.note)
            for phase in phases:  # 1 photos, 2 views, 3 planes, 4 orbit, 5 mesh, 6 simplify, 7 unwrap, 8 texture, 9 asset
                yield from steps.run(phase, MESSAGES[phase], run.step(phase))
                place.require_there()
                if phase != phases[-1]:
                    yield from run.results(phase)
            seconds = {phase: round(seconds, 4) for phase, seconds in clock.seconds.items()}
            timings = {**seconds, "total": round(clock.total_s, 4)}
            if "asset" in phases:
                write_json(run.job.timings, timings)
            logger.info("done in %.2f s", clock.total_s)
        place.exchange()
    run.job = place.job
    yield from run.results(phases[-1])
    if "asset" in phases:
        yield run.asset(timings)


def phases_to_run(request: GenerateRequest, stop_after: str | None) -> tuple[str, ...]:
    """The phases of a request up to `stop_after`.

    Raises:
        InvalidRequestError: There is no such phase, or nothing comes before its end.
    """
    if stop_after is not None and stop_after not in PHASES:
        raise InvalidRequestError(f"Unknown phase {stop_after!r}: use one of {', '.join(PHASES)}.")
    last = len(PHASES) if stop_after is None else PHASES.index(stop_after) + 1
    phases = tuple(phase for phase in request.phases if phase in PHASES[:last])
    if not phases:
        raise InvalidRequestError(f"This job begins after {stop_after}: stop it after {request.phases[0]} or later.")
    return phases


@contextlib.contextmanager
def remembered(clock: JobClock, history: TimingHistory, setting: Mapping[str, Any]) -> Iterator[None]:
    """However the block ends, the phases that were finished in it go into the history."""
    try:
        yield
    finally:
        if clock.seconds:
            history.record(setting, clock.seconds)


class _LogFile(logging.FileHandler):
    """A log that costs the job nothing if its disk is full or gone."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass

    def close(self) -> None:
        with contextlib.suppress(OSError):
            super().close()


@contextlib.contextmanager
def job_log(job: JobFolder) -> Iterator[None]:
    """Everything the engine logs in the block also goes to the job's `log.txt`."""
    engine_logger = logging.getLogger((__package__ or "").rpartition(".")[0])
    handler = _LogFile(job.log, "w", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    engine_logger.addHandler(handler)
    if engine_logger.getEffectiveLevel() > logging.INFO:
        engine_logger.setLevel(logging.INFO)
    logger.info("engine %s", __version__)
    try:
        yield
    except Exception as error:
        logger.info("the job failed: %s", error, exc_info=not isinstance(error, EngineError))
        raise
    finally:
        engine_logger.removeHandler(handler)
        handler.close()
