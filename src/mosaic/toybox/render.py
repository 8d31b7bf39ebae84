"""Ray casting of many scenes at once, in batched PyTorch, on any device.

Letters: B scenes, N parts of all scenes, F fragments (a ray on a part), H, W sub-sampled rows and columns.

Each part is tried only on the pixels its bounding box covers; the nearest hit of a pixel is found by one
scatter-minimum over keys that hold depth in their upper and the part in their lower half. Beside the picture
a render keeps what every sub-pixel shows: which part, where on it (unit-frame coordinates) and how deep.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, normalize

from mosaic.toybox.scene import GROUNDS, Camera, Scene
from mosaic.toybox.solids import Solid, intersect, normal
from mosaic.toybox.toy import Model, model, posed

FINE = 2  # sub-samples a pixel and axis
_WINDOWS = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048)
_FAR = torch.iinfo(torch.int64).max


@dataclass(frozen=True, slots=True)
class Parts:
    """All parts of a batch of scenes as tensors over N."""

    scene: Tensor  # (N,) long
    toy: Tensor  # (N,) long, within the scene
    solid: Tensor  # (N,) long
    shape: Tensor  # (N,)
    frame: Tensor  # (N, 3, 4) unit frame → world
    inverse: Tensor  # (N, 3, 4)
    rest: Tensor  # (N, 3, 4) unit frame → toy frame
    rgb: Tensor  # (N, 3)
    pattern: Tensor  # (N,) long, 0 where none is painted
    pattern_rgb: Tensor  # (N, 3)
    first: Tensor  # (B, 9) index of each toy's first part, -1 where there is none


@dataclass(frozen=True, slots=True)
class View:
    """Cameras of B scenes: eye (B, 3), axes (B, 3, 3) rows right, up, forward, focal (B,) in half heights."""

    eye: Tensor
    axes: Tensor
    focal: Tensor


@dataclass(frozen=True, slots=True)
class Render:
    """What B scenes show. `part` is -1 where there is no toy; `depth` is along the viewing axis."""

    picture: Tensor  # (B, h, w, 3) uint8
    part: Tensor  # (B, H, W) long index into parts
    toy: Tensor  # (B, H, W) long, -1 where there is none
    local: Tensor  # (B, H, W, 3) place on the part, unit frame
    depth: Tensor  # (B, H, W)
    parts: Parts
    view: View

    def masks(self, toys: int) -> Tensor:
        """(B, toys, h, w) bool: pixels of which at least half is the toy's."""
        owned = torch.stack([(self.toy == k).float() for k in range(toys)], 1)
        return avg_pool2d(owned, FINE) >= 0.5


def render(scenes: Sequence[Scene], height: int, width: int, device: str | torch.device = "cpu") -> Render:
    """Pictures of the scenes, height × width pixels each, with everything a correspondence needs."""
    parts, view = _gather(scenes, device)
    rows, columns = height * FINE, width * FINE
    key = torch.full((len(scenes) * rows * columns,), _FAR, dtype=torch.int64, device=device)
    for chosen, top, left, side in _windows(parts, view, rows, columns):
        _cast(parts, view, chosen, top, left, side, rows, columns, key)
    hit = (key != _FAR).nonzero()[:, 0]
    part, toy = torch.full_like(key, -1), torch.full_like(key, -1)
    part[hit] = key[hit] & 0xFFFFFFFF
    depth = torch.full(key.shape, torch.inf, device=device)
    depth[hit] = (key[hit] >> 32).int().view(torch.float32)
    local, colour = torch.zeros(*key.shape, 3, device=device), torch.zeros(*key.shape, 3, device=device)
    scene, row, column = _unravel(hit, rows, columns)
    direction = _rays(view, scene, row, column, rows, columns)
    lights = normalize(torch.tensor([s.light for s in scenes], device=device).view(-1, 3), dim=-1)
    local[hit], colour[hit] = _shade(parts, part[hit], view.eye[scene], direction, depth[hit], lights[scene])
    shape = (len(scenes), rows, columns)
    toy[hit] = parts.toy[part[hit]]
    toy = toy.view(shape)
    picture = _composite(scenes, view, colour.view(*shape, 3), toy >= 0, height, width)
    return Render(picture, part.view(shape), toy, local.view(*shape, 3), depth.view(shape), parts, view)


