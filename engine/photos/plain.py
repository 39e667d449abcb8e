"""Find the subject in front of a plain background, offline: numpy and OpenCV only.

The background is a smooth colour field (plain, gradient or vignette) fitted robustly to the photo's border in CIE Lab. Pixels
that differ from it are the subject; GrabCut decides the doubtful ones on the *residual* image, which has no gradient.

Rother et al. 2004, GrabCut: Interactive Foreground Extraction using Iterated Graph Cuts.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]
UInt8Array = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]

WORK_PX = 384  # GrabCut's time grows with the area; the edge is refined at full size afterwards
BUSY_SPREAD = 9.0  # CIE Lab units of border colours around the fitted field above which a background is not plain
SHADOW_SHADE = (0.3, 0.95)
"""Lightness of a cast shadow, as a share of the background's."""
_NOISE_FLOOR = np.array([1.2, 0.8, 0.8], np.float32)  # Lab; JPEG and sensor noise that even a clean studio photo has
_RESIDUAL_GAIN = 2.5


@dataclass(frozen=True)
class PlainCut:
    """Result of the plain-background method.

    Attributes:
        mask: bool [h, w], True on the subject, at working size (longest side at most `WORK_PX`).
        border_spread: Distance of border colours from a smooth field, Lab units; see `border_spread`.
        is_plain: Whether the background is plain; if not, the mask is a guess from the centre, or empty.
    """

    mask: BoolArray
    border_spread: float
    is_plain: bool


def segment_plain(rgb: UInt8Array, *, guess: bool = True) -> PlainCut:
    """Separate the subject from a plain background.

    Args:
        rgb: uint8 [H, W, 3].
        guess: Guess from the centre where the background is not plain; otherwise the mask is then all False.

    Returns:
        The mask at working size; all False if nothing stands out.
    """
    # Fit a smooth colour field to the border; give up if the border is not smooth.
    small = work_size(rgb)
    lab = cv2.cvtColor(small.astype(np.float32) / 255.0, cv2.COLOR_RGB2LAB)
    smooth = cv2.GaussianBlur(lab, (0, 0), 1.0)
    ring = border_ring(*lab.shape[:2])
    field, inliers = _fit_field(smooth, ring)
    spread = border_spread(smooth, field, ring, inliers)
    if spread > BUSY_SPREAD:
        return PlainCut(from_centre(small) if guess else np.zeros(ring.shape, bool), spread, False)
    # Distance of every pixel from the field, and a refit on all background found.
    distance, residual = _distance(lab, smooth, field, ring & inliers)
    for _ in range(2):  # the border sees only the outskirts of a vignette: refit on all background found so far
        background = _connected_to_border(distance < 3.0) | (ring & inliers)
        if background.mean() < 0.02:
            break
        field, _ = _fit_field(smooth, background)
        distance, residual = _distance(lab, smooth, field, background)
    # Split the rest into soft shadow and subject, refine the outline, open the holes.
    background = _connected_to_border(distance < 3.5) | (ring & inliers & (distance < 4.5))
    shade_like, darker = _shade_like(smooth, field)
    shadow = _soft_shadow(shade_like, background)
    mask = _grab_cut(distance, residual, background, shadow)
    mask &= ~_cast_shadow(mask, smooth, field)
    return PlainCut(main_components(_open_holes(mask, distance, shade_like & (darker < 12))), spread, True)


def border_ring(height: int, width: int) -> BoolArray:
    """True [height, width] on the outer 4 % of the image."""
    thickness = max(2, round(0.04 * min(height, width)))
    ring = np.ones((height, width), bool)
    ring[thickness:-thickness, thickness:-thickness] = False
    return ring


def border_spread(lab: Float32Array, field: Float32Array, ring: BoolArray, inliers: BoolArray) -> float:
    """Distance of border colours from the fitted field, Lab units.

    The subject may touch the border, so a third of the border may lie anywhere; the rest tells how plain the background is.
    """
    distance = np.linalg.norm(lab - field, axis=-1)[ring]
    return float(np.percentile(distance, 67)) * (1.0 if inliers[ring].mean() > 0.5 else 1.5)


