"""Any picture file that Pillow reads, as an upright 8-bit picture: RGB, or RGBA where it has transparency."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

DEEP_MODES = ("I", "F")  # more than 8 bits a value; "I;16…" as well


def load_picture(path: str | Path) -> Image.Image:
    """The picture in a file, upright, in sRGB: mode RGB, or RGBA where it has transparency; its first frame.

    ValueError in one sentence if there is no such file, if Pillow cannot read it, or if it would unpack to a
    decompression bomb (Pillow's limit of about 179 megapixels).
    """
    path = Path(path)
    if not path.is_file():
        problem = "is a folder, not a picture" if path.is_dir() else "does not exist"
        raise ValueError(f"{path} {problem}: give the name of a picture's file.")
    return read_picture(path.read_bytes(), str(path))


def read_picture(data: bytes, name: str = "the picture") -> Image.Image:
    """As `load_picture`, from the bytes of a file; `name` is what a message calls it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as image:
                image.seek(0)
                image.load()
                return _plain(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise ValueError(f"{name} would unpack to over {limit} megapixels: make it smaller.") from error
    except UnidentifiedImageError as error:
        raise ValueError(f"{name} is no picture that Pillow reads: save it as PNG or JPEG.") from error
    except Exception as error:  # a broken file can raise nearly anything in a decoder
        raise ValueError(f"{name} cannot be read ({error}): save it again as PNG or JPEG.") from error


def _plain(image: Image.Image) -> Image.Image:
    """Any mode → RGB or RGBA, 8 bits."""
    if image.mode.startswith("I;16") or image.mode in DEEP_MODES:
        return _eight_bits(image).convert("RGB")
    profile = image.info.get("icc_profile")
    if image.mode == "P":
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if not image.has_transparency_data:
        return _to_srgb(image, profile)
    image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    color = _to_srgb(image.convert("RGB"), profile)
    color.putalpha(image.getchannel("A"))
    return color


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """By the picture's own colour profile where it fits, else as the numbers stand; always a new image."""
    if image.mode == "LAB":
        lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        return ImageCms.profileToProfile(image, lab, _srgb(), outputMode="RGB") or image
    if profile and image.mode in ("RGB", "CMYK", "L"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            return ImageCms.profileToProfile(image, source, _srgb(), outputMode="RGB") or image
        except (ImageCms.PyCMSError, OSError):
            pass  # a broken profile, or one of another mode: the numbers are what we have
    return image.convert("RGB") if image.mode != "RGB" else image.copy()


def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey values beyond 8 bits: the least range (1 for floats, 255, 65535) that holds them becomes 0…255."""
    values = np.nan_to_num(np.asarray(image, np.float64), posinf=0.0, neginf=0.0)
    top = float(values.max(initial=0.0))
    if image.mode.startswith("I;16"):
        span = 65535.0
    else:
        ranges = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
        span = next((r for r in ranges if top <= r), top)
    return Image.fromarray(np.clip(values * (255.0 / span) + 0.5, 0, 255).astype(np.uint8))
