"""What was made is found again: whole, with its references, after a restart, and nothing else is."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fixtures_model import draw_photo, draw_subject
from PIL import Image

from mosaic.pictures import cut_out, read_recipe, write_png
from mosaic.studio.history import Entry, Given, History
from mosaic.studio.library import Library
from mosaic.studio.making_tab import settings_of, when
from mosaic.studio.shelf import Shelf
from studio.test_why import why_of


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "history", Shelf(tmp_path / "references"))


def recipe_for(references: list[Given], **more: object) -> dict:
    used = [{"name": one.name, "file": one.file.name, "sha256": one.file.stem} for one in references]
    return (
        {"prompt": "a bear", "seed": 7, "size": [64, 64], "steps": 3, "guidance": 2.0}
        | {
            "visibility": "release",
            "references": used,
        }
        | more
    )


def saved(history: History, seed: int = 7, cutout: bool = True, **more: object) -> Entry:
    photo = draw_photo(1)
    original = history.shelf.put(photo)
    file = history.shelf.put(cut_out(photo)) if cutout else original
    one = Given(name="bear", original=original, file=file, cutout=cutout)
    image = Image.new("RGB", (640, 480), (10, 200, 30))
    recipe = recipe_for([one], seed=seed, **more)
    return history.save(history.new_file(seed), image, recipe, [one], why_of())


def test_it_survives_a_restart(history: History) -> None:
    entry = saved(history)
    again = History(history.folder, Shelf(history.shelf.folder))
    (found,) = again.entries()
    assert found.name == entry.name and found.recipe["prompt"] == "a bear"
    (reference,) = again.references(found)
    assert reference.name == "bear" and reference.cutout and reference.file != reference.original
    assert np.array_equal(np.asarray(Image.open(reference.original)), np.asarray(draw_photo(1)))
    assert again.why(found).names == ("bear", "duck")
    assert max(Image.open(found.small).size) == 320
    assert found.caption == "a bear (seed 7)"


def test_the_png_carries_its_recipe(history: History) -> None:
    recipe = read_recipe(saved(history).file)
    assert recipe["seed"] == 7 and recipe["references"][0]["sha256"]
    assert "/" not in json.dumps(
        {key: value for key, value in recipe.items() if key != "prompt"}
    )  # no folders


def test_settings_come_back(history: History) -> None:
    values = settings_of(saved(history, size=[96, 64]).recipe)
    assert values[:6] == ["a bear", "96 × 64", 7, 3, 2.0, "release"]


def test_the_newest_come_first_and_no_more_than_asked(history: History) -> None:
    names = [saved(history, seed=seed, cutout=False).name for seed in range(4)]
    assert [entry.name for entry in history.entries()] == names[::-1]
    assert [entry.name for entry in history.entries(2)] == names[:1:-1]
    assert len(set(names)) == 4
    assert when(history.entries()[0]).endswith(" UTC")


def test_what_is_no_entry_is_passed_over(history: History) -> None:
    entry = saved(history)
    write_png(Image.new("RGB", (8, 8)), history.folder / "holiday.png", {})
    Image.new("RGB", (8, 8)).save(history.folder / "20200101-000000-000-seed1.png")
    (history.folder / "20200101-000000-001-seed1.png").write_bytes(b"broken")
    (history.folder / "20200101-000000-002-seed1.png.partial").write_bytes(b"half")
    assert [found.name for found in history.entries()] == [entry.name]


def test_an_empty_history(history: History) -> None:
    assert history.entries() == []


@pytest.mark.parametrize(
    "name", ["../references/x", "/etc/passwd", "20200101-000000-000-seed1", "", "..", "a\x00"]
)
def test_only_entries_are_opened(history: History, name: str) -> None:
    with pytest.raises(ValueError, match="There is no picture"):
        history.entry(name)


def test_a_reference_that_is_gone_is_told(history: History) -> None:
    entry = saved(history)
    for file in history.shelf.folder.iterdir():
        file.unlink()
    with pytest.raises(ValueError, match="no longer there: drop its picture again"):
        history.references(entry)


def test_a_recipe_cannot_reach_outside_the_shelf(history: History, tmp_path: Path) -> None:
    """Somebody's PNG laid into the history names a file elsewhere."""
    secret = tmp_path / "secret.png"
    draw_subject(0).save(secret)
    entry = saved(history)
    for name in ("../secret.png", str(secret), "secret.png"):
        forged = replace(entry, recipe=recipe_for([]) | {"references": [{"name": "bear", "file": name}]})
        with pytest.raises(ValueError, match="no longer there"):
            history.references(forged)


def test_a_picture_is_deleted_whole(history: History) -> None:
    kept, gone = saved(history, 1), saved(history, 2)
    history.remove(gone.name)
    assert [entry.name for entry in history.entries()] == [kept.name]
    assert {file.stem for file in history.folder.iterdir()} == {kept.name}
    assert history.references(kept)
    for name in (gone.name, "../references/x", ""):
        with pytest.raises(ValueError, match="no picture"):
            history.remove(name)


def test_references_that_nothing_shows_go_after_a_week(tmp_path: Path, history: History) -> None:
    """Those of the history and the library stay; so does what was dropped, once more or first, since."""
    entry, library = saved(history), Library(tmp_path / "library", history.shelf)
    shown = {history.references(entry)[0].original, history.references(entry)[0].file}
    kept, old, again, new = (history.shelf.put(draw_subject(i)) for i in range(4))
    library.keep(Given(name="duck", original=kept, file=kept))
    for file in (*shown, kept, old, again):
        os.utime(file, (time.time() - 8 * 86400,) * 2)
    history.shelf.put(draw_subject(2))
    history.shelf.prune(history.used() | library.used())
    assert set(history.shelf.folder.iterdir()) == {*shown, kept, again, new}


def test_the_same_picture_is_kept_once(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    first, second = shelf.put(draw_subject(0)), shelf.put(draw_subject(0))
    assert first == second and len(list(tmp_path.iterdir())) == 1
    assert shelf.put(draw_subject(1)) != first