def work_size(rgb: UInt8Array) -> UInt8Array:
    """The photo with its longest side at most `WORK_PX`, uint8 [h, w, 3]."""
    height, width = rgb.shape[:2]
    scale = WORK_PX / max(height, width)
    if scale >= 1:
        return rgb
    size = (max(2, round(width * scale)), max(2, round(height * scale)))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def _fit_field(lab: Float32Array, where: BoolArray) -> tuple[Float32Array, BoolArray]:
    """A quadratic colour field [h, w, 3] through most of the pixels `where`, and where [h, w] it holds."""
    height, width = lab.shape[:2]
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    basis = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], -1)  # [h, w, 6]
    # Iteratively reweighted least squares on at most some 6000 pixels, starting from the median colour.
    step = max(1, int(where.sum()) // 6000)
    rows, values = basis[where][::step], lab[where][::step].astype(np.float64)
    weights = 1 / (1 + (np.linalg.norm(values - np.median(values, 0), axis=-1) / 12) ** 2)
    columns = 1
    for columns in (3, 3, 6, 6, 6, 6, 6, 6):  # a plane first, then the full field: robust from any start
        part = rows[:, :columns] * weights[:, None]
        normal = part.T @ rows[:, :columns] + 1e-3 * weights.sum() * np.diag([0.0, *[1.0] * (columns - 1)]) * 0.02
        coefficients = np.linalg.solve(normal, part.T @ values)
        error = np.linalg.norm(values - rows[:, :columns] @ coefficients, axis=-1)
        scale = max(1.5, 1.48 * float(np.median(error)))
        weights = 1 / (1 + (error / (2 * scale)) ** 2) ** 2
    field = (basis[..., :columns] @ coefficients).astype(np.float32)
    # Inliers lie within four robust standard deviations.
    inliers = np.linalg.norm(lab - field, axis=-1) < 4 * scale
    return field, inliers


def _distance(
    lab: Float32Array, smooth: Float32Array, field: Float32Array, background: BoolArray
) -> tuple[Float32Array, Float32Array]:
    """Distance [h, w] from the background in units of its own noise, and the residual [h, w, 3] in Lab units."""
    residual = smooth - field
    sample = residual[background]
    noise = np.maximum(1.48 * np.median(np.abs(sample), axis=0), _NOISE_FLOOR) if len(sample) else _NOISE_FLOOR
    return np.linalg.norm(residual / noise, axis=-1).astype(np.float32), (lab - field).astype(np.float32)


def _connected_to_border(mask: BoolArray) -> BoolArray:
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    edge = np.zeros(count, bool)
    for line in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        edge[line] = True
    edge[0] = False  # label 0 is what the mask leaves out
    return np.asarray(edge[labels])


def _shade_like(smooth: Float32Array, field: Float32Array) -> tuple[BoolArray, Float32Array]:
    """Mask [h, w] of pixels that look like shaded background, and how much darker each pixel is, Lab units."""
    # Shade scales lightness and chroma alike: compare the chroma with the scaled background.
    darker, shade, is_hue = _shade(smooth, field)
    # Steep slopes are outlines, not shade.
    slope = np.zeros(shade.shape, np.float32)
    for channel in cv2.split(smooth):
        slope += cv2.Sobel(channel, -1, 1, 0, scale=0.125) ** 2 + cv2.Sobel(channel, -1, 0, 1, scale=0.125) ** 2
    gentle = slope < 1.4**2
    return np.asarray(is_hue & (darker > -1) & (shade > 0.55) & gentle), darker


def _shade(smooth: Float32Array, field: Float32Array) -> tuple[Float32Array, Float32Array, BoolArray]:
    """How much darker each pixel is than the background, Lab units; its share of that lightness; and whether it has its hue."""
    darker = field[..., 0] - smooth[..., 0]
    shade = np.clip(smooth[..., 0] / np.maximum(field[..., 0], 1), 0, 1.5).astype(np.float32)
    hue_shift = np.linalg.norm(smooth[..., 1:] - field[..., 1:] * shade[..., None], axis=-1)
    return darker, shade, np.asarray(hue_shift < 2.5 + 0.08 * np.maximum(darker, 0))


def _cast_shadow(mask: BoolArray, smooth: Float32Array, field: Float32Array) -> BoolArray:
    """Mask [h, w] of the hard-edged shadows that the subject casts on the ground.

    Such a shadow is an even piece of darker background that begins at the subject's foot and sticks out of it. A grey part of
    the subject lies within the outline of the others, or above its foot.
    """
    _, shade, is_hue = _shade(smooth, field)
    candidates = mask & is_hue & (shade > SHADOW_SHADE[0]) & (shade < SHADOW_SHADE[1])
    even = candidates & (np.abs(shade - cv2.blur(shade, (5, 5))) < 0.04)
    core = cv2.morphologyEx(even.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(core, connectivity=8)
    found, shades = np.zeros_like(mask), []
    maybe: list[tuple[BoolArray, float]] = []
    for label in range(1, count):
        if stats[label, cv2.CC_STAT_AREA] < 0.003 * mask.sum():
            continue
        # The piece with its edges, which are lighter, and what is left of the subject without it. It lies below the middle.
        piece = _dilated(labels == label, 3) & candidates
        rest = _without_crumbs(mask & ~piece, candidates)
        rows = np.flatnonzero(rest.any(1))
        top, piece_shade = np.percentile(np.nonzero(piece)[0], 5), float(np.median(shade[piece]))
        if rest.sum() < 0.3 * mask.sum() or top < rows[-1] - 0.6 * np.ptp(rows):
            continue
        # Some of it lies outside the outline of the rest, or its middle beside what stands there.
        hull = cv2.fillConvexPoly(np.zeros(mask.shape, np.uint8), cv2.convexHull(cv2.findNonZero(rest.astype(np.uint8))), 1)
        beside = np.flatnonzero(rest[int(top) :].any(0))
        middle = np.nonzero(piece)[1].mean()
        if (hull[piece] == 0).mean() > 0.2 or not len(beside) or not beside[0] <= middle <= beside[-1]:
            found |= piece
            shades.append(piece_shade)
        else:
            maybe.append((piece, piece_shade))
    # Where one piece is a shadow, others that are as dark are shadow too: between legs, under a table.
    for piece, piece_shade in maybe:
        if any(abs(piece_shade - one) < 0.04 for one in shades):
            found |= piece
    return found


def _without_crumbs(mask: BoolArray, shaded: BoolArray) -> BoolArray:
    """A mask [h, w] without the components that are nothing but shaded background: what is left around a shadow."""
    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    size = np.bincount(labels.ravel())
    is_crumb = np.bincount(labels[shaded & mask], minlength=len(size)) > 0.8 * size
    return mask & ~is_crumb[labels]


def _soft_shadow(shade_like: BoolArray, background: BoolArray) -> BoolArray:
    """Mask [h, w] of the subject's soft shadow on the background.

    A shadow is the background made darker, of the same hue, and it fades: the background is grown into it across gentle
    slopes only. A subject of the same hue is safe behind its outline, which is steep.
    """
    kernel = np.ones((5, 5), np.uint8)  # a leak through a faint stretch of the outline must be wide to count
    wide = cv2.erode((shade_like | background).astype(np.uint8), kernel) > 0
    grown = cv2.dilate(_connected_to_border(wide).astype(np.uint8), kernel) > 0
    shadow = grown & shade_like & ~background
    subject = ~background & ~shadow
    return shadow if subject.sum() > 0.3 * (~background).sum() else np.zeros_like(shadow)


def _grab_cut(distance: Float32Array, residual: Float32Array, background: BoolArray, shadow: BoolArray) -> BoolArray:
    simple = (distance > 5) & ~background & ~shadow
    rows, columns = np.flatnonzero(simple.any(1)), np.flatnonzero(simple.any(0))
    if len(rows) == 0:
        return simple
    # Seeds: far from the background's colour is subject, well inside the background is background.
    foreground = cv2.morphologyEx((distance > 9).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0
    labels = np.where(simple, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[_eroded(background | shadow, 2)] = cv2.GC_BGD
    certain = (_eroded(foreground, 1) & ~_dilated(shadow, 3)) | (distance > 16)
    labels[certain & simple] = cv2.GC_FGD
    # GrabCut decides the rest, on residual colours in a window around the subject.
    near = np.s_[max(0, rows[0] - 16) : rows[-1] + 17, max(0, columns[0] - 16) : columns[-1] + 17]
    part = np.ascontiguousarray(labels[near])
    if not (part == cv2.GC_FGD).any() or not (part == cv2.GC_BGD).any():
        return simple
    picture = np.clip(residual[near] * _RESIDUAL_GAIN + 128, 0, 255).astype(np.uint8)
    cv2.setRNGSeed(0)
    cv2.grabCut(picture, part, None, np.zeros((1, 65)), np.zeros((1, 65)), 2, cv2.GC_INIT_WITH_MASK)
    cut = np.zeros_like(simple)
    cut[near] = (part == cv2.GC_FGD) | (part == cv2.GC_PR_FGD)
    # Keep the threshold's mask if GrabCut disagrees with most of it.
    overlap = (cut & simple).sum() / max(1, (cut | simple).sum())
    return cut if overlap > 0.5 else simple


def _eroded(mask: BoolArray, radius: int) -> BoolArray:
    return cv2.erode(mask.astype(np.uint8), np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)) > 0


def _dilated(mask: BoolArray, radius: int) -> BoolArray:
    return cv2.dilate(mask.astype(np.uint8), np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)) > 0


def _open_holes(mask: BoolArray, distance: Float32Array, shaded: BoolArray) -> BoolArray:
    """Open the enclosed gaps that show the background (a handle's loop); fill those that are part of the subject.

    Both have the background's colour. A real gap ends in a step of colour; a highlight or a white patch on a white object
    fades, or is bounded by detail that is itself close to the background's colour. Small gaps are more often print or a
    glint than a view through, and cost little if they are filled.
    """
    # Fill every enclosed gap, then look at each that has the background's colour.
    result = mask | (~mask & ~_connected_to_border(~mask))
    enclosed = result & ((distance < 4.0) | shaded)
    enclosed &= ~_touching(enclosed, ~result)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(enclosed.astype(np.uint8), connectivity=4)
    smallest = max(6, 0.003 * result.sum())
    for label in range(1, count):
        x, y, w, h, area = stats[label]
        if area < smallest or (area < 3 * smallest and np.median(distance[labels == label]) > 4.0):
            continue
        # Open the gap if a rim just around it is clearly subject.
        window = np.s_[max(0, y - 5) : y + h + 5, max(0, x - 5) : x + w + 5]
        gap = labels[window] == label
        rim = _dilated(gap, 4) & ~_dilated(gap, 2)
        if rim.any() and float(np.percentile(distance[window][rim], 20)) > 8.0:
            result[window] &= ~(gap | (_dilated(gap, 1) & (distance[window] < 8.0)))
    return np.asarray(result, bool)


def _touching(mask: BoolArray, other: BoolArray) -> BoolArray:
    """The components of `mask` that have a neighbour in `other`."""
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    hit = np.zeros(count, bool)
    hit[labels[_dilated(other, 1)]] = True
    hit[0] = False
    return np.asarray(hit[labels])


def main_components(mask: BoolArray) -> BoolArray:
    """Without specks, and without clutter at the edge when the subject stands clear of it."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count <= 1:
        return np.zeros_like(mask)
    height, width = mask.shape
    areas = stats[:, cv2.CC_STAT_AREA].astype(np.float64)
    areas[0] = 0
    left, top = stats[:, cv2.CC_STAT_LEFT], stats[:, cv2.CC_STAT_TOP]
    right, bottom = left + stats[:, cv2.CC_STAT_WIDTH], top + stats[:, cv2.CC_STAT_HEIGHT]
    at_edge = (left == 0) | (top == 0) | (right == width) | (bottom == height)
    # The main part is the largest; parts that touch the edge count less.
    main = int(np.argmax(np.where(at_edge, 0.35, 1.0) * areas))
    keep = areas >= max(0.002 * areas[main], 6)
    if not at_edge[main]:
        keep &= ~at_edge
    keep[0] = False
    return np.asarray(keep[labels])


def from_centre(rgb: UInt8Array) -> BoolArray:
    """A guess for busy backgrounds: border colours are background, the middle is probably the subject."""
    height, width = rgb.shape[:2]
    labels = np.full((height, width), cv2.GC_PR_BGD, np.uint8)
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    labels[x * x + y * y < 0.5] = cv2.GC_PR_FGD
    labels[border_ring(height, width)] = cv2.GC_BGD
    cv2.setRNGSeed(0)
    cv2.grabCut(rgb, labels, None, np.zeros((1, 65)), np.zeros((1, 65)), 4, cv2.GC_INIT_WITH_MASK)
    mask = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    filled = mask | (~mask & ~_connected_to_border(~mask))
    return main_components(np.asarray(filled, bool))
