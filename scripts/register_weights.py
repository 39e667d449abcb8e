"""Write the registry of the weights that ship: run it after every export into engine/weights.

.venv/bin/python scripts/register_weights.py
"""

from __future__ import annotations

from tetraview.engine.models.registry import write_registry


def main() -> None:
    found = write_registry()
    for name, entry in found.items():
        print(f"{entry.sha256[:12]} {entry.bytes:>11,} {name}")
    print(f"{len(found)} files, {sum(entry.bytes for entry in found.values()) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
