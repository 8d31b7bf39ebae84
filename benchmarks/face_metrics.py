"""How ID-Sim tells people apart on photographs: the table of docs/subject-metrics.md.

    python benchmarks/face_metrics.py FOLDER --detector yunet.onnx --embedder sface.onnx

The letters that a file's name begins with tell who it shows; files named …_with_… show two people and are
left out.
"""

import argparse
import re
import time
from pathlib import Path

import numpy as np

from mosaic.evaluation.features import PictureFile
from mosaic.evaluation.metrics.assignment import best, cosines
from mosaic.evaluation.metrics.faces import FIRST, load_faces


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--detector", required=True)
    parser.add_argument("--embedder", required=True)
    given = parser.parse_args()
    files = [file for file in sorted(given.folder.glob("*.jpg")) if "_with_" not in file.stem]
    people = [re.match(r"[a-z]*", file.stem)[0] for file in files]
    pictures = [PictureFile(file).read() for file in files]
    extract = load_faces({"detector": given.detector, "embedder": given.embedder}, None)
    references = [one["vectors"] for one in extract(pictures, [FIRST] * len(files))]
    start = time.monotonic()
    found = [one["vectors"] for one in extract(pictures, [""] * len(files))]
    seconds = (time.monotonic() - start) / len(files)
    pairs: dict[str, list[float]] = {"itself": [], "the same person": [], "another": []}
    for a, reference in enumerate(references):
        for b, faces in enumerate(found):
            kind = "itself" if a == b else "the same person" if people[a] == people[b] else "another"
            pairs[kind] += best(cosines(reference, faces)).tolist()
    print(f"{extract.name}: {len(files)} photographs of {len(set(people))} people, {seconds:.2f} s each")
    for kind, values in pairs.items():
        least, middle, most = np.quantile(values, [0, 0.5, 1]) if values else [np.nan] * 3
        print(f"{kind:16} {len(values):4} pairs: {least:5.2f} {middle:5.2f} {most:5.2f}")


if __name__ == "__main__":
    main()
