"""The pictures of a method: which file shows which image of which record, and what is wrong with the folder.

FOLDER/PART/NAME.png, or FOLDER/NAME.png where the benchmark has one part alone. A record's images are a file
each, or the quadrants of one 2 × 2 grid, row by row.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from PIL import Image

from mosaic.evaluation.features import Case, PictureFile
from mosaic.evaluation.records import Benchmark, Record, Settings

logger = logging.getLogger(__name__)

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
QUADRANTS = 4
NAMED = 3  # files a message names before it counts the rest
PLACES = ("{seed}", "{image}", "{number}")  # of a name: the seed, the image from 0, the image from 1


def part_folder(folder: Path, benchmark: Benchmark, part: str) -> Path:
    """Where a method's pictures of one part lie: folders of parts may be left out where there is but one."""
    alone = len(benchmark.settings) == 1 or (len(benchmark.parts) == 1 and any(_pictures(folder)))
    return folder if alone and not (folder / part).is_dir() else folder / part


def _pictures(folder: Path) -> Iterator[Path]:
    return (file for file in folder.glob("*") if file.suffix.lower() in SUFFIXES)


def filled(name: str, settings: Settings, image: int) -> str:
    """A file's name without suffix: a pattern with an image's seed and number put in."""
    for place, value in zip(PLACES, (settings.seeds[image], image, image + 1), strict=True):
        name = name.replace(place, str(value))
    return name


def single(name: str) -> bool:
    """Whether a pattern names one image; else it names all images of a record in one file."""
    return any(place in name for place in PLACES)


def stems(record: Record, settings: Settings) -> list[list[str]]:
    """The ways in which a record's files may be called: one name of a grid, or a name an image."""
    images = range(len(settings.seeds))
    ways = [
        [filled(name, settings, image) for image in images] if single(name) else [name]
        for name in record.names
        if single(name) or len(images) in (1, QUADRANTS)
    ]
    return sorted(ways, key=len, reverse=not settings.grid)  # the published way first


def cases(benchmark: Benchmark, method: str, folder: Path) -> list[Case]:
    """What a method made for every record.

    ValueError that counts and names what is missing, doubled, unreadable, of another size or no grid; what
    belongs to no record is counted and named in a warning.
    """
    there = {part: _files(part_folder(folder, benchmark, part)) for part in benchmark.parts}
    made = [_case(method, one, benchmark.settings[one.part], there[one.part]) for one in benchmark.records]
    lacking = [f"{one.record.part}/{name}" for one, names in made for name in names]
    if lacking:
        raise ValueError(
            f"{method} lacks {len(lacking)} of the files that {benchmark.name}'s {len(made)} records ask for "
            f"in {folder}: {_told([f'{name}.png' for name in lacking])}."
        )
    found = [one for one, _ in made]
    _check_sizes(benchmark, found)
    used = {picture.path for one in found for picture in one.pictures}
    extra = [file for files in there.values() for file in files.values() if file not in used]
    if extra:
        names = _told([str(file.relative_to(folder)) for file in extra])
        logger.warning(
            f"{len(extra)} pictures of {method} belong to no record asked for and are not scored: {names}."
        )
    return found


def _files(folder: Path) -> dict[str, Path]:
    """Pictures of a folder by name without suffix. ValueError for two of one name."""
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        if file.suffix.lower() in SUFFIXES:
            if file.stem in found:
                raise ValueError(f"{file} and {found[file.stem].name} are one picture twice: remove one.")
            found[file.stem] = file
    return found


def _case(
    method: str, record: Record, settings: Settings, there: Mapping[str, Path]
) -> tuple[Case, list[str]]:
    """A record's pictures, and the names of those that are missing, in the way most of them are called."""
    ways = stems(record, settings)
    names = max(ways, key=lambda way: sum(name in there for name in way) / len(way))  # the first of equals
    missing = [name for name in names if name not in there]
    files = [PictureFile(there[name]) for name in names if name in there]
    grid = None
    if len(names) < len(settings.seeds) and files:
        grid = files[0]
        files = [PictureFile(grid.path, quadrant) for quadrant in range(QUADRANTS)]
    return Case(method=method, record=record, pictures=tuple(files), grid=grid), missing


def _check_sizes(benchmark: Benchmark, found: Sequence[Case]) -> None:
    wrong = [problem for case in found for problem in _problems(case, benchmark.settings[case.record.part])]
    if wrong:
        rest = f" ({len(wrong) - 1} more of {benchmark.name} do not fit either)" if len(wrong) > 1 else ""
        raise ValueError(f"{wrong[0]}{rest}.")


def _problems(case: Case, settings: Settings) -> list[str]:
    """What is wrong with a case's files, a sentence each."""
    size = settings.width, settings.height
    if case.grid is None:
        seen = {picture.path: _size(picture.path) for picture in case.pictures}
        return [
            f"{path} is {_by(real)} and not {_by(size)}: give --size {_by(real)} if the method makes them so"
            for path, real in seen.items()
            if real != size
        ]
    whole, path = (2 * size[0], 2 * size[1]), case.grid.path
    real = _size(path)
    if real == whole:
        return []
    if real == size or real[0] % 2 or real[1] % 2:
        return [f"{path} is {_by(real)}, no 2×2 grid of four pictures of {_by(size)}"]
    half = f"{real[0] // 2}x{real[1] // 2}"
    return [
        f"{path} is {_by(real)}, and a 2×2 grid of {_by(size)} is {_by(whole)}: "
        f"give --size {half} if it is one"
    ]


def _size(path: Path) -> tuple[int, int]:
    """(width, height). ValueError if the file is no picture."""
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{path} is no picture that can be read: make it again.") from error


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _told(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
