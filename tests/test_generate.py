"""`mosaic generate` and `mosaic encode` on real files, through the real command line."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures_model import draw_photo, draw_subject, write_lora, write_model
from PIL import Image

from mosaic import hub
from mosaic.cli import run
from mosaic.generate import GenerateOptions, generate, mentions, options_of
from mosaic.model import quantize
from mosaic.pictures import file_hash, read_recipe
from mosaic.pipeline import memory

PROMPT = "a bear and a robot on grass"
WRONG = ({"count": 0}, {"seed": -1}, {"cutout": "yes"}, {"size": (10, 16)}, {"prompt": " "})


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model/ (with a LoRA of isolated visibility of its own), release.safetensors and four pictures."""
    root = tmp_path_factory.mktemp("generate")
    model = write_model(root / "model", default_size=64, default_steps=2, default_guidance=2.0)
    isolated = {"visibility": "isolated", "reference_pooled": "null", "canvas_size": 32}
    write_lora(model, model / "lora.safetensors", **isolated)
    write_lora(model, root / "release.safetensors", canvas_size=32)
    for i, name in enumerate(("bear", "robot", "mug", "duck")):
        draw_subject(i).save(root / f"{name}.png")
    return root


@pytest.fixture
def inside(work: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(work)
    return work


def command(*words: str, status: int = 0) -> None:
    assert run(list(words)) == status


def make(output: Path, *words: str, status: int = 0, prompt: str = PROMPT) -> Path:
    command("generate", prompt, "--model", "model", "--output", str(output), *words, status=status)
    return output


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


BOTH = ("--reference", "bear=bear.png", "--reference", "robot=robot.png")


def test_files_become_a_picture_twice_the_same(inside: Path, tmp_path: Path) -> None:
    first = make(tmp_path / "new" / "a.png", *BOTH, "--seed", "3")
    again = make(tmp_path / "b.png", *BOTH, "--seed", "3")
    assert pixels(first).shape == (64, 64, 3)
    assert first.read_bytes() == again.read_bytes()
    other = make(tmp_path / "c.png", *BOTH, "--seed", "4")
    assert not np.array_equal(pixels(first), pixels(other))


def test_count_numbers_the_files_and_equals_single_runs(inside: Path, tmp_path: Path) -> None:
    make(tmp_path / "a.png", *BOTH, "--seed", "7", "--count", "3")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a-1.png", "a-2.png", "a-3.png"]
    for i in range(3):
        alone = make(tmp_path / "one.png", *BOTH, "--seed", str(7 + i))
        assert alone.read_bytes() == (tmp_path / f"a-{i + 1}.png").read_bytes()


def test_the_recipe_tells_what_made_it(inside: Path, tmp_path: Path) -> None:
    file = make(
        tmp_path / "a.png", *BOTH, "--seed", "5", "--size", "96x64", "--steps", "1", "--guidance", "3"
    )
    recipe = read_recipe(file)
    told = {name: recipe[name] for name in ("prompt", "seed", "size", "steps", "guidance", "model")}
    wanted = {"prompt": PROMPT, "seed": 5, "size": [96, 64], "steps": 1, "guidance": 3.0, "model": "model"}
    assert told == wanted
    assert recipe["visibility"] == "isolated"
    assert recipe["references"][1] == {"name": "robot", "file": "robot.png", "sha256": file_hash("robot.png")}
    assert set(recipe["hashes"]) == {"model", "lora"}
    assert Image.open(file).text["Description"] == PROMPT
    assert str(inside).encode() not in file.read_bytes()  # no folder of the user's


def test_a_picture_is_made_again_from_its_png(inside: Path, tmp_path: Path) -> None:
    first = make(tmp_path / "a.png", *BOTH, "--seed", "5", "--size", "96x64", "--canvas", "letterbox")
    references = [("bear", Path("bear.png")), ("robot", Path("robot.png"))]
    generate(options_of(first, tmp_path / "b.png", references))
    assert first.read_bytes() == (tmp_path / "b.png").read_bytes()
    with pytest.raises(ValueError, match="is another"):
        options_of(first, tmp_path / "b.png", [("bear", Path("bear.png")), ("robot", Path("mug.png"))])
    with pytest.raises(ValueError, match="made from 2 references"):
        options_of(first, tmp_path / "b.png")


def test_an_encoded_reference_gives_the_same_picture(inside: Path, tmp_path: Path) -> None:
    cache = tmp_path / "caches" / "bear.safetensors"
    command("encode", "bear=bear.png", "--model", "model", "--output", str(cache))
    ours = make(tmp_path / "a.png", "--reference", f"bear={cache}", "--reference", "robot=robot.png")
    theirs = make(tmp_path / "b.png", *BOTH)
    assert np.array_equal(pixels(ours), pixels(theirs))


def test_a_repeated_name_is_a_further_view(inside: Path, tmp_path: Path) -> None:
    views = ("--reference", "bear=bear.png", "--reference", "bear=mug.png")
    make(tmp_path / "a.png", *views, "--attention", str(tmp_path / "maps"))
    names = sorted(file.name for file in (tmp_path / "maps").iterdir())
    assert names == ["looks.png", "owners.png", "reference-1-bear.png", "reference-2-bear.png"]


@pytest.mark.parametrize("lora", ["model/lora.safetensors", "release.safetensors"])
def test_attention_pictures_come_along(inside: Path, tmp_path: Path, lora: str) -> None:
    words = ("--lora", lora, *BOTH)
    make(tmp_path / "a.png", *words, "--attention", str(tmp_path / "maps"), "--count", "2")
    assert len(list((tmp_path / "maps").glob("a-2-*.png"))) == 4
    plain = make(tmp_path / "b.png", *words)
    assert np.array_equal(pixels(plain), pixels(tmp_path / "a-1.png"))


def test_any_file_any_number(inside: Path, tmp_path: Path) -> None:
    draw_photo(0).save(tmp_path / "bear.jpg", quality=60)
    draw_subject(1).convert("P").save(tmp_path / "robot.gif")
    draw_subject(2).convert("CMYK").save(tmp_path / "mug.tif")
    references: list[str] = []
    make(tmp_path / "0.png")
    for name in (
        "bear.jpg",
        "robot.gif",
        "mug.tif",
        "bear.jpg",
        "robot.gif",
        "mug.tif",
        "bear.jpg",
        "mug.tif",
    ):
        references += ["--reference", f"{name.partition('.')[0]}={tmp_path / name}"]
    make(tmp_path / "8.png", *references)
    make(tmp_path / "2.png", *references[:4], "--cutout", "auto")
    assert len(read_recipe(tmp_path / "8.png")["references"]) == 8


def test_a_name_the_prompt_lacks_is_warned_of(
    inside: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "a.png", *BOTH, "--reference", "mug=mug.png", prompt="two Bears and a robot")
    told = capsys.readouterr().err
    assert 'does not mention "mug"' in told
    assert "bear" not in told


def test_a_noisy_white_border_is_warned_of(
    inside: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noisy = np.asarray(draw_subject(0)).copy()
    noisy[0, :, 1] = 253
    Image.fromarray(noisy).save(tmp_path / "noisy.png")
    make(tmp_path / "a.png", "--reference", f"bear={tmp_path / 'noisy.png'}")
    assert "not quite white" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("prompt", "name", "found"),
    [
        ("a Bear on grass", "bear", True),
        ("two bears", "bear", True),
        ("two boxes", "box", True),
        ("a bearded man", "bear", False),
        ("a red rubber duck", "rubber_duck", True),
        ("a rubber-duck.", "rubber duck", True),
        ("", "bear", False),
        ("a c++ mug", "c++", True),
    ],
)
def test_mentions(prompt: str, name: str, found: bool) -> None:
    assert mentions(prompt, name) is found


# ---------------------------------------------------------------- what is refused


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """One line on stderr, status 2; the line."""
    capsys.readouterr()
    command(*words, status=2)
    told = capsys.readouterr()
    assert told.out == ""
    line = told.err.strip().splitlines()
    assert len(line) == 1 and line[0].startswith("mosaic: ")
    return line[0]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--reference", "bear=missing.png"], "missing.png does not exist"),
        (["--reference", "bear=model"], "is a folder"),
        (["--reference", "bear=model/model_index.json"], "no picture that Pillow reads"),
        (["--reference", "bear=missing.safetensors"], "mosaic encode"),
        (["--reference", "bear=release.safetensors"], "not a reference cache"),
        (["--reference", "bear=bear.png"] * 9, "At most 8 references"),
        (["--size", "100x64"], "multiples of 16"),
        (["--size", "8192x8192"], "at most 4096"),
        (["--model", "nowhere"], "no model folder nowhere"),
        (["--model", "bear.png"], "is a file"),
        (["--model", "somebody/something"], "hub cannot be reached"),
        (["--lora", "nothing.safetensors"], "no LoRA nothing.safetensors"),
        (["--lora", "somebody/something"], "hub cannot be reached"),
        (["--lora", "bear.png"], "no .safetensors"),
        (["--offload", "model"], "there is none"),
        (["--quantize", "int4"], "needs a GPU"),
        (["--output", "a.jpg"], "must end in .png"),
        (["--output", "model/model_index.json/a.png"], "not a folder that may be written to"),
        (["--attention", "maps"], "give a --reference"),
        (["--attention", "bear.png", "--reference", "bear=bear.png"], "bear.png is a file: name a folder"),
    ],
)
def test_mistakes_in_one_sentence(
    inside: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, words: list[str], told: str
) -> None:
    line = ["generate", PROMPT, "--model", "model", "--output", str(tmp_path / "a.png"), *words]
    assert told in refused(capsys, *line)
    assert not (tmp_path / "a.png").exists()