def _gather(scenes: Sequence[Scene], device: str | torch.device) -> tuple[Parts, View]:
    columns: dict[str, list[np.ndarray]] = {
        name: [] for name in ("scene", "toy", "frame", "pattern", "pattern_rgb")
    }
    models: list[Model] = []
    first, count = np.full((len(scenes), 9), -1), 0
    for s, scene in enumerate(scenes):
        for t, (toy, pose) in enumerate(zip(scene.toys, scene.poses, strict=True)):
            rest = model(toy)
            n = len(rest.solid)
            models.append(rest)
            columns["scene"].append(np.full(n, s))
            columns["toy"].append(np.full(n, t))
            columns["frame"].append(posed(rest, pose))
            columns["pattern"].append(rest.patterned * toy.identity.pattern)
            columns["pattern_rgb"].append(np.tile(rest.pattern_rgb, (n, 1)))
            first[s, t], count = count, count + n
    tensors = {name: _stack(values, device) for name, values in columns.items()}
    arrays = {
        name: _stack([getattr(m, name) for m in models], device)
        for name in ("solid", "shape", "frame", "rgb")
    }
    frame = tensors["frame"].view(-1, 3, 4)
    inverse = torch.linalg.inv(frame[:, :, :3])
    inverse = torch.cat([inverse, -inverse @ frame[:, :, 3:]], 2)
    parts = Parts(
        tensors["scene"].long(),
        tensors["toy"].long(),
        arrays["solid"].long(),
        arrays["shape"],
        frame,
        inverse,
        arrays["frame"].view(-1, 3, 4),
        arrays["rgb"].view(-1, 3),
        tensors["pattern"].long(),
        tensors["pattern_rgb"].view(-1, 3),
        torch.from_numpy(first).to(device),
    )
    return parts, _view([scene.camera for scene in scenes], device)


def _stack(arrays: list[np.ndarray], device: str | torch.device) -> Tensor:
    whole = np.concatenate(arrays) if arrays else np.zeros(0)
    return torch.from_numpy(whole).to(device=device, dtype=torch.float32)


def _view(cameras: list[Camera], device: str | torch.device) -> View:
    eye = torch.tensor([c.eye for c in cameras], dtype=torch.float32).view(-1, 3)
    forward = normalize(torch.tensor([c.aim for c in cameras], dtype=torch.float32).view(-1, 3) - eye, dim=-1)
    up = torch.tensor([0.0, 0.0, 1.0]).expand_as(forward)
    right = normalize(torch.linalg.cross(forward, up), dim=-1)
    axes = torch.stack([right, torch.linalg.cross(right, forward), forward], 1)
    return View(eye.to(device), axes.to(device), torch.tensor([c.focal for c in cameras]).to(device))


