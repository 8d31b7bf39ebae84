"""mosaic publish: what is in the folder, what the card says, what is refused, and what a hub is sent."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from fixtures_model import write_lora, write_model
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mosaic.cli import run
from mosaic.pictures import write_png
from mosaic.pipeline.loading import folder_hash, sampled_hash
from mosaic.publishing.licences import BASES, FLUX_DEV_NOTICE, licence_of
from mosaic.publishing.paths import text_without_paths, without_paths
from mosaic.publishing.source import LORA
from mosaic.toybox.export import write_dataset

from .hub import Hub, running_hub

DEV = "black-forest-labs/FLUX.1-dev"
RECIPE = {
    "data": {"source": "shards", "path": "/home/me/secret/shards", "size": 512},
    "lora": {"rank": 2, "targets": []},
    "loss": {"alpha": 0.1, "beta": 0.1},
    "model": {"base": DEV, "text_cache": "~/cache/of/me"},
    "optimiser": {"steps": 30000},
    "seed": 3,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """run/ of a LoRA for FLUX.1-dev, model/, toys/ and a file's own header with a path in it."""
    root = tmp_path_factory.mktemp("made")
    model = write_model(root / "model", default_size=64)
    (root / "run").mkdir()
    facts = {"base": DEV, "recipe": "/home/me/recipes/mine.toml", "commit": "abc1234"}
    write_lora(model, root / "run" / "lora.safetensors", visibility="isolated", **facts)
    (root / "run" / "recipe.json").write_text(json.dumps(RECIPE))
    (root / "run" / "log.jsonl").write_text("{}")
    write_dataset(samples=3, subjects=2, seed=0, size=64, output=root / "toys", shard=2)
    return root


def publish(*line: object) -> int:
    return run(["publish", *map(str, line)])


def refuse(capsys: pytest.CaptureFixture[str], *line: object) -> str:
    assert publish(*line) == 2
    told = capsys.readouterr()
    assert told.err.count("\n") == 1 and "Traceback" not in told.err
    return told.err


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


# ---------------------------------------------------------------- what is in the folder


def test_a_run_becomes_a_lora_with_its_card(made: Path, tmp_path: Path) -> None:
    assert publish(made / "run", "me/dogs", "--folder", tmp_path / "out") == 0
    assert files_of(tmp_path / "out") == {"lora.safetensors", "recipe.json", "NOTICE", "README.md"}
    card = (tmp_path / "out" / "README.md").read_text()
    for line in (
        f'base_model: "{DEV}"',
        'base_model_relation: "adapter"',
        'license_name: "flux-1-dev-non-commercial-license"',
        "| `visibility` | isolated |",
        "- commit of the code: `abc1234`",
        "- recipe: `mine.toml`",
        "| `optimiser.steps` | 30000 |",
        f"--model {DEV} --lora me/dogs",
        "has not been measured on a benchmark",
        "has not said whether pictures of people",
        "Not for deceiving anybody",
    ):
        assert line in card, line


def test_a_card_says_that_its_file_names_no_base(made: Path, tmp_path: Path) -> None:
    write_lora(made / "model", tmp_path / "lora.safetensors", base="")
    assert publish(tmp_path / "lora.safetensors", "me/dogs", "--folder", tmp_path / "out") == 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert "--model ITS_BASE" in card and "For ITS_BASE put the model" in card
    assert 'license: "unknown"' in card


def test_no_path_of_this_machine_is_published(made: Path, tmp_path: Path) -> None:
    assert publish(made / "run", "me/dogs", "--folder", tmp_path / "out") == 0
    for path in (tmp_path / "out").rglob("*"):
        content = path.read_bytes()
        assert b"/home/me" not in content and b"of/me" not in content and bytes(tmp_path) not in content, path
    recipe = json.loads((tmp_path / "out" / "recipe.json").read_text())
    assert recipe["data"]["path"] == "shards" and recipe["model"] == {"base": DEV, "text_cache": "me"}