def test_encode_refuses_what_no_cache_can_be_of(
    inside: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    line = ["encode", "bear=bear.png", "--model", "model", "--output"]
    cache = str(tmp_path / "a.safetensors")
    assert "isolated and null alone" in refused(capsys, *line, cache, "--lora", "release.safetensors")
    assert "must end in .safetensors" in refused(capsys, *line, str(tmp_path / "a.png"))


def test_a_cache_of_other_weights_is_refused(
    inside: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    cache = tmp_path / "bear.safetensors"
    command("encode", "bear=bear.png", "--model", "model", "--output", str(cache))
    other = write_lora(inside / "model", tmp_path / "other.safetensors", rank=3, visibility="isolated")
    words = ["generate", PROMPT, "--model", "model", "--lora", str(other), "--reference", f"bear={cache}"]
    assert "another lora" in refused(capsys, *words, "--output", str(tmp_path / "a.png"))


@pytest.mark.parametrize("component", sorted(hub.COMPONENTS))
def test_a_missing_component_is_named(
    inside: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, component: str
) -> None:
    for file in (inside / "model").rglob("*"):
        if file.is_file() and component not in file.relative_to(inside / "model").parts:
            copy = tmp_path / "model" / file.relative_to(inside / "model")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.hardlink_to(file)
    words = ("generate", PROMPT, "--model", str(tmp_path / "model"), "--output", str(tmp_path / "a.png"))
    assert f"lacks its {component}" in refused(capsys, *words)


def test_pickled_weights_are_refused(inside: Path, tmp_path: Path) -> None:
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "diffusion_pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(ValueError, match="a pickle, which is never loaded"):
        hub._check_weights(tmp_path / "vae")
    (tmp_path / "vae" / "model.safetensors.index.json").write_text('{"weight_map": {"a": "one.safetensors"}}')
    with pytest.raises(ValueError, match=r"lacks vae/one\.safetensors"):
        hub._check_weights(tmp_path / "vae")


def test_too_many_references_for_the_memory(
    inside: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available", lambda device: 1000)
    line = ["generate", PROMPT, "--model", "model", "--output", str(tmp_path / "a.png"), *BOTH]
    assert "2 references needs about" in refused(capsys, *line)


def test_running_out_of_memory_is_one_sentence() -> None:
    import torch

    for error in (torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory: x")):
        with pytest.raises(ValueError, match="too little memory to draw"), memory.explained("draw"):
            raise error
    with pytest.raises(RuntimeError, match="other"), memory.explained("draw"):
        raise RuntimeError("other")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("GatedRepoError", "gated: accept its licence on https://huggingface.co/o/n and log in with a token"),
        ("RepositoryNotFoundError", "The hub shows no o/n"),
        ("LocalEntryNotFoundError", "cannot be reached"),
        ("OfflineModeIsEnabled", "cannot be reached"),
        ("RemoteEntryNotFoundError", "The hub shows no o/n"),
        ("HTTPError", "cannot be reached"),
    ],
)
def test_the_hub_says_no(name: str, told: str) -> None:
    from huggingface_hub import errors

    kind = getattr(errors, name)

    def fetch() -> str:
        raise kind.__new__(kind)

    with pytest.raises(ValueError, match="--model embedded") as raised:
        hub.from_hub("o/n", fetch)
    assert told in str(raised.value)


def test_a_missing_package_is_named() -> None:
    with pytest.raises(ValueError, match="pip install nothing_of_this_name"):
        quantize.package_for("--quantize int8", "nothing_of_this_name.inside")


@pytest.mark.parametrize("wrong", WRONG)
def test_options_are_checked_where_they_are_made(wrong: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        GenerateOptions(**{"prompt": "a", "output": tmp_path / "a.png"} | wrong)


def test_libraries_keep_their_warnings() -> None:
    """Ours reach the terminal in our form; of others (torchao tells what it could not import) none."""
    warn = "[logging.getLogger(name).warning('of %s', name) for name in ('torchao', 'mosaic.pipeline')]"
    program = f"import logging; from mosaic.generate import quiet_libraries; quiet_libraries(); {warn}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == "mosaic: warning: of mosaic.pipeline\n"


def test_the_program_itself(work: Path, tmp_path: Path) -> None:
    """A process of its own: exit status, nothing but ours on stderr, no traceback."""
    program = [sys.executable, "-m", "mosaic.cli", "generate", PROMPT, "--model", "model"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    options = {"cwd": work, "env": environment, "capture_output": True, "text": True, "check": False}
    words = ["--reference", "bear=bear.png", "--steps", "1"]
    done = subprocess.run([*program, *words, "--output", str(tmp_path / "a.png")], **options)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.png").is_file()
    assert done.stdout == ""
    assert "1/1" in done.stderr and "Loading" not in done.stderr and "Warning" not in done.stderr
    done = subprocess.run(
        [*program, "--reference", "bear=x.png", "--output", str(tmp_path / "b.png")], **options
    )
    assert done.returncode == 2
    assert done.stderr == "mosaic: x.png does not exist: give the name of a picture's file.\n"
