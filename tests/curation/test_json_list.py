"""Long JSON lists, an element at a time."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaic.curation.importers import json_list
from mosaic.curation.importers.json_list import JsonList

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield tmp_path_factory.mktemp("json")


@given(
    values=st.lists(st.dictionaries(st.text(), VALUES, max_size=3), max_size=6),
    indent=st.none() | st.just(2),
    ascii=st.booleans(),
    chunk=st.integers(1, 40),
)
def test_a_list_is_read_an_element_at_a_time(
    scratch: Path, values: list[Any], indent: int | None, ascii: bool, chunk: int
) -> None:
    path = scratch / "list.json"
    path.write_text(json.dumps(values, indent=indent, ensure_ascii=ascii) + "\n", encoding="utf-8")
    json_list._places.cache_clear()  # files follow each other faster than the clock of the file system
    before, json_list.CHUNK = json_list.CHUNK, chunk
    try:
        found = JsonList(path)
    finally:
        json_list.CHUNK = before
    assert [found[i] for i in range(len(found))] == values


@pytest.mark.parametrize(
    "text", ["", "{}", '[{"a": 1}', '[{"a": 1}, {"b"', '[{"a": 1} {"b": tru}]', "[1, \udc80]"]
)
def test_a_broken_list_is_told_at_once(tmp_path: Path, text: str) -> None:
    path = tmp_path / "list.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=r"list\.json: .*write it again"):
        JsonList(path)
