"""No path but those named at the start leads anywhere."""

from pathlib import Path

import pytest

from mosaic.studio.roots import Roots

from .sets import roots, sample, write_shard


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_shard(tmp_path / "data" / "toys" / "a.tar", [sample("a")])
    write_shard(tmp_path / "data-2" / "b.tar", [sample("b")])
    write_shard(tmp_path / "secret" / "c.tar", [sample("c")])
    return tmp_path


@pytest.mark.parametrize(
    "typed",
    [
        "../secret",
        "toys/../../secret",
        "{0}/secret",
        "{0}/data/../secret/c.tar",
        "{0}/data-2",  # only begins like a root
        "/etc/passwd",
        "~",
        "a\0b",
        "x" * 5000,
        "",
        ".." * 200,
    ],
)
def test_what_lies_outside_is_not_there(place: Path, typed: str) -> None:
    with pytest.raises(ValueError, match=r"There is no|without data"):
        roots(place, place / "data").find(typed.format(place))


def test_what_is_forbidden_is_told_as_what_is_missing(place: Path) -> None:
    told = []
    for name in ("secret", "nowhere"):
        with pytest.raises(ValueError) as error:
            roots(place, place / "data").find(f"../{name}")
        told.append(str(error.value).replace(name, "NAME"))
    assert told[0] == told[1]


def test_links_are_followed_before_they_are_judged(place: Path) -> None:
    (place / "data" / "way-out").symlink_to(place / "secret")
    (place / "data" / "within").symlink_to(place / "data" / "toys")
    (place / "data" / "circle").symlink_to(place / "data" / "circle")
    here = roots(place, place / "data")
    assert here.find("within") == (place / "data" / "toys").resolve()
    assert not here.holds(place / "data" / "way-out" / "c.tar")
    for name in ("way-out", "way-out/c.tar", "circle"):
        with pytest.raises(ValueError, match="There is no"):
            here.find(name)


def test_a_root_may_itself_be_a_link_or_a_file(place: Path) -> None:
    (place / "link").symlink_to(place / "data")
    assert roots(place, place / "link").find("toys").name == "toys"
    alone = roots(place, place / "data" / "toys" / "a.tar")
    assert alone.find(str(place / "data" / "toys" / "a.tar")).name == "a.tar"
    with pytest.raises(ValueError, match="There is no"):
        alone.find(str(place / "data" / "toys"))


def test_without_data_nothing_opens_but_exports(place: Path) -> None:
    here = Roots(home=place / "studio")
    with pytest.raises(ValueError, match="--data DIR"):
        here.find(str(place / "data"))
    write_shard(here.exports / "mine" / "a.tar", [sample("a")])
    assert here.find("mine") == (here.exports / "mine").resolve()
    (here.home / "history").mkdir()
    with pytest.raises(ValueError, match="--data DIR"):
        here.find(str(here.home / "history"))


def test_what_is_offered_lies_inside(place: Path) -> None:
    (place / "data" / "way-out").symlink_to(place / "secret")
    (place / "data" / "toys" / "out.tar").symlink_to(place / "secret" / "c.tar")
    (place / "data" / "empty").mkdir()
    (place / "data" / "empty" / "out.tar").symlink_to(place / "secret" / "c.tar")
    assert roots(place, place / "data").places("*.tar") == [(place / "data" / "toys").resolve()]
