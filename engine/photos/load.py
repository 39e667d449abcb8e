"""Open a photo of any kind Pillow reads, or HEIC, and hand it over as upright 8-bit sRGB with alpha, at a workable size."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, UnidentifiedImageError

from ..errors import PhotoError
from ..photo_names import kind_sentence

UInt8Array = npt.NDArray[np.uint8]

MAX_FILE_BYTES = 1_000_000_000
MIN_SIDE_PX = 32
MAX_SIDE_PX = 16_384
MAX_DECODED_PIXELS = 80_000_000  # about 0.3 GB as RGBA
WORK_SIDE_PX = 2_000
"""The longest side of what `load_photo` returns; also lets JPEGs of 4,000 px and more be decoded at half size."""

_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_DRAWINGS = {"EPS", "WMF"}  # Pillow would start another program to read these


def load_photo(path: str | os.PathLike[str]) -> UInt8Array:
    """Read a photo: first frame, upright (EXIF), sRGB (embedded profile applied), straight alpha.

    Photos whose longest side exceeds `WORK_SIDE_PX` are reduced to it.

    Args:
        path: An image file that Pillow can open, 32 to 16,384 px a side.

    Returns:
        uint8 [H, W, 4], RGBA; alpha is 255 where the file has none.

    Raises:
        PhotoError: The file is missing, no image, damaged, too small or too large; one sentence that names it.
    """
    file = Path(path)
    data = _read_bytes(file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about sizes (we have our own limits) and about broken EXIF
        with _open(file, data) as image:
            _check_header(file, image)
            try:
                return _decode(file, image)
            except PhotoError:
                raise
            except Exception as error:  # every plugin has its own kinds: OSError, SyntaxError, struct.error, zlib.error ...
                raise PhotoError(f"The photo {file.name} is damaged or incomplete: export or copy it again.") from error


def check_photo_file(file: Path) -> None:
    """Raise `PhotoError`, in one sentence, if a photo is no file."""
    try:
        if file.is_dir():
            raise PhotoError(f"{file.name or file} is a folder: choose a photo inside it.")
        if not file.exists():
            raise PhotoError(f"There is no photo {file.name}: it was moved, renamed or deleted ({file}).")
        if not file.is_file():
            raise PhotoError(f"{file.name} is not a file: choose a photo.")
        if file.stat().st_size > MAX_FILE_BYTES:
            raise PhotoError(f"The photo {file.name} is larger than {MAX_FILE_BYTES / 1e9:.0f} GB: export it again, smaller.")
    except (OSError, ValueError) as error:
        raise PhotoError(_unreadable(file, error)) from error


def _unreadable(file: Path, error: Exception) -> str:
    reason = getattr(error, "strerror", None) or error
    return f"The photo {file.name!r} cannot be read: {str(reason).lower()}."


def _read_bytes(file: Path) -> bytes:
    check_photo_file(file)
    try:
        data = file.read_bytes()
    except (OSError, ValueError) as error:
        raise PhotoError(_unreadable(file, error)) from error
    if not data:
        raise PhotoError(f"The photo {file.name} is empty (0 bytes): export or copy it again.")
    return data


def _open(file: Path, data: bytes) -> Image.Image:
    """The image with only its header read."""
    if data[4:8] == b"ftyp" and data[8:12] != b"avif":
        _learn_heic(file)
    try:
        return Image.open(io.BytesIO(data))
    except Image.DecompressionBombError as error:
        raise PhotoError(
            f"The photo {file.name} is too large: reduce it to at most {MAX_SIDE_PX:,} pixels a side and 150 megapixels."
        ) from error
    except UnidentifiedImageError as error:
        unknown = f"{file.name} is not an image, or it is damaged: choose a PNG, JPEG, HEIC, WebP or TIFF photo."
        raise PhotoError(kind_sentence(file.name) or unknown) from error
    except Exception as error:  # a plugin tripped over the header
        raise PhotoError(f"The photo {file.name} is damaged or incomplete: export or copy it again.") from error


def _learn_heic(file: Path) -> None:
    """Teach Pillow to read HEIC, the format of iPhones; the decoder is loaded by the first file that may be one."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        if file.suffix.lower() in (".heic", ".heif"):
            raise PhotoError(
                f"{file.name} is a HEIC photo, which this installation of the engine cannot read: press Install Engine again, or "
                "export the photo as JPEG."
            ) from error
        return
    register_heif_opener()


