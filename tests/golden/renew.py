"""`make golden`: measure the golden figures anew, write them, and say what changed."""

from __future__ import annotations

import json

from .measure import FIGURES, ROOT, measure_all


def main() -> None:
    was = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else {}
    now = measure_all()
    FIGURES.write_text(json.dumps(now, indent=2) + "\n", encoding="utf-8")
    for group, figures in now.items():
        for name, value in figures.items():
            before = was.get(group, {}).get(name)
            print(f"{name}: {value}" + ("" if before == value else f" (was {before})"))
    print(f"Wrote {FIGURES.relative_to(ROOT)}. Say in the commit what changed the product, and why it is better.")


if __name__ == "__main__":
    main()
