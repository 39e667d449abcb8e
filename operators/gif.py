"""Animated GIF from frames in memory, with numpy alone: Blender's Python has no Pillow.

GIF89a, one palette for all frames, so that a turntable does not flicker. Welch 1984, A Technique for High-Performance Data
Compression (LZW).
"""

import struct

import numpy as np

PALETTE_SIZE = 256
CELL_BITS = 5  # colours are looked up by their 5 high bits per channel
CLEAR, END = 256, 257
MAX_CODES = 4096


def write_gif(path: str, frames, frame_s: float) -> None:
    """Write a GIF that loops for ever.

    Args:
        path: File to write.
        frames: Sequence of uint8 [H, W, 3], all of one size.
        frame_s: Seconds that each frame shows; GIF counts in hundredths.

    Raises:
        ValueError: No frames, or frames of several sizes.
    """
    shapes = {frame.shape for frame in frames}
    if len(shapes) != 1:
        raise ValueError(f"expected frames of one size, got {sorted(shapes)}")
    height, width, _ = next(iter(shapes))
    palette = choose_palette(frames)
    table = nearest_table(palette)
    delay = max(2, round(frame_s * 100))
    with open(path, "wb") as file:
        file.write(b"GIF89a" + struct.pack("<HHBBB", width, height, 0xF7, 0, 0) + palette.tobytes())
        file.write(b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00")
        for frame in frames:
            file.write(struct.pack("<BBBBHBB", 0x21, 0xF9, 4, 0, delay, 0, 0))
            file.write(struct.pack("<BHHHHB", 0x2C, 0, 0, width, height, 0) + b"\x08")
            file.write(_blocks(compress(table[_cells(frame)].ravel())))
        file.write(b"\x3b")


def choose_palette(frames) -> np.ndarray:
    """256 colours for all frames, uint8 [256, 3]: k-means over their cells of colour, weighted by the root of their area.

    Starts from the commonest cells and as many spread over the others; up to 256 cells come back exactly.
    """
    counts = np.zeros(1 << (3 * CELL_BITS), np.int64)
    sums = np.zeros((len(counts), 3))
    for frame in frames:
        cells = _cells(frame).ravel()
        counts += np.bincount(cells, minlength=len(counts))
        for axis in range(3):
            sums[:, axis] += np.bincount(cells, frame[..., axis].ravel(), len(counts))
    used = np.flatnonzero(counts)
    colours = (sums[used] / counts[used, None]).astype(np.float32)  # the mean of what is really in each cell
    centres = colours
    if len(used) > PALETTE_SIZE:
        weights = np.sqrt(counts[used])
        order = np.argsort(-weights, kind="stable")
        common, rest = order[: PALETTE_SIZE // 2], np.sort(order[PALETTE_SIZE // 2 :])
        spread = rest[np.linspace(0, len(rest) - 1, PALETTE_SIZE - len(common)).astype(int)]
        centres = colours[np.concatenate([common, spread])]
        for _ in range(12):
            nearest = _nearest(colours, centres)
            mass = np.bincount(nearest, weights, len(centres))[:, None]
            moved = np.stack([np.bincount(nearest, weights * colours[:, axis], len(centres)) for axis in range(3)], -1)
            centres = np.where(mass > 0, moved / np.maximum(mass, 1e-9), centres).astype(np.float32)
    palette = np.zeros((PALETTE_SIZE, 3), np.uint8)
    palette[: len(centres)] = np.round(centres)
    return palette


def nearest_table(palette: np.ndarray) -> np.ndarray:
    """uint8 [32768]: the nearest colour of the palette [256, 3] for each cell of colour."""
    return _nearest(_cell_centres(), palette.astype(np.float32)).astype(np.uint8)


def compress(indices: np.ndarray) -> bytes:
    """LZW codes of palette indices uint8 [N], packed from the lowest bit, starting with a clear code."""
    out = bytearray()
    accumulated, bits = CLEAR, 9
    table: dict[int, int] = {}
    width, following = 9, END + 1
    values = indices.tolist()
    prefix = values[0]
    for value in values[1:]:
        key = (prefix << 8) | value
        code = table.get(key)
        if code is not None:
            prefix = code
            continue
        accumulated |= prefix << bits
        bits += width
        if following < MAX_CODES:
            table[key] = following
            if following == 1 << width:
                width += 1
            following += 1
        else:
            accumulated |= CLEAR << bits
            bits += width
            table.clear()
            width, following = 9, END + 1
        prefix = value
        while bits >= 8:
            out.append(accumulated & 255)
            accumulated >>= 8
            bits -= 8
    accumulated |= prefix << bits
    bits += width
    if following == 1 << width and width < 12:
        width += 1  # the decoder has added an entry by now
    accumulated |= END << bits
    bits += width
    out += accumulated.to_bytes((bits + 7) // 8, "little")
    return bytes(out)


def _blocks(data: bytes) -> bytes:
    chunks = [data[start : start + 255] for start in range(0, len(data), 255)]
    return b"".join(bytes([len(chunk)]) + chunk for chunk in chunks) + b"\x00"


def _cells(frame: np.ndarray) -> np.ndarray:
    high = (frame >> (8 - CELL_BITS)).astype(np.int64)
    return (high[..., 0] << (2 * CELL_BITS)) | (high[..., 1] << CELL_BITS) | high[..., 2]


def _cell_centres() -> np.ndarray:
    index = np.arange(1 << (3 * CELL_BITS))
    mask = (1 << CELL_BITS) - 1
    high = np.stack([index >> (2 * CELL_BITS), (index >> CELL_BITS) & mask, index & mask], -1)
    return (high * (255.0 / mask)).astype(np.float32)  # white stays white, black stays black


def _nearest(colours: np.ndarray, centres: np.ndarray) -> np.ndarray:
    squared = (centres * centres).sum(-1)
    found = [np.argmin(squared - 2 * chunk @ centres.T, -1) for chunk in np.array_split(colours, max(1, len(colours) // 4096))]
    return np.concatenate(found)
