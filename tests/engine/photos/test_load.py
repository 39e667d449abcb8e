"""More than fifty malformed or odd pictures: each is read right or refused in one clear sentence."""

import io
import os
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from tetraview.engine.errors import PhotoError
from tetraview.engine.photos.load import WORK_SIDE_PX, load_photo

# Four quadrants, so that any turn or mirroring shows: red, green / blue, yellow.
QUADRANTS = np.array([[(200, 40, 40), (40, 180, 60)], [(40, 60, 200), (220, 210, 60)]], np.uint8)


def chart(width=96, height=64, mode="RGB"):
    return Image.fromarray(QUADRANTS).resize((width, height), Image.Resampling.NEAREST).convert(mode)


def corners(rgba):
    """Colours [2, 2, 3] at the middles of the quadrants."""
    height, width = rgba.shape[:2]
    return rgba[[[height // 4], [3 * height // 4]], [[width // 4, 3 * width // 4]], :3].astype(int)


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_16_bit(depth_colour, rows, extra=b""):
    """A PNG with 16 bits a channel, written by hand; Pillow writes only grey ones. rows: uint16 [H, W] or [H, W, C]."""
    height, width = rows.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, depth_colour, 0, 0, 0)
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows)
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + png_chunk(b"IHDR", header) + extra + png_chunk(b"IDAT", zlib.compress(lines)) + png_chunk(b"IEND", b"")


def png_header_only(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(b"\0" * 100))


def saved(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def heic(image, **options):
    from pillow_heif import from_pillow

    stream = io.BytesIO()
    from_pillow(image).save(stream, **{"quality": 90, **options})
    return stream.getvalue()


def written(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    return path


def with_alpha():
    image = chart(mode="RGBA")
    alpha = np.full((64, 96), 255, np.uint8)
    alpha[:32, 48:] = 0
    image.putalpha(Image.fromarray(alpha))
    return image


def transparent_palette():
    image = chart().quantize(4)
    index = image.getpixel((72, 10))  # the green quadrant
    return saved(image, "PNG", transparency=index)


def animated(kind):
    frames = [chart(), Image.new("RGB", (96, 64), "black")]
    return saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=50)


def sixteen_bit_tiff():
    values = np.repeat(np.repeat(QUADRANTS.astype(np.uint16) * 257, 32, 0), 48, 1)  # [64, 96, 3]
    data = values.astype("<u2").tobytes()
    tags = [
        (256, 4, 1, 96), (257, 4, 1, 64), (258, 3, 3, 0), (259, 3, 1, 1), (262, 3, 1, 2),
        (273, 4, 1, 0), (277, 3, 1, 3), (278, 4, 1, 64), (279, 4, 1, len(data)),
    ]  # fmt: skip
    after = 8 + 2 + 12 * len(tags) + 4
    offsets = {258: after, 273: after + 6}
    directory = b"".join(struct.pack("<HHII", tag, kind, count, offsets.get(tag, value)) for tag, kind, count, value in tags)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + directory + b"\0\0\0\0" + struct.pack("<HHH", 16, 16, 16) + data


def profiled_jpeg():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return saved(chart(), "JPEG", quality=95, icc_profile=profile)


COLOUR = {
    "rgb.png": lambda: saved(chart(), "PNG"),
    "rgb.bmp": lambda: saved(chart(), "BMP"),
    "rgb.tga": lambda: saved(chart(), "TGA"),
    "rgb.ppm": lambda: saved(chart(), "PPM"),
    "rgb.pcx": lambda: saved(chart(), "PCX"),
    "rgb.sgi": lambda: saved(chart(), "SGI"),
    "rgb.tif": lambda: saved(chart(), "TIFF"),
    "lzw.tif": lambda: saved(chart(), "TIFF", compression="tiff_lzw"),
    "rgb.webp": lambda: saved(chart(), "WEBP", lossless=True),
    "rgb.jp2": lambda: saved(chart(), "JPEG2000"),
    "rgb.qoi": lambda: saved(chart(), "QOI"),
    "rgb.avif": lambda: saved(chart(), "AVIF", quality=95),
    "rgb.ico": lambda: saved(chart(64, 64), "ICO", sizes=[(64, 64)]),
    "rgb.jpg": lambda: saved(chart(), "JPEG", quality=95),
    "progressive.jpg": lambda: saved(chart(), "JPEG", quality=95, progressive=True),
    "cmyk.jpg": lambda: saved(chart(mode="CMYK"), "JPEG", quality=95),
    "cmyk.tif": lambda: saved(chart(mode="CMYK"), "TIFF"),
    "ycbcr.tif": lambda: saved(chart(mode="YCbCr"), "TIFF"),
    "lab.tif": lambda: saved(
        ImageCms.profileToProfile(chart(), *(ImageCms.createProfile(p) for p in ("sRGB", "LAB")), outputMode="LAB"), "TIFF"
    ),
    "profile.jpg": profiled_jpeg,
    "broken_profile.png": lambda: saved(chart(), "PNG", icc_profile=b"no profile at all" * 20),
    "palette.png": lambda: saved(chart().quantize(8), "PNG"),
    "palette.gif": lambda: saved(chart().quantize(8), "GIF"),
    "palette.bmp": lambda: saved(chart().quantize(8), "BMP"),
    "animated.gif": lambda: animated("GIF"),
    "animated.png": lambda: animated("PNG"),
    "phone.HEIC": lambda: heic(chart()),
    # HEIC turns by a box of its own, and repeats it in the EXIF: it is turned once.
    "turned.heic": lambda: heic(chart().transpose(Image.Transpose.ROTATE_90), exif=exif_of(6).tobytes()),
    "animated.webp": lambda: saved(
        chart(), "WEBP", save_all=True, append_images=[Image.new("RGB", (96, 64))], lossless=True, duration=50
    ),
    "pages.tif": lambda: animated("TIFF"),
    "two_pictures.mpo": lambda: saved(chart(), "MPO", save_all=True, append_images=[Image.new("RGB", (96, 64))], quality=95),
    "rgb16.png": lambda: png_16_bit(2, np.repeat(np.repeat(QUADRANTS.astype(np.uint16) * 257, 32, 0), 48, 1)),
    "rgb16.tif": sixteen_bit_tiff,
    "wrong_ending.txt": lambda: saved(chart(), "PNG"),
    "broken_exif.jpg": lambda: saved(chart(), "JPEG", quality=95, exif=b"Exif\0\0II*\0\xff\xff\xff\x7fgarbage"),
    "odd_orientation.jpg": lambda: saved(chart(), "JPEG", quality=95, exif=exif_of(77)),
    "trailing_garbage.png": lambda: saved(chart(), "PNG") + b"tail" * 500,
}
GREY = {
    "grey.png": lambda: saved(chart(mode="L"), "PNG"),
    "grey.jpg": lambda: saved(chart(mode="L"), "JPEG", quality=95),
    "grey_alpha.png": lambda: saved(chart(mode="LA"), "PNG"),
    "grey16.png": lambda: saved(Image.fromarray(np.asarray(chart(mode="L")).astype(np.uint16) * 257), "PNG"),
    "grey16.tif": lambda: saved(Image.fromarray(np.asarray(chart(mode="L")).astype(np.uint16) * 257), "TIFF"),
    "grey32.tif": lambda: saved(Image.fromarray(np.asarray(chart(mode="L")).astype(np.int32) * 257), "TIFF"),
    "float.tif": lambda: saved(Image.fromarray(np.asarray(chart(mode="L")).astype(np.float32) / 255), "TIFF"),
    "grey.pgm": lambda: saved(chart(mode="L"), "PPM"),
}
BROKEN = {
    "empty.png": (lambda: b"", "empty"),
    "text.jpg": (lambda: b"this is no picture, whatever it is called" * 5, "not an image"),
    "zeros.png": (lambda: bytes(4000), "not an image"),
    "noise.webp": (lambda: np.random.default_rng(0).bytes(3000), "not an image"),
    "signature.png": (lambda: b"\x89PNG\r\n\x1a\n", "not an image|damaged"),
    "half.png": (lambda: half(saved(noise(), "PNG")), "damaged"),
    "half.jpg": (lambda: half(saved(noise(), "JPEG")), "damaged"),
    "half.gif": (lambda: half(saved(noise().quantize(200), "GIF")), "damaged"),
    "half.webp": (lambda: half(saved(noise(), "WEBP")), "damaged|not an image"),
    "half.tif": (lambda: half(saved(noise(), "TIFF")), "damaged|not an image"),
    "half.bmp": (lambda: half(saved(noise(), "BMP")), "damaged"),
    "half.avif": (lambda: half(saved(noise(), "AVIF")), "damaged|not an image"),
    "flipped.png": (lambda: flipped(saved(noise(), "PNG")), "damaged"),
    "one.png": (lambda: saved(chart(1, 1), "PNG"), r"too small \(1 x 1 pixels\)"),
    "line.png": (lambda: saved(chart(300, 1), "PNG"), r"too small \(300 x 1 pixels\)"),
    "huge.png": (lambda: png_header_only(20_000, 20_000), "too large"),
    "long.png": (lambda: png_header_only(20_000, 40), r"too large \(20000 x 40 pixels\)"),
    "many.png": (lambda: png_header_only(12_000, 12_000), "too large"),
    "bomb.png": (lambda: png_header_only(2**31 - 1, 2**31 - 1), "too large"),
    "zero_size.png": (lambda: png_header_only(0, 0), "damaged|not an image|too small"),
    "drawing.svg": (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG.*PNG"),
    "phone.HEIC": (lambda: b"\0\0\0\x18ftypheic" + bytes(200), "phone.HEIC.*damaged"),
    "half.heic": (lambda: half(heic(noise())), "damaged"),
    "raw.CR2": (lambda: b"no TIFF" + bytes(200), "raw photo.*PNG"),
    "drawing.eps": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 200 200\n%%EndComments\nshowpage\n", "drawing"),
    "film.mp4": (lambda: b"\0\0\0\x18ftypmp42" + bytes(200), "video"),
}


def half(data):
    return data[: len(data) // 2]


def flipped(data):
    middle = len(data) // 2
    return data[:middle] + bytes(byte ^ 0xFF for byte in data[middle : middle + 40]) + data[middle + 40 :]


def noise(width=120, height=90):
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8))


def exif_of(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def test_there_are_at_least_fifty_odd_pictures():
    assert len(COLOUR) + len(GREY) + len(BROKEN) >= 50


@pytest.mark.parametrize("name", COLOUR)
def test_colour_pictures_of_every_kind(tmp_path, name):
    rgba = load_photo(written(tmp_path, name, COLOUR[name]()))
    assert rgba.dtype == np.uint8 and rgba.shape == ((64, 64, 4) if name.endswith(".ico") else (64, 96, 4))
    tolerance = 4 if name.startswith(("rgb16", "rgb.png", "animated", "palette")) else 14
    assert np.abs(corners(rgba) - QUADRANTS).max() <= tolerance
    assert (rgba[..., 3] == 255).all()


@pytest.mark.parametrize("name", GREY)
def test_grey_pictures_of_every_kind(tmp_path, name):
    rgba = load_photo(written(tmp_path, name, GREY[name]()))
    wanted = corners(np.asarray(chart(mode="L").convert("RGBA")))
    assert rgba.shape == (64, 96, 4) and np.abs(corners(rgba) - wanted).max() <= 3 and (rgba[..., 3] == 255).all()


@pytest.mark.parametrize("name", BROKEN)
def test_unusable_files_get_one_sentence_with_their_name(tmp_path, name):
    make, says = BROKEN[name]
    path = written(tmp_path, name, make())
    with warnings.catch_warnings(), pytest.raises(PhotoError, match=says) as caught:
        warnings.simplefilter("error")  # nothing may leak out as a warning either
        load_photo(path)
    text = str(caught.value)
    assert name in text and "\n" not in text and text.endswith(".") and text.count(". ") == 0


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_exif_turns_the_photo_upright(tmp_path, orientation, kind):
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    stored = chart().transpose(undo[orientation]) if orientation in undo else chart()
    path = written(tmp_path, "turned", saved(stored, kind, exif=exif_of(orientation)))
    rgba = load_photo(path)
    assert rgba.shape == (64, 96, 4) and np.abs(corners(rgba) - QUADRANTS).max() <= 14


@pytest.mark.parametrize(
    "make",
    [
        lambda: saved(with_alpha(), "PNG"),
        lambda: saved(with_alpha(), "WEBP"),
        lambda: heic(with_alpha(), quality=-1),
        transparent_palette,
    ],
)
def test_transparency_is_kept(tmp_path, make):
    rgba = load_photo(written(tmp_path, "clear.png", make()))
    assert (rgba[:32, 48:, 3] == 0).all() and (rgba[32:, :, 3] == 255).all() and (rgba[:32, :48, 3] == 255).all()


def test_sixteen_bit_key_colour_is_transparent(tmp_path):
    rows = np.full((40, 40), 30_000, np.uint16)
    rows[:, 20:] = 500
    path = written(tmp_path, "key.png", png_16_bit(0, rows, png_chunk(b"tRNS", struct.pack(">H", 500))))
    rgba = load_photo(path)
    assert (rgba[:, 20:, 3] == 0).all() and (rgba[:, :20, 3] == 255).all() and abs(int(rgba[0, 0, 0]) - 117) <= 1


def test_embedded_profile_is_applied(tmp_path):
    """The profile is sRGB's own with its curve replaced by a straight line, so that the numbers mean linear light."""
    srgb = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack(">I", srgb[128:132])[0]
    for index in range(count):
        tag, offset, _ = struct.unpack(">4sII", srgb[132 + 12 * index : 144 + 12 * index])
        if tag in (b"rTRC", b"gTRC", b"bTRC"):  # one parametric curve: make it plain gamma 1
            srgb[offset : offset + 16] = b"para\0\0\0\0\0\0\0\0" + struct.pack(">i", 65536)
        if tag == b"desc":
            srgb[offset + 12 : offset + 60] = srgb[offset + 12 : offset + 60].replace(b"s\0R\0G\0B", b"l\0i\0n\0e")
    assert "sRGB" not in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(bytes(srgb))))
    linear = Image.new("RGB", (40, 40), (55, 55, 55))  # 0.2157 in linear light
    rgba = load_photo(written(tmp_path, "linear.png", saved(linear, "PNG", icc_profile=bytes(srgb))))
    assert np.abs(rgba[..., :3].astype(int) - 128).max() <= 2  # 0.5 in sRGB


def test_large_photos_are_reduced(tmp_path):
    path = written(tmp_path, "large.jpg", saved(chart(6000, 4000), "JPEG"))
    rgba = load_photo(path)
    assert rgba.shape == (1333, WORK_SIDE_PX, 4) and np.abs(corners(rgba) - QUADRANTS).max() <= 8
    wide = load_photo(written(tmp_path, "wide.png", saved(chart(3001, 32), "PNG")))
    assert max(wide.shape) == WORK_SIDE_PX and np.abs(corners(wide) - QUADRANTS).max() <= 4


def test_places_that_are_no_files(tmp_path):
    with pytest.raises(PhotoError, match="holiday is a folder"):
        (tmp_path / "holiday").mkdir()
        load_photo(tmp_path / "holiday")
    with pytest.raises(PhotoError, match=r"no photo gone\.png"):
        load_photo(tmp_path / "gone.png")
    with pytest.raises(PhotoError, match=r"cannot be read|no photo"):
        load_photo("nul\0byte.png")
    with pytest.raises(PhotoError, match=r"cannot be read|no photo"):
        load_photo("x" * 5000 + ".png")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(PhotoError, match="pipe is not a file"):
            load_photo(tmp_path / "pipe")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    width=st.integers(1, 300), height=st.integers(1, 300), kind=st.sampled_from(["PNG", "TIFF", "WEBP", "GIF"]),
    mode=st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA"]),
)  # fmt: skip
def test_any_size_and_mode(tmp_path, width, height, kind, mode):
    image = chart(width, height).convert(mode)
    path = written(tmp_path, "any", saved(image, kind, **({"lossless": True} if kind == "WEBP" else {})))
    if min(width, height) < 32:
        with pytest.raises(PhotoError, match="too small"):
            load_photo(path)
        return
    rgba = load_photo(path)
    assert rgba.shape == (height, width, 4)
    if mode in ("RGB", "RGBA"):
        assert np.abs(corners(rgba) - QUADRANTS).max() <= 8


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), kind=st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "TGA", "PCX", "ICO"]))
def test_damaged_bytes_never_end_in_a_traceback(tmp_path, data, kind):
    whole = bytearray(saved(noise(48, 40), kind))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    path = written(tmp_path, "hurt.img", bytes(whole[:cut] if data.draw(st.booleans()) else whole))
    try:
        rgba = load_photo(path)
    except PhotoError as error:
        assert "hurt.img" in str(error)
    else:
        assert rgba.dtype == np.uint8 and rgba.ndim == 3 and rgba.shape[2] == 4 and min(rgba.shape[:2]) >= 32
