"""Pictures of every kind: read, laid on a canvas, cut out, written with their recipe."""

import contextlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from fixtures_model import draw_photo, draw_subject
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from mosaic import pictures

GREY = np.linspace(0, 255, 24 * 16).reshape(16, 24).astype(np.uint8)
RGB = np.stack([GREY, GREY[::-1], np.full_like(GREY, 90)], axis=-1)


def read(image: Image.Image, form: str = "PNG", **options: object) -> Image.Image:
    file = io.BytesIO()
    image.save(file, format=form, **options)
    return pictures.read_picture(file.getvalue())


def close(picture: Image.Image, expected: np.ndarray, tolerance: int = 1) -> bool:
    assert picture.mode == "RGB"
    return int(np.abs(np.asarray(picture).astype(int) - expected).max()) <= tolerance


# ---------------------------------------------------------------- reading


@pytest.mark.parametrize(
    ("mode", "form"),
    [
        ("1", "PNG"),
        ("L", "PNG"),
        ("P", "PNG"),
        ("RGB", "PNG"),
        ("RGB", "TIFF"),
        ("RGB", "BMP"),
        ("RGB", "PPM"),
        ("CMYK", "TIFF"),
        ("LAB", "TIFF"),
        ("RGBX", "TIFF"),
        ("I", "TIFF"),
        ("F", "TIFF"),
        ("I;16", "TIFF"),
        ("I;16", "PNG"),
        ("I;16B", "TIFF"),
    ],
)
def test_every_mode_becomes_rgb(mode: str, form: str) -> None:
    image = Image.fromarray(RGB)
    if mode in ("1", "L", "I", "F"):
        image = Image.fromarray(GREY).convert(mode)
    elif mode.startswith("I;16"):
        image = Image.fromarray(GREY.astype(np.uint16) * 257)
        image = image if mode == "I;16" else Image.frombytes(mode, image.size, GREY.astype(">u2").tobytes())
    elif mode == "LAB":
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(image, srgb, lab, outputMode="LAB")
    else:
        image = image.convert(mode)
    picture = read(image, form)
    assert picture.mode == "RGB"
    assert picture.size == (24, 16)
    grey = np.repeat(GREY[..., None], 3, axis=-1)
    if mode in ("L", "I", "F") or (mode == "I;16"):
        assert close(picture, grey)
    if mode in ("RGB", "RGBX", "CMYK"):
        assert close(picture, RGB)
    if mode == "LAB":
        assert np.abs(np.asarray(picture).astype(int) - RGB).mean() < 3


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P", "RGB", "L", "1"])
@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP", "GIF"])
def test_transparency_is_kept_and_goes_on_white(mode: str, form: str) -> None:
    opaque = np.zeros((16, 24), np.uint8)
    opaque[4:12, 6:18] = 255
    if mode in ("RGB", "L", "1", "P"):  # by a transparent colour
        if form != "PNG":
            pytest.skip("a transparent colour is PNG's here")
        image = Image.fromarray(np.where(opaque, 200, 10).astype(np.uint8)).convert(mode)
        transparent = {"RGB": (10, 10, 10), "L": 10, "1": 0, "P": image.getpixel((0, 0))}[mode]
        picture = read(image, form, transparency=transparent)
        opaque = np.asarray(image.convert("L")) > 100 if mode == "1" else opaque
    else:
        image = Image.fromarray(np.dstack([RGB, opaque]))
        if mode == "PA" or (form == "WEBP" and mode == "LA") or (form == "GIF" and mode != "RGBA"):
            pytest.skip("Pillow does not write it")
        picture = read(image.convert(mode), form, **({"lossless": True} if form == "WEBP" else {}))
    assert picture.mode == "RGBA"
    assert np.array_equal(pictures.foreground(picture), opaque > 0)
    white = np.asarray(pictures.on_white(picture))
    assert (white[opaque == 0] == 255).all()