def test_the_weights_are_those_of_the_source(made: Path, tmp_path: Path) -> None:
    assert publish(made / "run" / "lora.safetensors", "me/dogs", "--folder", tmp_path / "out") == 0
    ours, theirs = (load_file(f / "lora.safetensors") for f in (tmp_path / "out", made / "run"))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    with safe_open(tmp_path / "out" / "lora.safetensors", "pt") as file:
        header = file.metadata()
    assert (header["recipe"], header["visibility"]) == ("mine.toml", "isolated")


def test_a_model_folder_has_its_parts_and_no_pickle(made: Path, tmp_path: Path) -> None:
    (made / "model" / "text_encoder" / "pytorch_model.bin").write_bytes(b"pickle")
    (made / "model" / "lora-isolated.safetensors").write_bytes((made / "run" / LORA).read_bytes())
    assert publish(made / "model", "me/base", "--folder", tmp_path / "out", "--licence", "mit") == 0
    assert b"/home/me" not in (tmp_path / "out" / "lora-isolated.safetensors").read_bytes()
    found = files_of(tmp_path / "out")
    assert {"model_index.json", "vae/config.json", "README.md"} <= found
    assert not [name for name in found if name.endswith(".bin")]
    card = (tmp_path / "out" / "README.md").read_text()
    assert 'license: "mit"' in card and "| transformer/diffusion_pytorch_model.safetensors |" in card


def test_a_toybox_dataset_gets_a_card(made: Path, tmp_path: Path) -> None:
    assert publish(made / "toys", "me/toys", "--folder", tmp_path / "out") == 0
    assert files_of(tmp_path / "out") == {
        "toybox-000000.tar",
        "toybox-000001.tar",
        "toybox.json",
        "README.md",
    }
    card = (tmp_path / "out" / "README.md").read_text()
    assert 'license: "cc0-1.0"' in card and "samples: 3" in card and "| 2 | 3 |" in card
    assert "no picture of a person" in card and "publisher states" not in card


def test_a_card_that_is_there_is_kept_and_completed(made: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "a-00000.tar").write_bytes((made / "toys" / "toybox-000000.tar").read_bytes())
    (data / "stages").mkdir()
    (data / "README.md").write_text('---\nlicense: cc-by-4.0\n---\n\n# Mine\n\nfrom = "/home/me/pictures"\n')
    (data / "SHA256SUMS").write_text("0  a-00000.tar\n")
    (data / "reviews").mkdir()  # of the Studio, beside the set and in an export: names and remarks of people
    for name in ("reviews/ann.jsonl", "edits.jsonl", "review.json"):
        (data / name).write_text("{}\n")
    assert publish(data, "me/mine", "--folder", tmp_path / "out", "--people", "consented", "--public") == 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("---\nlicense: cc-by-4.0\n") and 'from = "pictures"' in card
    assert "agreed to this use" in card
    assert files_of(tmp_path / "out") == {"README.md", "a-00000.tar", "SHA256SUMS"}


@pytest.mark.parametrize(("made_by", "toys"), [("toybox", True), ("diffusers", False)])
def test_a_curated_set_of_toys_is_known_as_one(
    made_by: str, toys: bool, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "toys-00000.tar").write_bytes((made / "toys" / "toybox-000000.tar").read_bytes())
    (data / "README.md").write_text("---\nlicense: cc0-1.0\n---\n\n# Mine\n")
    (data / "recipe.toml").write_text(f'samples = 2\n\n[paint]\nkind = "{made_by}"\n')
    line = (data, "me/mine", "--public", "--folder", tmp_path / "out")
    if toys:
        assert publish(*line) == 0
        assert "no picture of a person" in (tmp_path / "out" / "README.md").read_text()
        assert files_of(tmp_path / "out") == {"README.md", "toys-00000.tar"}
    else:
        assert "--people" in refuse(capsys, *line)


