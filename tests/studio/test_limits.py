"""What is taken in, what is refused, and what the words of a prompt are."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from fixtures_model import draw_photo, draw_subject
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mosaic.generate import mentions
from mosaic.pictures.attention import COLORS
from mosaic.studio import limits
from mosaic.studio.cards import Card, add, renamed, toggled, wants_cutout
from mosaic.studio.limits import read_upload
from mosaic.studio.pieces import lacking, note, strip, thumb
from mosaic.studio.shelf import Shelf
from mosaic.studio.words import color_of, missing, name_from, pieces


def header_of(width: int, height: int) -> bytes:
    """A PNG that says it is so large and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    start = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", start)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"GIF but not really", "bad.png is no picture that Pillow reads: save it as PNG or JPEG."),
        (header_of(9000, 9000), "bad.png has 81 megapixels, and 50 are taken: make it smaller."),
        (header_of(60000, 60000), "bad.png would unpack to over 178 megapixels: make it smaller."),
        (b"", "bad.png is no picture that Pillow reads: save it as PNG or JPEG."),
    ],
)
def test_what_is_refused(tmp_path: Path, data: bytes, sentence: str) -> None:
    file = tmp_path / "bad.png"
    file.write_bytes(data)
    with pytest.raises(ValueError) as refused:
        read_upload(file)
    assert str(refused.value) == sentence


def test_a_large_file_is_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "huge.png"
    with file.open("wb") as stream:
        stream.truncate(limits.LARGEST_FILE + (1 << 20))
    with pytest.raises(ValueError, match=r"huge.png has 33 MiB, and 32 MiB are taken: save it smaller\."):
        read_upload(file)


def test_a_truncated_picture_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "half.png"
    draw_photo(0).save(file)
    file.write_bytes(file.read_bytes()[:600])
    with pytest.raises(ValueError, match=r"half.png cannot be read .*: save it again as PNG or JPEG"):
        read_upload(file)


def test_a_large_picture_is_kept_smaller(tmp_path: Path) -> None:
    file = tmp_path / "large.png"
    Image.new("RGB", (5000, 1000)).save(file)
    assert read_upload(file).size == (2048, 410)


# ---------------------------------------------------------------- cards


def test_each_file_is_a_card_and_a_bad_one_is_told(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("red-bear_01.png", "broken.png", "IMG_2041.png")]
    draw_photo(0).save(files[0])
    files[1].write_bytes(b"no")
    draw_subject(1).save(files[2])
    steps = list(add([], files, Shelf(tmp_path / "shelf")))
    assert [(len(cards), bool(refusal)) for cards, refusal in steps] == [(1, False), (1, True), (2, False)]
    photo, drawing = steps[-1][0]
    assert photo.name == "red bear" and photo.cutout and photo.given.cutout
    assert Image.open(photo.file).mode == "RGBA"
    assert drawing.name == "" and not drawing.cutout and drawing.file == drawing.original


def test_the_ninth_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "bear.png"
    draw_subject(0).save(file)
    *_, (cards, refusal) = add([], [file] * 9, Shelf(tmp_path / "shelf"))
    assert len(cards) == 8 and "at most 8 references" in refusal