def test_palette_with_alpha_in_memory() -> None:
    image = Image.fromarray(np.dstack([RGB, GREY])).convert("PA")
    assert pictures.reading._plain(image).mode == "RGBA"
    for mode in ("La", "RGBa"):
        source = (
            Image.fromarray(np.dstack([RGB, GREY])).convert("LA" if mode == "La" else "RGBA").convert(mode)
        )
        assert pictures.reading._plain(source).mode == "RGBA"
    for mode in ("HSV", "YCbCr"):
        plain = pictures.reading._plain(Image.fromarray(RGB).convert(mode))
        assert close(plain, RGB, 12)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int) -> None:
    upright = Image.fromarray(RGB)
    exif = Image.Exif()
    exif[0x0112] = orientation
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
    assert close(read(stored, "PNG", exif=exif), RGB, 0)


def test_of_several_frames_the_first() -> None:
    frames = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    for form in ("GIF", "PNG", "WEBP", "TIFF"):
        options = {"lossless": True} if form == "WEBP" else {}
        picture = read(frames[0], form, save_all=True, append_images=frames[1:], **options)
        assert picture.size == (24, 16)
        assert abs(np.asarray(picture.convert("RGB")).astype(int) - RGB).mean() < 12


def test_a_colour_profile_is_applied_and_a_broken_one_ignored() -> None:
    narrow = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert close(read(Image.fromarray(RGB), "PNG", icc_profile=narrow), RGB, 2)
    assert close(read(Image.fromarray(RGB), "PNG", icc_profile=b"nonsense"), RGB, 0)


def test_values_beyond_sixteen_bits_are_scaled_to_fit() -> None:
    image = Image.fromarray(np.array([[0, 100_000, 200_000]], np.int32))
    assert np.asarray(read(image, "TIFF"))[0, :, 0].tolist() == [0, 128, 255]
    odd = Image.fromarray(np.array([[np.nan, np.inf, 0.5, 1.0]], np.float32))
    assert np.asarray(read(odd, "TIFF"))[0, :, 0].tolist() == [0, 0, 128, 255]