def test_pictures_are_shown_with_what_made_them(made: Path, tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 8))
    write_png(image, tmp_path / "r.png", {"prompt": "a dog on a beach", "seed": 5})
    image.save(tmp_path / "plain_one.png")
    pictures = ("--picture", tmp_path / "r.png", "--picture", tmp_path / "plain_one.png")
    assert publish(made / "run", "me/dogs", "--folder", tmp_path / "out", *pictures) == 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert "![“a dog on a beach”, seed 5](pictures/1.png)" in card and "![plain one](pictures/2.png)" in card


def summary() -> dict[str, Any]:
    columns = [{"title": "DINO"}, {"title": "confusion [small]", "lower_is_better": True}]
    values = [
        {"method": "ours", "part": "multi", "column": "DINO", "value": 56.123, "low": 55.0, "high": 57.25},
        {"method": "ours", "part": "multi", "column": "confusion [small]", "value": 12.0},
        {"method": "copy-paste", "part": "multi", "column": "DINO", "value": 70.0, "low": 69, "high": 71},
    ]
    methods = [
        {"name": "ours", "control": False, "settings": {"steps": 25, "folder": "/home/me/pictures"}},
        {"name": "copy-paste", "control": True, "settings": {}},
    ]
    found = {"benchmark": "dreambench", "parts": {"multi": {"records": 750}}, "columns": columns}
    return found | {
        "methods": methods,
        "values": values,
        "statistics": {"level": 0.95, "resamples": 1000, "seed": 1},
        "deviations": ["25 steps instead of 28."],
        "versions": {"torch": "2.13.0"},
    }


def test_figures_come_from_the_evaluation(made: Path, tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "summary.json").write_text(json.dumps(summary()))
    assert publish(made / "run", "me/d", "--folder", tmp_path / "o", "--evaluation", tmp_path / "report") == 0
    card = (tmp_path / "o" / "README.md").read_text()
    for line in (
        "| measure | ours | copy-paste (control) |",
        "| DINO | 56.12 [55.00, 57.25] | 70.00 [69.00, 71.00] |",
        "| confusion [small] ↓ | 12.00 | – |",
        "multi, 750 records",
        "95 % intervals, 1000 bootstrap resamples",
        "25 steps instead of 28.",
        "ours: steps 25.",
        "[evaluation/summary.json](evaluation/summary.json)",
    ):
        assert line in card, line
    assert "/home/me" not in (tmp_path / "o" / "evaluation" / "summary.json").read_text()


