"""Subjects kept by name, and their caches."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fixtures_studio import given, maker_on
from PIL import Image

from mosaic.studio import library as room
from mosaic.studio.making import Made, Maker, Wish


@pytest.fixture
def maker(models: dict[str, Path], tmp_path: Path) -> Maker:
    return maker_on(models, tmp_path, "isolated")


def test_kept_and_picked_again(maker: Maker) -> None:
    kept = maker.library.keep(given(maker, " Teddy Bear ", 2))
    assert kept.name == "Teddy Bear" and kept.subject.startswith("teddy-bear-")
    assert maker.library.get(kept.subject) == kept
    again = maker_on({"folder": Path("x"), "release": Path("y")}, maker.options.folder).library
    assert again.subjects() == [kept]


def test_the_same_again_replaces_it(maker: Maker) -> None:
    one, two = (maker.library.keep(given(maker, "bear", 0)) for _ in range(2))
    maker.library.keep(given(maker, "bear", 1))
    maker.library.keep(given(maker, "ant", 1))
    assert one == two and [subject.name for subject in maker.library.subjects()] == ["ant", "bear", "bear"]


@pytest.mark.parametrize("name", ["", "  ", "x" * 61])
def test_a_name_is_wanted(maker: Maker, name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        maker.library.keep(given(maker, name))


@pytest.mark.parametrize("name", ["熊", "../../x", "a/b", "..", "CON", "💡"])
def test_any_name_stays_in_the_folder(maker: Maker, name: str) -> None:
    kept = maker.library.keep(given(maker, name))
    assert maker.library.get(kept.subject).name == name
    assert (maker.options.library / kept.subject / "subject.json").is_file()


@pytest.mark.parametrize("subject", ["../history", "/etc", "", "bear", "bear-0123456g"])
def test_only_subjects_are_opened(maker: Maker, subject: str) -> None:
    with pytest.raises(ValueError, match="no longer in the library"):
        maker.library.get(subject)
    with pytest.raises(ValueError, match="no longer in the library"):
        maker.library.remove(subject)


def test_forgotten_with_its_caches_but_not_its_picture(maker: Maker) -> None:
    kept = maker.library.keep(given(maker, "bear"))
    maker.library.remove(kept.subject)
    assert maker.library.subjects() == [] and kept.file.is_file()


def test_one_whose_picture_is_gone_is_passed_over(maker: Maker) -> None:
    kept = maker.library.keep(given(maker, "bear"))
    kept.file.unlink()
    assert maker.library.subjects() == []


def test_isolated_weights_leave_a_cache_that_is_used(maker: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second picture does not encode the reference again, and both are as they would be without."""
    plain = Wish(prompt="a bear on grass", references=(given(maker, "bear"),), steps=2, seed=3)
    without = list(maker.make(plain))[-1]
    kept = maker.library.keep(plain.references[0])
    wish = replace(plain, references=(kept,))
    first = list(maker.make(wish))[-1]
    (cache,) = (maker.options.library / kept.subject).glob("*.safetensors")

    def refused(reference: object) -> None:
        raise AssertionError("encoded again")

    monkeypatch.setattr(maker.pipeline(), "cache", refused)
    second = list(maker.make(replace(wish, prompt="a bear on sand")))[-1]
    assert isinstance(second, Made) and second.why is not None and cache.is_file()
    pictures = [np.asarray(Image.open(made.entry.file)).astype(int) for made in (without, first)]
    assert np.abs(pictures[0] - pictures[1]).max() <= 1


def test_another_canvas_is_another_cache(maker: Maker) -> None:
    kept = maker.library.keep(given(maker, "bear"))
    pipeline = maker.pipeline()
    one = pipeline.encode_references([_reference()], (64, 64))[0]
    two = pipeline.encode_references([_reference()], (64, 64), "released", 64)[0]
    files = {
        maker.library.cache_file(kept, weights, x) for x in (one, two) for weights in ({"model": "a"}, {})
    }
    assert len(files) == 4


def test_weights_that_look_at_the_target_have_no_cache(models: dict[str, Path], tmp_path: Path) -> None:
    maker = maker_on(models, tmp_path, "release")
    kept = maker.library.keep(given(maker, "bear"))
    made = list(maker.make(Wish(prompt="a bear", references=(kept,), steps=1)))[-1]
    assert isinstance(made, Made) and not room.caches(maker.pipeline())
    assert not list((maker.options.library / kept.subject).glob("*.safetensors"))


def test_another_visibility_than_trained_takes_no_cache(maker: Maker) -> None:
    kept = maker.library.keep(given(maker, "bear"))
    wish = Wish(prompt="a bear", references=(kept,), steps=1, visibility="release")
    assert isinstance(list(maker.make(wish))[-1], Made)
    assert not list((maker.options.library / kept.subject).glob("*.safetensors"))


def _reference():
    from studio.test_why import _reference as drawn

    return drawn(0)
