"""Runs a request on the command line, and shows how it goes."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from pathlib import Path

from ..types import Asset, Event, GenerateRequest, Orbit, Progress, Views, event_to_dict


def run_request(request: GenerateRequest, args: argparse.Namespace) -> int:
    """Run a request as `args.stop_after` and `args.events` say; prints where the result is.

    Raises:
        EngineError: It cannot be done; one sentence says why.
    """
    from ..job.generate import generate

    events = generate(request, stop_after=args.stop_after)
    show = _JsonEvents() if args.events == "json" else _Bar()
    try:
        with contextlib.closing(events), show:
            for event in events:
                show(event)
    finally:
        if not args.output:  # the new job's folder, if the job could not begin
            with contextlib.suppress(OSError):
                Path(request.output_dir).rmdir()
    if args.events != "json" and args.stop_after:
        print(f"Stopped after {args.stop_after}: {request.output_dir}")
    return 0


class _JsonEvents:
    """One event a line on stdout."""

    def __enter__(self) -> _JsonEvents:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self, event: Event) -> None:
        print(json.dumps(event_to_dict(event)), flush=True)


class _Bar:
    """A progress bar on stderr; warnings above it; the result on stdout."""

    def __enter__(self) -> _Bar:
        from tqdm import tqdm

        self._bar = tqdm(
            total=100, file=sys.stderr, bar_format="{percentage:3.0f}%|{bar}| {desc} [{elapsed}{postfix}]", dynamic_ncols=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Progress):
            left = "" if event.eta_s is None else f"about {event.eta_s:.0f} s left"
            self._bar.set_description_str(event.message or event.phase, refresh=False)
            self._bar.set_postfix_str(left, refresh=False)
            self._bar.update(max(0.0, round(event.fraction * 100, 1) - self._bar.n))
            self._bar.refresh()
        elif isinstance(event, Views):
            for warning in event.warnings:
                self._bar.write(f"warning: {warning}", file=sys.stderr)
        elif isinstance(event, Orbit):
            self._bar.write(event.gif, file=sys.stdout)
        elif isinstance(event, Asset):
            for warning in event.warnings:
                self._bar.write(f"warning: {warning}", file=sys.stderr)
            self._bar.close()
            phases = ", ".join(f"{phase} {seconds:.2f}" for phase, seconds in event.timings.items() if phase != "total")
            print(f"{event.glb}\n{event.n_faces} triangles, {event.n_verts} vertices, {event.timings['total']:.2f} s ({phases})")
