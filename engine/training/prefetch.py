"""Draw batches in a thread, a few ahead of the step that uses them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

T = TypeVar("T")


def prefetch(batches: Iterator[T], depth: int = 3) -> Generator[T, None, None]:
    """Draw batches in a thread, at most `depth` ahead; an error there is raised here."""
    ready: queue.Queue[T | BaseException] = queue.Queue(depth)
    stop = threading.Event()

    def work() -> None:
        try:
            for batch in batches:
                while not stop.is_set():
                    try:
                        ready.put(batch, timeout=0.5)
                        break
                    except queue.Full:
                        continue
                if stop.is_set():
                    return
        except BaseException as error:
            ready.put(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        while True:
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