def test_a_cut_out_goes_on_and_off(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    card = Card(name="bear", original=shelf.put(draw_photo(0)))
    on = toggled(card, True, shelf)
    off = toggled(on, False, shelf)
    assert on.file != card.file and off.file == card.file and off.cut == on.cut
    assert toggled(off, True, shelf).file == on.file
    plain = Card(name="fog", original=shelf.put(Image.new("RGB", (64, 64), (90, 90, 90))))
    failed = toggled(plain, True, shelf)
    assert not failed.cutout and failed.note.startswith("No subject was found")


def test_what_wants_a_cut_out() -> None:
    assert wants_cutout(draw_photo(0)) and not wants_cutout(draw_subject(0))
    clear = draw_photo(0).convert("RGBA")
    clear.putpixel((0, 0), (0, 0, 0, 0))
    assert not wants_cutout(clear)


def test_a_renamed_card_leaves_its_subject() -> None:
    cards = [
        Card(name="bear", original=Path("a"), subject="bear-01234567"),
        Card(name="duck", original=Path("b")),
    ]
    kept, changed = renamed(cards, ["bear", "drake", "", ""])
    assert kept.subject == "bear-01234567" and changed.name == "drake"
    assert renamed(cards, ["cub", "duck"])[0].subject is None
    assert renamed(cards, [None, None]) == cards


# ---------------------------------------------------------------- words

NAMES = st.lists(
    st.sampled_from(["bear", "teddy bear", "duck", "mug", "ear", "Bären", "a.b"]), max_size=4, unique=True
)
PROMPTS = st.lists(
    st.sampled_from(
        ["bear", "bears", "Teddy-Bear", "duck", "ear", "bärEN", "a", "on", ",", "a.b", "axb", "mugs"]
    ),
    max_size=8,
).map(" ".join)


@given(PROMPTS, NAMES)
def test_the_pieces_are_the_prompt(prompt: str, names: list[str]) -> None:
    found = pieces(prompt, names)
    assert "".join(piece.text for piece in found) == prompt
    for piece in found:
        if piece.subject is not None:
            assert mentions(piece.text, names[piece.subject])
    assert missing(prompt, names) == [name for name in names if not mentions(prompt, name)]


def test_a_longer_name_goes_before_a_shorter() -> None:
    found = [(piece.text, piece.subject) for piece in pieces("a teddy  bear, bears", ["bear", "teddy bear"])]
    assert found == [("a ", None), ("teddy  bear", 1), (", ", None), ("bears", 0)]


def test_views_of_a_subject_share_its_colour() -> None:
    names = ["bear", "duck", " Bear"]
    assert [color_of(names, k) for k in range(3)] == [COLORS[0], COLORS[1], COLORS[0]]
    assert color_of(["", ""], 1) == COLORS[1]


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("bear.png", "bear"),
        ("my_Robot-02 (3).JPG", "my robot"),
        ("C:\\photos\\duck.png", "duck"),
        ("IMG_1234.HEIC", ""),
        ("20240101_101500.jpg", ""),
        ("été.png", "été"),
    ],
)
def test_names_from_files(file: str, name: str) -> None:
    assert name_from(file) == name


def test_what_people_write_is_escaped(tmp_path: Path) -> None:
    evil = '<img src=x onerror="alert(1)">'
    card = Card(name=evil, original=Shelf(tmp_path).put(draw_subject(0)), note=evil)
    names = [evil, "absent" + evil]
    for html in (strip(evil + " x", names), lacking(evil + " x", names), thumb([card], 0), note(evil)):
        assert "<img src=x" not in html and "&lt;img src=x" in html


def test_a_name_the_prompt_lacks_is_flagged() -> None:
    names = ["bear", "duck", ""]
    assert f'style="--own:{COLORS[0]}">bear</mark>' in strip("a bear", names)
    html = lacking("a bear", names)
    assert "The prompt does not mention “duck”." in html and "mention “bear”" not in html
    assert "One reference has no name" in html
    assert strip("", []) == strip("", ["bear"]) == lacking("", ["bear"]) == lacking("a bear", ["bear"]) == ""


def test_a_thumb_says_what_it_shows(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    cards = [toggled(Card(name="bear", original=shelf.put(draw_photo(i))), True, shelf) for i in range(2)]
    assert 'alt="Reference 1: bear, cut out"' in thumb(cards, 0) and COLORS[0] in thumb(cards, 1)
    assert "another view" in thumb(cards, 1) and "another view" not in thumb(cards, 0)
    assert np.asarray(Image.open(cards[0].file)).shape[2] == 4
