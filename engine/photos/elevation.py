"""Find the elevation that the photos were taken from: the one whose reconstruction explains them best.

Silhouettes alone are ambiguous: a box seen from higher up may as well be a taller one. The reconstructor knows what objects
look like: at a wrong elevation its result does not reproduce the photos. So the elevation that reproduces them best is chosen.
"""

from __future__ import annotations

from collections.abc import Callable

STEP_DEG = 6.0
RANGE_DEG = (-10.0, 45.0)

_CLEARLY_BETTER_DB = 0.6  # than at the given one: round things look alike from everywhere


def find_elevation(explain: Callable[[float], float], given_deg: float) -> float:
    """The elevation whose reconstruction explains the photos best, degrees.

    Climbs from the given one in steps, and lays a parabola through the last three; smooth objects that look alike from
    everywhere keep the given one.

    Args:
        explain: Score of an elevation, dB; see `intake.Explain`.
        given_deg: Elevation to start from.
    """
    scores: dict[int, float] = {}

    def score(step: int) -> float:
        if step not in scores:
            scores[step] = explain(given_deg + step * STEP_DEG)
        return scores[step]

    def within(step: int) -> bool:
        return RANGE_DEG[0] <= given_deg + step * STEP_DEG <= RANGE_DEG[1]

    around = [step for step in (-1, 0, 1) if within(step)]
    best = max(around, key=score)
    while best and within(best + best // abs(best)) and score(best + best // abs(best)) > score(best):
        best += best // abs(best)
    if best == 0 or scores[best] < scores[0] + _CLEARLY_BETTER_DB:
        return given_deg
    return given_deg + STEP_DEG * (best + _peak(*(scores.get(best + side) for side in (-1, 0, 1))))


def _peak(before: float | None, at: float | None, after: float | None) -> float:
    """Position, in -0.5..0.5, of the peak of the parabola through three even samples of which the middle one is greatest."""
    if before is None or at is None or after is None:
        return 0.0
    bend = before - 2 * at + after
    return 0.0 if bend >= 0 else max(-0.5, min(0.5, 0.5 * (before - after) / bend))
