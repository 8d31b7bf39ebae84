"""A photograph's subject told from its background without any network, by colour and place alone.

    picture → superpixels → saliency: what differs from what the border is made of
            → two colour mixtures, of subject and background, in turns with a random walk over pixels
            → opacity at full size

It suits one subject that stands clear of the border on a background of other colours. It fails on a subject
of the background's colour, on several things, and on one that the border cuts: of 158 DreamBooth photographs
it cuts 56 % out whole, 23 % with a part too many or too few, 20 % wrongly (judged by eye), 0.8 s each.
GrabCut's own graph cut from the same start does no better. Better segmenters fit the protocol
`mosaic.pictures.Segmenter`. H × W pixels, n superpixels. NumPy and SciPy.

Sources: Zhu et al., Saliency optimization from robust background detection, CVPR 2014 (eq. 3–9); Rother et
al., GrabCut, 2004 (mixtures in turns with a segmentation); Grady, Random walks for image segmentation, 2006.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from scipy.sparse import coo_matrix, csr_matrix, diags
from scipy.sparse.csgraph import dijkstra
from scipy.sparse.linalg import cg, spsolve

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Bools = NDArray[np.bool_]

SIDE = 160  # pixels of the longer side that the work is done at
SUPERPIXEL = (8, 12, 18)  # pixels a side: saliency is averaged over these scales
SAME_COLOR = 10.0  # CIELAB distance
NEAR = 0.25  # of the longer side: how far a contrast counts
CENTER = 0.3  # of the longer side: photographers put the subject there
COLORS = 5  # of each mixture
ROUNDS = 4  # of mixtures and segmentation
DARK = 10  # of 255: black bars
OPAQUE = 0.5


def segment(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The opacity of a picture's subject: uint8 (H, W, 3) → float32 (H, W) in [0, 1], 0 away from it."""
    height, width = picture.shape[:2]
    top, bottom, left, right = without_bars(picture)
    inner = picture[top:bottom, left:right]
    small = _small_lab(inner)
    probability = subject_probability(small)
    inside = Image.fromarray(probability.astype(np.float32))
    opacity = np.zeros((height, width), np.float32)
    size = (right - left, bottom - top)
    opacity[top:bottom, left:right] = np.asarray(inside.resize(size, Image.Resampling.BICUBIC))
    return _soft_edge(opacity, scale=max(1.0, max(size) / SIDE))


def subject_probability(lab: Floats) -> Floats:
    """CIELAB (H, W, 3) → how likely each pixel is the subject's (H, W): by saliency, then colours."""
    salient = np.mean([saliency(lab, superpixels(lab, side)) for side in SUPERPIXEL], axis=0)
    salient = _unit(salient)
    threshold = otsu(salient)
    prior = _logit(salient) - _logit(threshold)
    probability = np.where(salient > threshold, 0.9, 0.1)
    colors = lab.reshape(-1, 3)
    for _ in range(ROUNDS):
        weight = probability.ravel()
        if min((weight > OPAQUE).sum(), (weight <= OPAQUE).sum()) < 10 * COLORS:
            break
        ours = _log_likelihood(colors, np.where(weight > OPAQUE, weight, 0))
        theirs = _log_likelihood(colors, np.where(weight > OPAQUE, 0, 1 - weight))
        evidence = 0.5 * np.clip(ours - theirs, -6, 6).reshape(prior.shape) + 1.5 * prior
        probability = random_walk(lab, 1 / (1 + np.exp(-evidence)))
    return probability


