"""The GIF writer, judged by Pillow in the engine's Python and by a decoder of the bit stream here."""

from __future__ import annotations

import json
import os
import subprocess

import numpy as np
import pytest

PILLOW = """
import json, sys
from PIL import Image, ImageSequence
import numpy as np
image = Image.open(sys.argv[1])
frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)]
np.save(sys.argv[2], np.stack(frames))
print(json.dumps({"loop": image.info.get("loop"), "duration": image.info.get("duration"), "format": image.format}))
"""


def decoded(path, tmp_path):
    """What Pillow reads: frames uint8 [N, H, W, 3] and a dict with loop, duration (ms) and format."""
    out = tmp_path / "frames.npy"
    command = [os.environ["TETRAVIEW_ENGINE_PYTHON"], "-c", PILLOW, str(path), str(out)]
    facts = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout)
    return np.load(out), facts


def test_few_colours_come_back_exactly(ext, tmp_path):
    colours = np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0], [3, 130, 254]], np.uint8)
    frames = list(colours[np.random.default_rng(1).integers(0, 4, (3, 37, 53))])
    ext.module("operators.gif").write_gif(str(tmp_path / "a.gif"), frames, 0.05)
    back, facts = decoded(tmp_path / "a.gif", tmp_path)
    assert facts == {"loop": 0, "duration": 50, "format": "GIF"}
    assert np.array_equal(back, np.stack(frames))


def test_a_smooth_picture_comes_back_closely(ext, tmp_path):
    y, x = np.mgrid[0:120, 0:160] / 160
    frames = [(np.stack([x, y, (x + shift) % 1], -1) * 255).astype(np.uint8) for shift in (0.0, 0.2)]
    ext.module("operators.gif").write_gif(str(tmp_path / "a.gif"), frames, 0.04)
    back, _ = decoded(tmp_path / "a.gif", tmp_path)
    assert np.abs(back.astype(int) - np.stack(frames)).mean() < 8


@pytest.mark.parametrize("size", [1, 2, 255, 256, 511, 70_000])
def test_lzw_survives_every_change_of_code_width(ext, size):
    gif = ext.module("operators.gif")
    for indices in (np.random.default_rng(size).integers(0, 256, size), np.zeros(size, np.int64)):
        assert decompress(gif.compress(indices.astype(np.uint8))) == indices.tolist()


def decompress(data: bytes) -> list[int]:
    """GIF's LZW with 8-bit roots, written from the specification."""
    bits, position = int.from_bytes(data, "little"), 0
    width, table, previous, out = 9, [], None, []
    raw = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little").tolist()
    del bits
    while True:
        code = sum(bit << place for place, bit in enumerate(raw[position : position + width]))
        position += width
        if code == 256:
            width, table, previous = 9, [[value] for value in range(256)] + [[], []], None
            continue
        if code == 257:
            assert len(raw) - position < 8
            return out
        if previous is None:
            entry = table[code]
        else:
            entry = table[code] if code < len(table) else [*previous, previous[0]]
            if len(table) < 4096:
                table.append([*previous, entry[0]])
            if len(table) == 1 << width and width < 12:
                width += 1
        out += entry
        previous = entry


def test_frames_of_two_sizes_are_refused(ext, tmp_path):
    with pytest.raises(ValueError, match="one size"):
        ext.module("operators.gif").write_gif(
            str(tmp_path / "a.gif"), [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)], 0.1
        )
