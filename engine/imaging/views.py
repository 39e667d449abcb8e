"""The four views of one object: one array, which of them are known, and the cameras they were seen from."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..cameras import CANONICAL_RIG, Rig
from ..types import VIEW_NAMES

UInt8Array = npt.NDArray[np.uint8]
Flags = tuple[bool, bool, bool, bool]

NO_VIEW: Flags = (False,) * 4


@dataclass(frozen=True, eq=False)
class FourViews(Mapping[str, UInt8Array]):
    """The four views of one object in one frame. As a mapping, it holds the views that are there, uint8 [S, S, 4] keyed by name.

    Attributes:
        rgba: uint8 [4, S, S, 4], straight alpha, in the order of `VIEW_NAMES`; views that are not there are transparent.
        known: Flags of the views that tell what the object looks like: photographed, painted, or edited by the artist.
        rig: The cameras that they were seen from.
        rendered: Flags of the views that were rendered from the reconstruction of the known ones, and tell nothing new.
        warnings: Sentences for the artist.
    """

    rgba: UInt8Array
    known: Flags
    rig: Rig = CANONICAL_RIG
    rendered: Flags = NO_VIEW
    warnings: tuple[str, ...] = ()

    @classmethod
    def none(cls, px: int, rig: Rig = CANONICAL_RIG) -> FourViews:
        """No view yet, of a side of `px` pixels."""
        return cls(np.zeros((4, px, px, 4), np.uint8), NO_VIEW, rig)

    @classmethod
    def of(cls, images: Mapping[str, UInt8Array], rig: Rig = CANONICAL_RIG) -> FourViews:
        """Known views, uint8 [S, S, 4] each, at least one, keyed by a name of `VIEW_NAMES`."""
        return cls.none(next(iter(images.values())).shape[0], rig).with_views(images)

    def __getitem__(self, name: str) -> UInt8Array:
        if name not in VIEW_NAMES or not self._is_there(VIEW_NAMES.index(name)):
            raise KeyError(name)
        view: UInt8Array = self.rgba[VIEW_NAMES.index(name)]
        return view

    def __iter__(self) -> Iterator[str]:
        return (name for index, name in enumerate(VIEW_NAMES) if self._is_there(index))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @property
    def px(self) -> int:
        """Side of a view, pixels."""
        return int(self.rgba.shape[1])

    def with_views(self, images: Mapping[str, UInt8Array], *, are_rendered: bool = False) -> FourViews:
        """The same with some views put in, uint8 [S, S, 4] each: as known ones, or as rendered ones."""
        rgba = self.rgba.copy()
        for name, image in images.items():
            rgba[VIEW_NAMES.index(name)] = image
        known = _flags(self.known, images, not are_rendered)
        return replace(self, rgba=rgba, known=known, rendered=_flags(self.rendered, images, are_rendered))

    def with_warnings(self, *sentences: str) -> FourViews:
        """The same with more sentences for the artist, each of which is said once."""
        return replace(self, warnings=tuple(dict.fromkeys((*self.warnings, *sentences))))

    @property
    def to_reconstruct(self) -> FourViews:
        """The views that the reconstruction is made of: the known ones, or all of them if none is known."""
        return replace(self, known=self.known if any(self.known) else self.rendered, rendered=NO_VIEW)

    def _is_there(self, index: int) -> bool:
        return self.known[index] or self.rendered[index]


def _flags(before: Flags, names: Collection[str], value: bool) -> Flags:
    """Flags of views, those of some names set to `value`."""
    front, right, back, left = (value if name in names else flag for name, flag in zip(VIEW_NAMES, before, strict=True))
    return front, right, back, left