@pytest.mark.parametrize("kind", ["lora", "model"])
def test_figures_of_other_weights_are_refused(
    kind: str, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = made / "run" if kind == "lora" else made / "model"
    own = sampled_hash(source / "lora.safetensors") if kind == "lora" else folder_hash(source)
    line = (source, "me/d", "--evaluation", tmp_path, "--folder")
    for name, hashes in (("same", {kind: own}), ("other", {kind: "0123456789abcdef"})):
        found = summary()
        found["methods"][0]["settings"] |= {"hashes": hashes, "references": True}
        (tmp_path / "summary.json").write_text(json.dumps(found))
        if name == "same":
            assert publish(*line, tmp_path / name) == 0
            assert "ours: steps 25, references yes." in (tmp_path / name / "README.md").read_text()
    assert f"measured another {kind}" in refuse(capsys, *line, tmp_path / "other")


# ---------------------------------------------------------------- what is refused


def test_what_is_refused(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"no")
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    (tmp_path / "empty").mkdir()
    out = ("--folder", tmp_path / "out")
    lines: list[tuple[tuple[object, ...], str]] = [
        ((tmp_path / "nothing", "me/x", *out), "There is no"),
        ((tmp_path / "empty", "me/x", *out), "holds no lora.safetensors"),
        ((tmp_path / "broken.safetensors", "me/x", *out), "is broken"),
        ((tmp_path / "other.safetensors", "me/x", *out), "holds no LoRA"),
        ((made / "run", "dogs", *out), "OWNER/NAME"),
        ((made / "run", "me/dogs", "--folder", made / "run"), "is not empty"),
        ((made / "run", "me/dogs", *out, "--public"), "--people"),
        ((made / "model", "me/base", *out, "--public", "--people", "none"), "--licence"),
        ((made / "run", "me/dogs", *out, "--licence", "apache-2.0"), "keeps its licence"),
        ((made / "run", "me/dogs", *out, "--licence", "Do What You Want"), "not written as the hub does"),
        ((made / "run", "me/dogs", *out, "--evaluation", tmp_path), "summary.json"),
        ((made / "run", "me/dogs", *out, "--picture", tmp_path / "no.png"), "--picture"),
    ]
    for line, told in lines:
        assert told in refuse(capsys, *line), line
    assert not (tmp_path / "out").exists()


def test_a_shard_that_is_listed_must_be_there(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.tar").write_bytes(b"")
    (tmp_path / "SHA256SUMS").write_text("0  a.tar\n0  b.tar\n")
    assert "lacks b.tar" in refuse(capsys, tmp_path, "me/x", "--folder", tmp_path / "out")


def test_licences_of_bases() -> None:
    assert licence_of(DEV, None).identifier == "other" and licence_of(DEV, None).notice
    assert licence_of("/models/FLUX.1-dev/", None) is BASES[DEV]
    assert licence_of("mosaic-tiny", None).identifier == "apache-2.0"
    assert licence_of("mosaic-tiny", "mit").identifier == "mit"
    assert licence_of("some/other", None).identifier == "unknown"
    assert "Copyright Black Forest Labs. Inc.\n" in FLUX_DEV_NOTICE  # the licence's own words


def test_paths_are_shortened() -> None:
    before = {"a": ["/x/y/z", "~/k/model", "C:\\me\\lora", "org/name", "a / b", 3, None], "/x/k": "./runs/b"}
    after = {"a": ["z", "model", "lora", "org/name", "a / b", 3, None], "k": "./runs/b"}
    assert without_paths(before) == after
    assert text_without_paths("path = \"/a/b/c\" or '~/d/e', 1/2") == "path = \"c\" or 'e', 1/2"


# ---------------------------------------------------------------- a hub


def on_hub(hub: Hub, *line: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command, as a process of its own that takes this hub for the real one."""
    own = {"HF_ENDPOINT": hub.url, "HF_TOKEN": hub.token, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    program = [sys.executable, "-m", "mosaic.cli", "publish", *map(str, line)]
    return subprocess.run(
        program, env=os.environ | own | environment, capture_output=True, text=True, check=False
    )


def test_a_hub_gets_it_private_and_whole(made: Path) -> None:
    with running_hub() as hub:
        done = on_hub(hub, made / "run", "me/dogs")
        assert (done.returncode, done.stdout) == (0, f"{hub.url}/me/dogs\n"), done.stderr
        there = hub.repositories["models/me/dogs"]
    assert there.private and set(there.files) == {"README.md", "NOTICE", "recipe.json", "lora.safetensors"}
    assert len(there.files["lora.safetensors"]) > 1000 and b"/home/me" not in there.files["lora.safetensors"]


def test_a_dataset_is_opened_once_it_is_there(made: Path) -> None:
    with running_hub() as hub:
        assert on_hub(hub, made / "toys", "me/toys", "--public").returncode == 0
        there = hub.repositories["datasets/me/toys"]
        assert not there.private and there.opened_after == len(there.files) == 4
        assert there.files["toybox-000000.tar"] == (made / "toys" / "toybox-000000.tar").read_bytes()
        again = on_hub(hub, made / "toys", "me/toys")
        assert again.returncode == 2 and "open to everybody already" in again.stderr


def test_what_a_hub_refuses_is_one_sentence(made: Path) -> None:
    with running_hub() as hub:
        stranger = on_hub(hub, made / "run", "me/dogs", HF_TOKEN="hf_another")
        offline = on_hub(hub, made / "run", "me/dogs", HF_HUB_OFFLINE="1")
        assert not hub.repositories
    for done, told in ((stranger, "hf auth login"), (offline, "cannot be reached")):
        assert done.returncode == 2 and told in done.stderr and "Traceback" not in done.stderr
        assert done.stderr.count("mosaic: ") == 1