def _check_header(file: Path, image: Image.Image) -> None:
    width, height = image.size
    if image.format in _DRAWINGS:
        raise PhotoError(f"{file.name} is a drawing ({image.format}), not a photo: export it as PNG.")
    if max(width, height) > MAX_SIDE_PX:
        raise PhotoError(f"The photo {file.name} is too large ({width} x {height} pixels): reduce it to {MAX_SIDE_PX} a side.")
    if min(width, height) < MIN_SIDE_PX:
        raise PhotoError(
            f"The photo {file.name} is too small ({width} x {height} pixels): use one of at least {MIN_SIDE_PX} x {MIN_SIDE_PX}."
        )


def _decode(file: Path, image: Image.Image) -> UInt8Array:
    profile = image.info.get("icc_profile")
    scale = max(1.0, max(image.size) / WORK_SIDE_PX)
    image.draft(None, (int(image.width / scale), int(image.height / scale)))  # JPEG only: decodes at 1/2, 1/4 or 1/8
    if image.width * image.height > MAX_DECODED_PIXELS:
        raise PhotoError(
            f"The photo {file.name} is too large ({image.width} x {image.height} pixels): "
            f"reduce it to at most {MAX_DECODED_PIXELS // 1_000_000} megapixels."
        )
    image.load()
    orientation = _orientation(image)
    eight_bit = _eight_bit(image)
    if max(eight_bit.size) > WORK_SIDE_PX:
        eight_bit.thumbnail((WORK_SIDE_PX, WORK_SIDE_PX), Image.Resampling.BICUBIC, reducing_gap=2.0)
    rgba = _to_srgb(eight_bit, profile)
    if orientation in _UPRIGHT:
        rgba = rgba.transpose(_UPRIGHT[orientation])
    return np.array(rgba, np.uint8)  # [H, W, 4], a copy of our own


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # broken EXIF must not cost the artist the photo
        return 1


def _eight_bit(image: Image.Image) -> Image.Image:
    """The same picture in a mode of 8 bits a channel that can be resampled: L, LA, RGB, RGBA, CMYK or LAB."""
    mode = image.mode
    if mode.startswith("I;16"):
        return _grey(np.asarray(image).astype(np.float32) / 65535.0, image)
    if mode in ("I", "F"):
        return _grey(_unit_range(np.asarray(image)), image)
    if mode in ("L", "RGB"):
        return image.convert("RGBA") if "transparency" in image.info else image
    if mode in ("RGBA", "CMYK", "LAB", "LA"):
        return image
    if mode == "1":
        return image.convert("L")
    if mode in ("P", "PA", "La", "RGBa"):
        return image.convert("RGBA")
    return image.convert("RGB")  # YCbCr, HSV, RGBX, ...


def _unit_range(values: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """32-bit grey [H, W] as 0..1: by the range its maximum belongs to, or stretched if it belongs to none."""
    numbers = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(numbers.min()), float(numbers.max())
    whole = np.issubdtype(values.dtype, np.integer)
    for full in (255.0, 65535.0) if whole else (1.0, 255.0, 65535.0):
        if low >= 0 and high <= full:
            return (numbers / full).astype(np.float32)
    return ((numbers - low) / max(high - low, 1e-12)).astype(np.float32)


def _grey(unit: npt.NDArray[np.float32], source: Image.Image) -> Image.Image:
    grey = Image.fromarray((unit * 255 + 0.5).astype(np.uint8))
    key = source.info.get("transparency")
    if isinstance(key, int) and source.mode != "F":  # a 16-bit PNG may name one value as transparent
        alpha = np.where(np.asarray(source) == key, 0, 255).astype(np.uint8)
        grey = Image.merge("LA", (grey, Image.fromarray(alpha)))
    return grey


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """RGBA in sRGB. Without a usable profile the numbers are taken as sRGB (CMYK: Pillow's plain conversion)."""
    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    colour = {"LA": "L", "RGBA": "RGB"}.get(image.mode, image.mode)
    image = image.convert(colour) if colour != image.mode else image
    converted = _through_profile(image, profile)
    rgba = (converted or image).convert("RGBA")
    if alpha is not None:
        rgba.putalpha(alpha)
    return rgba


def _through_profile(image: Image.Image, profile: bytes | None) -> Image.Image | None:
    if profile is None and image.mode != "LAB":
        return None
    try:
        source = ImageCms.createProfile("LAB") if image.mode == "LAB" else ImageCms.ImageCmsProfile(io.BytesIO(profile or b""))
        if image.mode != "LAB" and "sRGB" in ImageCms.getProfileDescription(source):
            return None
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        if image.mode == "LAB":
            raise
        return None  # a broken profile, or one for another kind of image: the plain numbers are the better guess