def bomb(width: int, height: int) -> bytes:
    """A PNG that says it is huge."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def broken() -> dict[str, bytes]:
    file = io.BytesIO()
    Image.fromarray(RGB).save(file, format="PNG")
    whole = file.getvalue()
    return {
        "empty": b"",
        "text": b"no picture at all",
        "cut": whole[: len(whole) // 2],
        "head": whole[:30],
        "bomb": bomb(60_000, 60_000),
        "huge": bomb(2**31 - 1, 2**31 - 1),
        "flat": bomb(0, 10),
    }


@pytest.mark.parametrize("name", sorted(broken()))
def test_what_cannot_be_read_is_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.png"
    path.write_bytes(broken()[name])
    with pytest.raises(ValueError, match=r"\.png (would unpack|is no picture|cannot be read)") as raised:
        pictures.load_picture(path)
    assert "\n" not in str(raised.value)


@given(st.binary(max_size=200), st.integers(0, 400))
@settings(max_examples=30)
def test_damaged_files_never_crash(noise: bytes, start: int) -> None:
    file = io.BytesIO()
    Image.fromarray(RGB).save(file, format="PNG")
    data = bytearray(file.getvalue())
    data[start : start + len(noise)] = noise
    with contextlib.suppress(ValueError):
        assert pictures.read_picture(bytes(data)).mode in ("RGB", "RGBA")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        pictures.load_picture(tmp_path / "none.png")
    with pytest.raises(ValueError, match="is a folder"):
        pictures.load_picture(tmp_path)


# ---------------------------------------------------------------- canvases


def literal_released_canvas(picture: Image.Image, side: int) -> Image.Image:
    """Section 12 of the facts about the release, step by step."""
    if "A" in picture.getbands():
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        picture = Image.alpha_composite(white, picture.convert("RGBA"))
    picture = picture.convert("RGB")
    inside = (np.asarray(picture) != 255).any(axis=2)
    if inside.any():
        ys, xs = np.nonzero(inside)
        picture = picture.crop((xs.min(), ys.min(), xs.max() + 1, ys.max() + 1))
    scale = 0.9 * side / max(picture.size)
    size = tuple(max(1, int(length * scale + 1e-6)) for length in picture.size)
    canvas = Image.new("RGB", (side, side), (255, 255, 255))
    canvas.paste(
        picture.resize(size, Image.Resampling.LANCZOS), ((side - size[0]) // 2, (side - size[1]) // 2)
    )
    return canvas


@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.sampled_from([32, 64, 96, 512]),
    st.booleans(),
    st.integers(0, 2**16),
)
@settings(max_examples=40)
def test_released_canvas_is_that_of_the_release(w: int, h: int, side: int, alpha: bool, seed: int) -> None:
    random = np.random.default_rng(seed)
    image = np.full((h + 20, w + 30, 3), 255, np.uint8)
    image[7 : 7 + h, 11 : 11 + w] = random.integers(0, 255, (h, w, 3))
    picture = Image.fromarray(image)
    if alpha:
        picture.putalpha(Image.fromarray(random.integers(0, 256, image.shape[:2]).astype(np.uint8)))
    canvas = pictures.released_canvas(picture, side)
    assert np.array_equal(canvas.image, np.asarray(literal_released_canvas(picture, side)))


def test_points_move_with_the_pixels() -> None:
    image = np.full((80, 120, 3), 255, np.uint8)
    image[20:60, 30:110] = 100
    image[36:44, 66:74] = (255, 0, 0)
    for canvas in (
        pictures.released_canvas(Image.fromarray(image), 160),
        pictures.letterbox_canvas(Image.fromarray(image), (96, 160)),
        pictures.plain_canvas(Image.fromarray(image)),
    ):
        x, y = canvas.placement.apply(np.array([70 / 120, 40 / 80]))
        height, width = canvas.mask.shape
        assert canvas.image[int(y * height), int(x * width)].tolist() == [255, 0, 0]
        assert canvas.mask[int(y * height), int(x * width)]
        assert np.allclose(canvas.placement.invert((x, y)), (70 / 120, 40 / 80))


def test_an_all_white_or_one_pixel_picture_is_taken_whole() -> None:
    assert pictures.foreground_box(Image.new("RGB", (20, 10), "white")) == (0, 0, 20, 10)
    for picture in (Image.new("RGB", (20, 10), "white"), Image.new("RGB", (1, 1)), Image.new("L", (1, 900))):
        assert pictures.released_canvas(picture.convert("RGB"), 64).image.shape == (64, 64, 3)


def test_jpeg_noise_needs_a_tolerance() -> None:
    file = io.BytesIO()
    draw_subject(0).save(file, format="JPEG", quality=90)
    noisy = pictures.read_picture(file.getvalue())
    exact = pictures.foreground_box(draw_subject(0))
    assert pictures.foreground_box(noisy) != exact
    box = pictures.foreground_box(pictures.whitened(noisy, 24))
    assert np.abs(np.subtract(box, exact)).max() <= 4
    with pytest.raises(ValueError, match="tolerance"):
        pictures.whitened(noisy, 255)


def test_load_reference(tmp_path: Path) -> None:
    draw_subject(1).save(tmp_path / "a.png")
    draw_photo(1).save(tmp_path / "b.png")
    plain = pictures.load_reference("robot", tmp_path / "a.png")
    cut = pictures.load_reference("robot", tmp_path / "b.png", cutout=True)
    assert plain.subject == cut.subject
    assert 0.05 < plain.mask.mean() < 0.6
    overlap = (plain.mask & cut.mask).sum() / (plain.mask | cut.mask).sum()
    assert overlap > 0.8
    assert (cut.image[:4] == 255).all()


# ---------------------------------------------------------------- recipes


def test_a_png_tells_its_recipe(tmp_path: Path) -> None:
    recipe = {"prompt": "ein Bär · 熊 🐻", "seed": 2**60, "steps": 4, "references": [{"name": "bear"}]}
    pictures.write_png(draw_subject(0), tmp_path / "deep" / "a.png", recipe)
    assert pictures.read_recipe(tmp_path / "deep" / "a.png") == recipe
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["a.png"]


def test_what_carries_no_recipe_says_so(tmp_path: Path) -> None:
    draw_subject(0).save(tmp_path / "plain.png")
    draw_subject(0).save(tmp_path / "plain.jpg")
    (tmp_path / "text.png").write_text("no")
    for name, told in {
        "plain.png": "carries no recipe",
        "plain.jpg": "carries no recipe",
        "text.png": "is no PNG",
        "none.png": "no picture",
    }.items():
        with pytest.raises(ValueError, match=told):
            pictures.read_recipe(tmp_path / name)
