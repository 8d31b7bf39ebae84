"""Pictures as people have them: read from any file, laid on a canvas, cut out, written with their recipe."""

from mosaic.pictures.canvas import (
    Canvas,
    Segmenter,
    cut_out,
    foreground,
    foreground_box,
    letterbox_canvas,
    load_reference,
    noisy_white_border,
    on_white,
    plain_canvas,
    released_canvas,
    whitened,
)
from mosaic.pictures.png import file_hash, read_recipe, write_png
from mosaic.pictures.reading import load_picture, read_picture

__all__ = [
    "Canvas",
    "Segmenter",
    "cut_out",
    "file_hash",
    "foreground",
    "foreground_box",
    "letterbox_canvas",
    "load_picture",
    "load_reference",
    "noisy_white_border",
    "on_white",
    "plain_canvas",
    "read_picture",
    "read_recipe",
    "released_canvas",
    "whitened",
    "write_png",
]