def without_bars(picture: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of the picture between black bars with straight edges, if it has any."""
    bright = picture.max(axis=2) > DARK
    (top, bottom), (left, right) = _between(bright.mean(axis=1)), _between(bright.mean(axis=0))
    if top >= bottom or left >= right:
        return 0, picture.shape[0], 0, picture.shape[1]
    return top, bottom, left, right


def _between(bright: Floats) -> tuple[int, int]:
    """Where lines that are black throughout end, if most of a line is bright soon after: (start, stop)."""

    def bar(lines: Floats) -> int:
        dark = int(np.argmax(lines > 0)) if (lines > 0).any() else 0
        return dark if dark and lines[min(dark + 2, len(lines) - 1)] > 0.6 else 0

    return bar(bright), len(bright) - bar(bright[::-1])


def _small_lab(picture: NDArray[np.uint8]) -> Floats:
    image = Image.fromarray(picture)
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return cielab(ndimage.gaussian_filter(np.asarray(image, np.float64), (0.5, 0.5, 0)))


def cielab(rgb: Floats) -> Floats:
    """sRGB (…, 3) in 0…255 → CIELAB under D65."""
    x = rgb / 255
    linear = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.41246, 0.35758, 0.18044], [0.21267, 0.71515, 0.07218], [0.01933, 0.11919, 0.95030]])
    xyz = linear @ to_xyz.T / (0.95047, 1.0, 1.08883)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    fx, fy, fz = np.moveaxis(f, -1, 0)
    return np.stack((116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)), axis=-1)


# ---------------------------------------------------------------- superpixels and saliency


def superpixels(lab: Floats, side: int, compactness: float = 10.0, rounds: int = 8) -> Ints:
    """SLIC: labels (H, W), 0…n − 1, by k-means over colour and place, each pixel among nine cells."""
    height, width = lab.shape[:2]
    rows, columns = max(2, round(height / side)), max(2, round(width / side))
    y, x = np.mgrid[:height, :width]
    cell_y, cell_x = y * rows // height, x * columns // width
    features = np.concatenate([lab, np.stack((y, x), axis=-1) * (compactness / side)], axis=-1)
    labels = cell_y * columns + cell_x
    for _ in range(rounds):
        count, centers = _means(features, labels, rows * columns)
        best = np.full((height, width), np.inf)
        chosen = labels
        for dy, dx in np.ndindex(3, 3):
            near_y, near_x = cell_y + dy - 1, cell_x + dx - 1
            inside = (near_y >= 0) & (near_y < rows) & (near_x >= 0) & (near_x < columns)
            candidate = np.where(inside, near_y * columns + near_x, 0)
            distance = ((features - centers[candidate]) ** 2).sum(-1)
            distance[~inside | (count[candidate] == 0)] = np.inf
            chosen = np.where(distance < best, candidate, chosen)
            best = np.minimum(best, distance)
        labels = chosen
    return np.unique(labels, return_inverse=True)[1].reshape(height, width)


def saliency(lab: Floats, labels: Ints) -> Floats:
    """How much each pixel stands out from the background, (H, W) in [0, 1].

    Background is what reaches the border through its own colours; a region stands out by contrast with it.
    """
    n = int(labels.max()) + 1
    height, width = labels.shape
    place = np.moveaxis(np.mgrid[:height, :width], 0, -1) / max(height, width)
    count, color = _means(lab, labels, n)
    _, position = _means(place, labels, n)
    neighbours = _touching(labels)
    border = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    background = background_probability(color, neighbours, border)

    contrast = np.linalg.norm(color[:, None] - color[None], axis=-1)
    nearness = np.exp(-(np.linalg.norm(position[:, None] - position[None], axis=-1) ** 2) / (2 * NEAR**2))
    stands_out = _unit((contrast * nearness * background * count).sum(1))
    from_center = position - np.array([height, width]) / (2 * max(height, width))
    subject = stands_out * np.exp(-(from_center**2).sum(-1) / (2 * CENTER**2))

    alike = np.exp(-(contrast[tuple(neighbours.T)] ** 2) / (2 * SAME_COLOR**2)) + 0.1
    system = diags(5 * background + subject + 1e-6) + _laplacian(neighbours, alike, n)
    return _unit(spsolve(system.tocsr(), subject))[labels]


def background_probability(color: Floats, neighbours: Ints, border: Ints) -> Floats:
    """Of each superpixel (n,): by how much of what it blends into lies on the border (eq. 3–5)."""
    n = len(color)
    pairs = np.stack(np.triu_indices(len(border), 1), axis=-1)
    edges = np.unique(np.concatenate([neighbours, border[pairs]]), axis=0)  # the border touches itself
    length = np.linalg.norm(color[edges[:, 0]] - color[edges[:, 1]], axis=-1) + 1e-3
    path = dijkstra(coo_matrix((length, tuple(edges.T)), (n, n)).tocsr(), directed=False)
    blends = np.exp(-(path**2) / (2 * SAME_COLOR**2))
    connectivity = blends[:, border].sum(1) / np.sqrt(blends.sum(1))
    return np.asarray(1 - np.exp(-(connectivity**2) / 2))


def _means(values: Floats, labels: Ints, n: int) -> tuple[Floats, Floats]:
    """Pixels (n,) and mean value (n, C) of each label."""
    flat = labels.ravel()
    count = np.bincount(flat, minlength=n).astype(np.float64)
    sums = [np.bincount(flat, channel, n) for channel in values.reshape(-1, values.shape[-1]).T]
    return count, np.stack(sums, axis=-1) / np.maximum(count, 1)[:, None]


def _touching(labels: Ints) -> Ints:
    """Pairs (E, 2) of labels that share an edge, each once, the lower first."""
    sides = ((labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:]))
    pairs = np.concatenate([np.stack((a.ravel(), b.ravel()), axis=-1) for a, b in sides])
    return np.unique(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=-1), axis=0)


def otsu(values: Floats, bins: int = 64) -> float:
    """The threshold in [0, 1] that parts the values' histogram best."""
    counts, edges = np.histogram(values, bins, (0, 1))
    share, center = counts / counts.sum(), (edges[:-1] + edges[1:]) / 2
    below, mean_below = np.cumsum(share)[:-1], np.cumsum(share * center)[:-1]
    spread = (share @ center * below - mean_below) ** 2 / np.maximum(below * (1 - below), 1e-9)
    return float(edges[1:-1][np.argmax(spread)])


# ---------------------------------------------------------------- colours and edges


def _log_likelihood(colors: Floats, weight: Floats) -> Floats:
    """Of each colour (N, 3) under a mixture of Gaussians fitted to the weighted colours: (N,)."""
    member = _clusters(colors, weight)
    terms = []
    for cluster in range(COLORS):
        w = np.where(member == cluster, weight, 0)
        if w.sum() <= 1e-6:
            continue
        mean = w @ colors / w.sum()
        away = colors - mean
        covariance = (away * w[:, None]).T @ away / w.sum() + 4 * np.eye(3)
        distance = np.einsum("ni,ij,nj->n", away, np.linalg.inv(covariance), away)
        terms.append(np.log(w.sum() / weight.sum()) - 0.5 * (np.linalg.slogdet(covariance)[1] + distance))
    return np.asarray(np.logaddexp.reduce(terms, axis=0))


def _clusters(colors: Floats, weight: Floats, rounds: int = 6) -> Ints:
    """Weighted k-means from a fixed seed: the cluster of each colour (N,)."""
    random = np.random.default_rng(0)
    centers = colors[random.choice(len(colors), 1, p=weight / weight.sum())]
    while len(centers) < COLORS:
        far = _squared(colors, centers).min(1) * weight
        p = far / far.sum() if far.sum() > 0 else weight / weight.sum()
        centers = np.concatenate([centers, colors[random.choice(len(colors), 1, p=p)]])
    for _ in range(rounds):
        member = _squared(colors, centers).argmin(1)
        for cluster in range(COLORS):
            w = np.where(member == cluster, weight, 0)
            centers[cluster] = w @ colors / w.sum() if w.sum() > 0 else centers[cluster]
    return _squared(colors, centers).argmin(1)


def _squared(colors: Floats, centers: Floats) -> Floats:
    return np.asarray(((colors[:, None] - centers[None]) ** 2).sum(-1))


def random_walk(lab: Floats, prior: Floats, trust: float = 0.05) -> Floats:
    """The smoothest map near the prior (H, W), where smooth means alike across pixels of like colour."""
    height, width = prior.shape
    index = np.arange(height * width).reshape(height, width)
    steps = (
        (index[:, :-1], index[:, 1:], 1.0),
        (index[:-1], index[1:], 1.0),
        (index[:-1, :-1], index[1:, 1:], 0.7),
        (index[:-1, 1:], index[1:, :-1], 0.7),
    )
    pairs = np.concatenate([np.stack((a.ravel(), b.ravel()), axis=-1) for a, b, _ in steps])
    closeness = np.concatenate([np.full(a.size, value) for a, _, value in steps])
    flat = lab.reshape(-1, 3)
    distance = ((flat[pairs[:, 0]] - flat[pairs[:, 1]]) ** 2).sum(-1)
    alike = closeness * np.exp(-distance / (2 * distance.mean() + 1e-9)) + 1e-4
    system = (_laplacian(pairs, alike, index.size) + diags(np.full(index.size, trust))).tocsr()
    start = prior.ravel()
    solution, _ = cg(system, trust * start, x0=start, rtol=1e-4, maxiter=300, M=diags(1 / system.diagonal()))
    return np.asarray(solution.reshape(height, width))


def _laplacian(pairs: Ints, weight: Floats, n: int) -> csr_matrix[Any]:
    one_way = coo_matrix((weight, tuple(pairs.T)), (n, n))
    both = (one_way + one_way.T).tocsr()
    return diags(np.asarray(both.sum(1)).ravel()) - both


# ---------------------------------------------------------------- the outcome


def _soft_edge(opacity: NDArray[np.float32], scale: float) -> NDArray[np.float32]:
    """Keep the main parts, fill pinholes, and leave a soft edge about a pixel of the small picture wide."""
    solid = _filled(_main_parts(opacity), largest=0.005)
    near = ndimage.binary_dilation(solid, iterations=max(1, round(scale)))
    edge = np.clip((opacity - OPAQUE) * 2 + OPAQUE, 0, 1)
    edge = np.where(solid, np.maximum(edge, OPAQUE), np.minimum(edge, OPAQUE - 0.01))
    inside = ndimage.binary_erosion(solid, iterations=max(1, round(scale)), border_value=1)
    return np.where(inside, 1, np.where(near, edge, 0)).astype(np.float32)


def _main_parts(opacity: NDArray[np.float32]) -> Bools:
    """The connected parts whose central mass is at least 0.6 of the greatest."""
    height, width = opacity.shape
    parts, count = ndimage.label(opacity > OPAQUE)
    if not count:
        return np.zeros((height, width), bool)
    y, x = np.mgrid[:height, :width]
    y, x = y / height - 0.5, x / width - 0.5
    central = np.exp(-(y**2 + x**2) / (2 * 0.2**2))
    mass = np.bincount(parts.ravel(), (opacity * central).ravel(), count + 1)
    mass[0] = 0
    return np.isin(parts, np.flatnonzero(mass >= 0.6 * mass.max()))


def _filled(mask: Bools, largest: float) -> Bools:
    """Holes of less than `largest` of the picture filled."""
    holes, count = ndimage.label(~mask)
    size = np.bincount(holes.ravel(), minlength=count + 1)
    size[0] = mask.size
    return np.asarray(mask | np.isin(holes, np.flatnonzero(size < largest * mask.size)))


def _unit(values: Floats) -> Floats:
    """Stretched to [0, 1]."""
    return np.asarray((values - values.min()) / (np.ptp(values) + 1e-9))


def _logit(share: Floats | float) -> Floats:
    return np.asarray(np.log(0.05 + share) - np.log(1.05 - np.asarray(share)))