def project(
    view: View, scene: Tensor, point: Tensor, rows: int, columns: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Column, row (continuous, in samples; 0 = left, top edge) and depth of world points (…, 3)."""
    seen = (view.axes[scene] @ (point - view.eye[scene])[..., None])[..., 0]
    x, y, depth = seen.unbind(-1)
    scale = view.focal[scene] * rows / 2 / depth
    return columns / 2 + x * scale, rows / 2 - y * scale, depth


def _windows(parts: Parts, view: View, rows: int, columns: int) -> list[tuple[Tensor, Tensor, Tensor, int]]:
    """Parts by the side of the square window that holds them: (parts, top, left, side)."""
    if not len(parts.scene):
        return []
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], device=view.eye.device)] * 3)
    corners = corners.expand(len(parts.scene), 8, 3).clone()
    corners[:, :, 2] *= torch.where(
        parts.solid == Solid.CAPSULE, 1 + parts.shape, torch.ones_like(parts.shape)
    )[:, None]
    world = corners @ parts.frame[:, :, :3].mT + parts.frame[:, None, :, 3]
    x, y, _ = project(view, parts.scene[:, None].expand(-1, 8), world, rows, columns)
    left, top = x.amin(1).floor().long().clamp(0, columns - 1), y.amin(1).floor().long().clamp(0, rows - 1)
    extent = torch.maximum(x.amax(1).ceil().long() - left, y.amax(1).ceil().long() - top).clamp(min=1)
    result, least = [], 0
    for side in _WINDOWS:
        chosen = ((extent > least) & (extent <= side)).nonzero()[:, 0]
        least = side
        if len(chosen):
            fit = side if side <= min(rows, columns) else 0  # a window wider than the picture overhangs it
            result.append(
                (chosen, top[chosen].clamp(max=rows - fit), left[chosen].clamp(max=columns - fit), side)
            )
    return result


def _cast(
    parts: Parts,
    view: View,
    chosen: Tensor,
    top: Tensor,
    left: Tensor,
    side: int,
    rows: int,
    columns: int,
    key: Tensor,
) -> None:
    """Lowers `key` where one of the chosen parts is nearer than what was there."""
    for kind in Solid:
        mine = (parts.solid[chosen] == kind).nonzero()[:, 0]
        if not len(mine):
            continue
        part = chosen[mine]
        scene, inverse = parts.scene[part], parts.inverse[part]
        step = torch.arange(side, device=key.device)
        row = (top[mine, None] + step).repeat_interleave(side, 1)  # (N, F)
        column = (left[mine, None] + step).repeat(1, side)
        scale = 2 / rows / view.focal[scene, None]
        x, y = (column + 0.5 - columns / 2) * scale, (rows / 2 - row - 0.5) * scale
        right, up, ahead = (inverse[:, :, :3] @ view.axes[scene].mT).unbind(
            2
        )  # the camera's axes, unit frame
        start = (inverse @ _homogeneous(view.eye[scene])[..., None])[..., 0]
        ray = [right[:, c, None] * x + up[:, c, None] * y + ahead[:, c, None] for c in range(3)]
        origin = [start[:, c, None] for c in range(3)]
        t = intersect(
            kind, (origin[0], origin[1], origin[2]), (ray[0], ray[1], ray[2]), parts.shape[part, None]
        )
        if side > min(rows, columns):
            t = torch.where((row < rows) & (column < columns), t, torch.inf)
        n, hit = t.isfinite().nonzero(as_tuple=True)
        place = (scene[n] * rows + row[n, hit]) * columns + column[n, hit]
        value = (t[n, hit].view(torch.int32).long() << 32) | part[n]
        key.scatter_reduce_(0, place, value, "amin")


def _homogeneous(point: Tensor) -> Tensor:
    return torch.cat([point, torch.ones_like(point[..., :1])], -1)


def _rays(view: View, scene: Tensor, row: Tensor, column: Tensor, rows: int, columns: int) -> Tensor:
    """Directions (F, 3) through sample centres, of depth 1, so that t is the depth."""
    scale = 2 / rows / view.focal[scene]
    x, y = (column + 0.5 - columns / 2) * scale, (rows / 2 - row - 0.5) * scale
    axes = view.axes[scene]
    return axes[:, 0] * x[:, None] + axes[:, 1] * y[:, None] + axes[:, 2]


def _unravel(index: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor, Tensor]:
    return index // (rows * columns), index // columns % rows, index % columns


def _shade(
    parts: Parts, part: Tensor, eye: Tensor, ray: Tensor, depth: Tensor, light: Tensor
) -> tuple[Tensor, Tensor]:
    """Place on the part (F, 3) and colour (F, 3) in 0..1 of fragments."""
    inverse = parts.inverse[part]
    world = eye + depth[:, None] * ray
    local = (inverse @ _homogeneous(world)[..., None])[..., 0]
    facing = torch.zeros_like(local)
    solid, shape = parts.solid[part], parts.shape[part]
    for kind in Solid:
        mine = solid == kind
        facing[mine] = normal(kind, local[mine], shape[mine])
    facing = normalize((inverse[:, :, :3].mT @ facing[..., None])[..., 0], dim=-1)
    glow = 0.62 + 0.36 * (facing * light).sum(-1).clamp(min=0) + 0.08 * facing[:, 2]
    rest = (parts.rest[part] @ _homogeneous(local)[..., None])[..., 0]
    painted = pattern_shows(parts.pattern[part], rest)[:, None]
    colour = torch.where(painted, parts.pattern_rgb[part], parts.rgb[part])
    return local, (colour * glow[:, None]).clamp(0, 1)


def pattern_shows(pattern: Tensor, point: Tensor) -> Tensor:
    """Whether the pattern's colour shows at toy-frame points (F, 3); patterns as in `identity.PATTERNS`."""
    x, _, z = point.unbind(-1)
    cell = point / 0.26
    dots = ((cell - cell.floor() - 0.5) ** 2).sum(-1) < 0.16
    checks = cell.floor().sum(-1) % 2 == 0
    choices = [
        torch.zeros_like(dots),
        (z / 0.24) % 1 < 0.45,
        dots,
        checks,
        x > 0,
        (x / 0.24 + 0.25) % 1 < 0.45,
    ]
    return torch.stack(choices).gather(0, pattern[None])[0]


def _composite(
    scenes: Sequence[Scene], view: View, colour: Tensor, covered: Tensor, height: int, width: int
) -> Tensor:
    """Averages sub-samples and lays them over the backdrop; (B, h, w, 3) uint8."""
    cover = avg_pool2d(covered[:, None].float(), FINE)
    front = avg_pool2d(colour.permute(0, 3, 1, 2), FINE)
    whole = front
    for i, scene in enumerate(scenes):
        whole[i] += (1 - cover[i]) * _backdrop(scene, view, i, height, width).permute(2, 0, 1)
    return (whole.clamp(0, 1) * 255 + 0.5).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _backdrop(scene: Scene, view: View, index: int, height: int, width: int) -> Tensor:
    """(h, w, 3) in 0..1: sky above the horizon, ground with soft shadows below it; white without a ground."""
    device = view.eye.device
    if scene.ground is None:
        return torch.ones(height, width, 3, device=device)
    ground, sky = (torch.tensor(c, device=device) / 255 for c in GROUNDS[scene.ground])
    row, column = torch.meshgrid(
        torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij"
    )
    which = torch.full((height * width,), index, device=device)
    ray = _rays(view, which, row.flatten(), column.flatten(), height, width)
    reach = view.eye[index, 2] / (-ray[:, 2]).clamp(min=1e-4)
    x, y = ((view.eye[index, :2] + reach[:, None] * ray[:, :2]) / 1.0).unbind(-1)
    shade = (
        1
        + 0.03 * torch.sin(3.1 * x + 1.7 * torch.sin(2.3 * y))
        + 0.02 * torch.sin(7.3 * y + 2 * torch.sin(5.1 * x))
    )
    for pose in scene.poses:
        away = (
            (x - pose.place[0] + 0.3 * scene.light[0]) / 0.5,
            (y - pose.place[1] + 0.22 * scene.light[1]) / 0.42,
        )
        shade = shade * (1 - 0.42 * torch.exp(-((away[0] ** 2 + away[1] ** 2) ** 1.5)))
    haze = ((ray[:, 2] + 0.02) / 0.04).clamp(0, 1)[:, None]  # the horizon, softened
    return ((1 - haze) * ground * shade[:, None] + haze * sky).clamp(0, 1).view(height, width, 3)
