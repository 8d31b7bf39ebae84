"""IR-SE50: the published file's names and number of weights, and a literal computation by names."""

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from mosaic.perception.faces import load_face_embedder
from mosaic.perception.irse50 import IRSE50

from .tiny import random_picture

UNITS = [
    *[(64, 64)] * 3,
    (64, 128),
    *[(128, 128)] * 3,
    (128, 256),
    *[(256, 256)] * 13,
    (256, 512),
    *[(512, 512)] * 2,
]
HALVED = (0, 3, 7, 21)
NORM = ("weight", "bias", "running_mean", "running_var")
COUNTER = "num_batches_tracked"


def published() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of model_ir_se50.pth, written out; batch counters left out."""

    def norm(name: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield from ((f"{name}.{part}", (width,)) for part in NORM)

    yield "input_layer.0.weight", (64, 3, 3, 3)
    yield from norm("input_layer.1", 64)
    yield "input_layer.2.weight", (64,)
    for number, (before, after) in enumerate(UNITS):
        unit = f"body.{number}"
        if before != after:
            yield f"{unit}.shortcut_layer.0.weight", (after, before, 1, 1)
            yield from norm(f"{unit}.shortcut_layer.1", after)
        yield from norm(f"{unit}.res_layer.0", before)
        yield f"{unit}.res_layer.1.weight", (after, before, 3, 3)
        yield f"{unit}.res_layer.2.weight", (after,)
        yield f"{unit}.res_layer.3.weight", (after, after, 3, 3)
        yield from norm(f"{unit}.res_layer.4", after)
        yield f"{unit}.res_layer.5.fc1.weight", (after // 16, after, 1, 1)
        yield f"{unit}.res_layer.5.fc2.weight", (after, after // 16, 1, 1)
    yield from norm("output_layer.0", 512)
    yield "output_layer.3.weight", (512, 512 * 7 * 7)
    yield "output_layer.3.bias", (512,)
    yield from norm("output_layer.4", 512)


@functools.cache
def random_state() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in published():
        values = torch.randn(shape, generator=generator)
        if len(shape) > 1:
            values *= (1.5 / np.prod(shape[1:])) ** 0.5
        elif name.endswith(("running_var", "weight")):
            values = 0.5 + values.abs() / 4
        else:
            values /= 10
        state[name] = values
    return state


def literal(state: dict[str, torch.Tensor], faces: torch.Tensor) -> torch.Tensor:
    """(N, 3, 112, 112) in [−1, 1] → (N, 512), by names, one operation a line."""

    def norm(name: str, x: torch.Tensor) -> torch.Tensor:
        weight, bias, mean, var = (state[f"{name}.{part}"] for part in NORM)
        shape = (1, -1) + (1,) * (x.ndim - 2)
        return (x - mean.view(shape)) / (var.view(shape) + 1e-5).sqrt() * weight.view(shape) + bias.view(
            shape
        )

    def prelu(name: str, x: torch.Tensor) -> torch.Tensor:
        return torch.where(x >= 0, x, x * state[f"{name}.weight"].view(1, -1, 1, 1))

    def conv(name: str, x: torch.Tensor, stride: int = 1) -> torch.Tensor:
        weight = state[f"{name}.weight"]
        return functional.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)

    x = prelu("input_layer.2", norm("input_layer.1", conv("input_layer.0", faces)))
    for number, (before, after) in enumerate(UNITS):
        name, stride = f"body.{number}.res_layer", 2 if number in HALVED else 1
        y = prelu(f"{name}.2", conv(f"{name}.1", norm(f"{name}.0", x)))
        y = norm(f"{name}.4", conv(f"{name}.3", y, stride))
        mean = y.sum((2, 3), keepdim=True) / (y.shape[2] * y.shape[3])
        y = y / (1 + torch.exp(-conv(f"{name}.5.fc2", conv(f"{name}.5.fc1", mean).clamp(min=0))))
        short = x[:, :, ::stride, ::stride]
        if before != after:
            short = norm(f"body.{number}.shortcut_layer.1", conv(f"body.{number}.shortcut_layer.0", short))
        x = y + short
    x = norm("output_layer.0", x).reshape(len(x), -1)
    x = norm("output_layer.4", x @ state["output_layer.3.weight"].T + state["output_layer.3.bias"])
    return x / (x**2).sum(1, keepdim=True).sqrt()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("irse50") / "model_ir_se50.safetensors"
    save_file(random_state(), path)
    return path


def test_the_published_number_of_weights() -> None:
    """43.8 M; with the moving means 175 296 276 bytes of the file's 175 367 323, the rest being names."""
    learnt = sum(int(np.prod(shape)) for name, shape in published() if "running" not in name)
    everything = sum(int(np.prod(shape)) for _, shape in published())
    assert learnt == 43_797_696
    assert 0 < 175_367_323 - 4 * everything < 100_000
    with torch.device("meta"):
        from mosaic.perception.irse50 import Network

        network = Network()
    assert sum(weight.numel() for weight in network.parameters()) == learnt
    ours = {name: tuple(value.shape) for name, value in network.state_dict().items() if COUNTER not in name}
    assert ours == dict(published())


@pytest.fixture(scope="module")
def embed(file: Path) -> IRSE50:
    return IRSE50(file, device="cpu", batch=1)


def test_vectors_are_the_literal_computation(embed: IRSE50) -> None:
    faces = [random_picture(112, 112, seed) for seed in range(2)]
    values = torch.from_numpy(np.stack(faces)).permute(0, 3, 1, 2).float() / 127.5 - 1
    vectors = embed(faces)
    np.testing.assert_allclose(vectors, literal(random_state(), values).numpy(), atol=2e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert embed([]).shape == (0, 512) and embed.width == 512


def test_a_file_of_the_old_format_is_read_too(embed: IRSE50, tmp_path: Path) -> None:
    """As PyTorch wrote it in 2018: no zip, and here with batch counters, which the other one lacks."""
    state, old = random_state(), tmp_path / "model_ir_se50.pth"
    counters = {
        name.replace("running_mean", COUNTER): torch.tensor(7) for name in state if "running_mean" in name
    }
    torch.save(state | counters, old, _use_new_zipfile_serialization=False)
    face = [random_picture(112, 112)]
    np.testing.assert_array_equal(load_face_embedder(old, "cpu")(face), embed(face))


def test_another_networks_file_is_one_sentence(tmp_path: Path) -> None:
    state = {name: torch.zeros(1) for name, _ in published()}
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"IR-SE50 cannot be loaded from .*other"):
        load_face_embedder(tmp_path / "other.safetensors")
