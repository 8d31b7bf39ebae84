"""The pipeline on a tiny random model: FLUX without references, and everything references add."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline
from fixtures_model import draw_photo, draw_subject, write_lora, write_model

from mosaic.geometry import Grid
from mosaic.model.layout import Visibility
from mosaic.model.reference_cache import load_cache, save_cache
from mosaic.pipeline import AttentionRequest, MosaicPipeline, load, spread_tokens
from mosaic.pipeline.latents import noise_of
from mosaic.sample import Reference, Subject

PROMPT = "a photo of a bear and a robot on grass"
FEW = {"steps": 3, "height": 64, "width": 64}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    folders = {
        "two-pass": write_model(root / "two-pass", default_size=64, default_steps=3, default_guidance=2.0),
        "embedded": write_model(root / "embedded", guidance_embeds=True),
        "few-steps": write_model(root / "few-steps", shifting=False),
    }
    kinds = {
        "release": {"canvas_size": 32},
        "isolated": {"visibility": "isolated", "reference_pooled": "null", "canvas_size": 32},
        "isolated-prompt": {"visibility": "isolated", "canvas_size": 32},
        "full": {"visibility": "full", "positions": "diagonal", "canvas": "letterbox"},
    }
    for name, metadata in kinds.items():
        folders[name] = write_lora(folders["two-pass"], root / f"{name}.safetensors", **metadata)
    return folders


@pytest.fixture(scope="module")
def release(folders: dict[str, Path]) -> MosaicPipeline:
    return load(folders["two-pass"], folders["release"])


@pytest.fixture(scope="module")
def isolated(folders: dict[str, Path]) -> MosaicPipeline:
    return load(folders["two-pass"], folders["isolated"])


def reference(index: int, name: str = "bear", side: int = 96) -> Reference:
    image = np.asarray(draw_subject(index, side))
    return Reference(subject=Subject(id=name, name=name), image=image, mask=image.min(axis=2) < 255)


def pixels(pipeline: MosaicPipeline, references: list = (), **options: object) -> np.ndarray:
    return np.asarray(pipeline(PROMPT, references, **FEW | options).images[0]).astype(int)


@pytest.mark.parametrize("kind", ["embedded", "few-steps"])
def test_without_references_it_is_flux(folders: dict[str, Path], kind: str) -> None:
    flux = FluxPipeline.from_pretrained(folders[kind])
    flux.set_progress_bar_config(disable=True)
    size, steps, guidance = {"height": 64, "width": 96}, 4, 3.5 if kind == "embedded" else 1.0
    generator = torch.Generator("cpu").manual_seed(7)
    theirs = flux(
        PROMPT,
        num_inference_steps=steps,
        guidance_scale=guidance,
        generator=generator,
        max_sequence_length=16,
        output_type="np",
        **size,
    ).images[0]
    ours = load(folders[kind])(PROMPT, steps=steps, guidance=guidance, seed=7, **size).images[0]
    # ours is rounded to 8 bits
    assert np.abs(np.asarray(ours) / 255 - theirs).max() <= 0.5 / 255 + 1e-4


def test_latents_without_references_equal_flux(folders: dict[str, Path]) -> None:
    flux = FluxPipeline.from_pretrained(folders["embedded"])
    flux.set_progress_bar_config(disable=True)
    theirs = flux(
        PROMPT,
        num_inference_steps=5,
        guidance_scale=3.5,
        generator=torch.Generator("cpu").manual_seed(3),
        max_sequence_length=16,
        output_type="latent",
        height=64,
        width=64,
    ).images
    ours: list[torch.Tensor] = []
    load(folders["embedded"])(
        PROMPT, steps=5, guidance=3.5, seed=3, height=64, width=64, callback=lambda step, x, s: ours.append(x)
    )
    assert len(ours) == 5
    assert (ours[-1] - theirs).abs().max() <= 1e-4


def test_true_guidance_equals_flux_with_an_empty_negative_prompt(folders: dict[str, Path]) -> None:
    flux = FluxPipeline.from_pretrained(folders["two-pass"])
    flux.set_progress_bar_config(disable=True)
    theirs = flux(
        PROMPT,
        negative_prompt="",
        true_cfg_scale=3.0,
        num_inference_steps=4,
        generator=torch.Generator("cpu").manual_seed(3),
        max_sequence_length=16,
        output_type="latent",
        height=64,
        width=64,
    ).images
    ours: list[torch.Tensor] = []
    load(folders["two-pass"])(
        PROMPT, steps=4, guidance=3.0, seed=3, height=64, width=64, callback=lambda step, x, s: ours.append(x)
    )
    assert (ours[-1] - theirs).abs().max() <= 1e-4


def test_noise_is_that_of_flux(folders: dict[str, Path]) -> None:
    generator = torch.Generator("cpu").manual_seed(11)
    flux = FluxPipeline.from_pretrained(folders["two-pass"])
    theirs, _ = flux.prepare_latents(1, 16, 48, 80, torch.float32, torch.device("cpu"), generator)
    assert torch.equal(noise_of(11, Grid.of_pixels(48, 80)), theirs)


def test_same_seed_same_picture(release: MosaicPipeline) -> None:
    references = [reference(0), reference(1, "robot")]
    first, again = (pixels(release, references, seed=5) for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, pixels(release, references, seed=6))


def test_count_equals_single_runs(release: MosaicPipeline) -> None:
    together = release(PROMPT, [reference(0)], **FEW, seed=4, count=3).images
    for i, image in enumerate(together):
        assert np.array_equal(np.asarray(image), pixels(release, [reference(0)], seed=4 + i))


@pytest.mark.parametrize("kind", ["release", "isolated", "full"])
def test_no_reference_to_eight(folders: dict[str, Path], kind: str) -> None:
    pipeline = load(folders["two-pass"], folders[kind])
    pictures = [pixels(pipeline, [reference(i) for i in range(k)], steps=1) for k in range(9)]
    assert all(not np.array_equal(a, b) for i, a in enumerate(pictures) for b in pictures[:i])


def test_a_lora_changes_nothing_without_references(folders: dict[str, Path], release: MosaicPipeline) -> None:
    assert np.array_equal(pixels(load(folders["two-pass"])), pixels(release))


def test_more_than_eight_are_refused(release: MosaicPipeline) -> None:
    with pytest.raises(ValueError, match="at most 8 references"):
        release(PROMPT, [reference(i) for i in range(9)], **FEW)


@pytest.mark.parametrize("kind", ["isolated", "isolated-prompt"])
def test_cached_equals_uncached(folders: dict[str, Path], kind: str) -> None:
    pipeline = load(folders["two-pass"], folders[kind])
    references = [reference(0), reference(1, "robot", side=64)]
    ours: list[list[torch.Tensor]] = [[], []]
    for caches, kept in zip((True, False), ours, strict=True):
        pipeline.caches_references = caches
        pipeline(PROMPT, references, **FEW, callback=lambda step, x, s, kept=kept: kept.append(x))
    assert (ours[0][-1] - ours[1][-1]).abs().max() <= 1e-5


def test_a_cache_on_disk_serves_any_prompt(isolated: MosaicPipeline, tmp_path: Path) -> None:
    encoded = isolated.encode_references([reference(0)], (64, 64))[0]
    save_cache(isolated.cache(encoded), tmp_path / "bear.safetensors")
    kept = load_cache(tmp_path / "bear.safetensors")
    for prompt in ("a bear", "a robot on sand"):
        ours, theirs = (isolated(prompt, [x, reference(1)], **FEW).images[0] for x in (kept, reference(0)))
        assert np.array_equal(np.asarray(ours), np.asarray(theirs))


def test_a_cache_of_other_weights_is_refused(folders: dict[str, Path], isolated: MosaicPipeline) -> None:
    cache = isolated.cache(isolated.encode_references([reference(0)], (64, 64))[0])
    other = load(folders["two-pass"], folders["isolated-prompt"])
    with pytest.raises(ValueError, match="another lora"):
        other(PROMPT, [cache], **FEW)


def test_no_cache_for_references_that_see_the_target(
    release: MosaicPipeline, isolated: MosaicPipeline
) -> None:
    encoded = release.encode_references([reference(0)], (64, 64))[0]
    with pytest.raises(ValueError, match="isolated and null alone"):
        release.cache(encoded)
    cache = isolated.cache(isolated.encode_references([reference(0)], (64, 64))[0])
    with pytest.raises(ValueError, match="cannot come from a cache"):
        isolated(PROMPT, [cache], visibility="release", **FEW)


def test_frequency_positions_run_isolated_references_uncached(isolated: MosaicPipeline) -> None:
    shown = {"visibility": "isolated", "positions": "frequency"}
    assert isolated(PROMPT, [reference(0), reference(1)], **shown, **FEW).images
    cache = isolated.cache(isolated.encode_references([reference(0)], (64, 64))[0])
    with pytest.raises(ValueError, match="frequency positions"):
        isolated(PROMPT, [cache], **shown, **FEW)


def test_metadata_is_obeyed(folders: dict[str, Path]) -> None:
    pipeline = load(folders["two-pass"], folders["full"])
    encoded = pipeline.encode_references([reference(0, side=96)], (64, 96))
    layout = pipeline.plan(PROMPT, encoded, size=(64, 96)).full.layout
    assert (layout.visibility, layout.positions) == ("full", "diagonal")
    assert layout.references == (Grid(4, 6),)  # letterbox on the target's size
    pipeline.load_lora(folders["isolated"])
    encoded = pipeline.encode_references([reference(0)], (64, 96))
    plan = pipeline.plan(PROMPT, encoded, size=(64, 96))
    assert plan.full.layout.visibility is Visibility.ISOLATED
    assert plan.full.layout.references == (Grid(2, 2),)
    assert plan.full.cache is not None


def test_null_pooled_vector_is_obeyed(folders: dict[str, Path]) -> None:
    pipeline = load(folders["two-pass"], folders["isolated"])
    pipeline.caches_references = False
    plan = pipeline.plan(PROMPT, pipeline.encode_references([reference(0)], (64, 64)))
    assert plan.full.reference_pooled is not None
    assert not plan.full.reference_pooled.any()
    pipeline.load_lora(folders["release"])
    assert (
        pipeline.plan(PROMPT, pipeline.encode_references([reference(0)], (64, 64))).full.reference_pooled
        is None
    )


def test_another_visibility_is_allowed_and_said(
    release: MosaicPipeline, caplog: pytest.LogCaptureFixture
) -> None:
    references = [reference(0), reference(1)]
    different = pixels(release, references, visibility="full")
    assert "trained with release visibility, not full" in caplog.text
    assert not np.array_equal(different, pixels(release, references))
    caplog.clear()
    pixels(release, references, visibility="release")
    assert not caplog.records


def test_a_lora_that_says_nothing_is_the_release(
    folders: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from safetensors.torch import load_file, save_file

    save_file(load_file(folders["full"]), tmp_path / "plain.safetensors")
    pipeline = load(folders["two-pass"], tmp_path / "plain.safetensors")
    assert "plain.safetensors does not say how it must be run" in caplog.text
    assert pipeline.lora.visibility is Visibility.RELEASE


def test_a_lora_beside_the_models_own_is_named(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(folders["few-steps"], folder)
    write_lora(folder, folder / "lora.safetensors", visibility="release")
    beside = write_lora(folder, folder / "lora-alone.safetensors", visibility="isolated")
    assert load(folder).lora.visibility == "release"
    assert load(folder, "alone").lora.visibility == "isolated"
    assert load(folder, beside).weights == load(folder, "alone").weights
    with pytest.raises(ValueError, match=r"no LoRA other: .* or one that the model has: alone\."):
        load(folder, "other")


def test_references_without_a_lora_are_warned_of(
    folders: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    pixels(load(folders["two-pass"]), [reference(0)], steps=1)
    assert "no LoRA" in caplog.text


@pytest.mark.parametrize("kind", ["release", "isolated", "full"])
def test_attention_is_read(folders: dict[str, Path], kind: str) -> None:
    pipeline = load(folders["two-pass"], folders[kind])
    references = [reference(0), reference(1, "robot")]
    encoded = pipeline.encode_references(references, (64, 96), canvas_size=48)
    tokens = tuple(spread_tokens(r.canvas.mask, r.grid, 3 - i) for i, r in enumerate(encoded))
    request = AttentionRequest(tokens=tokens)
    plain = pipeline(PROMPT, encoded, height=64, width=96, steps=3)
    read = pipeline(PROMPT, encoded, height=64, width=96, steps=3, attention=request)
    assert np.array_equal(np.asarray(plain.images[0]), np.asarray(read.images[0]))
    attention = read.attention[0]
    assert [rows.shape for rows in attention.looks] == [(3, 24), (2, 24)]
    assert attention.owners.shape == (2, 24)
    for rows in (*attention.looks, attention.owners.T):
        assert np.allclose(rows.sum(axis=1), 1, atol=1e-4)
        assert (rows >= 0).all()


def test_spread_tokens_lie_apart_on_the_foreground() -> None:
    mask = np.zeros((64, 64), bool)
    mask[:, :32] = True
    tokens = spread_tokens(mask, Grid(4, 4), 4)
    assert len(set(tokens)) == 4
    assert all(token % 4 < 2 for token in tokens)
    assert spread_tokens(np.zeros((32, 32), bool), Grid(2, 2), 9) != ()


def test_saved_again_it_is_a_flux_folder(folders: dict[str, Path], tmp_path: Path) -> None:
    load(folders["two-pass"]).save_pretrained(tmp_path / "again")
    index = json.loads((tmp_path / "again" / "model_index.json").read_text())
    assert index["_class_name"] == "FluxPipeline"
    assert index["transformer"] == ["diffusers", "FluxTransformer2DModel"]
    assert index["default_size"] == 64
    FluxPipeline.from_pretrained(tmp_path / "again")
    assert np.array_equal(pixels(load(tmp_path / "again")), pixels(load(folders["two-pass"])))


def test_a_long_prompt_is_cut_and_said(release: MosaicPipeline, caplog: pytest.LogCaptureFixture) -> None:
    release("a bear on grass and " * 9, steps=1)
    assert "longer than the 16 tokens" in caplog.text


def test_a_photograph_on_the_released_canvas_is_white_around(release: MosaicPipeline) -> None:
    image = np.asarray(draw_photo(0))
    photo = Reference(subject=Subject(id="a", name="bear"), image=image, mask=np.ones(image.shape[:2], bool))
    canvas = release.encode_references([photo], (64, 64), "released", 64)[0].canvas
    assert (canvas.image[:2] == 255).all()
    assert not canvas.mask[:2].any()
