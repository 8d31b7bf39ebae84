"""The server: what it lets be read, refuses and never fetches; and the command that starts it."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from fixtures_model import draw_subject
from fixtures_studio import PROMPT, given, options_on, served, write_models
from PIL import Image

from mosaic.cli import run
from mosaic.geometry import Grid
from mosaic.pictures import read_recipe
from mosaic.studio import gpus
from mosaic.studio.facts import Facts, size_of
from mosaic.studio.making import Maker, Wish
from mosaic.studio.options import StudioOptions

pytest.importorskip("gradio")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Maker]]:
    root = tmp_path_factory.mktemp("studio")
    with served(options_on(write_models(root / "models"), root / "folder")) as (address, maker):
        wish = Wish(prompt=PROMPT, references=(given(maker, "bear"), given(maker, "robot", 1)), steps=2)
        list(maker.make(wish))
        yield address, maker


def get(address: str, path: str) -> httpx.Response:
    return httpx.get(f"{address}{path}", timeout=30)


# ---------------------------------------------------------------- what can be read


def test_pictures_of_the_history_can_be_read(studio: tuple[str, Maker]) -> None:
    address, maker = studio
    entry = maker.history.entries()[-1]
    answer = get(address, f"/gradio_api/file={entry.file}")
    assert answer.status_code == 200 and answer.content == entry.file.read_bytes()


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "{folder}/history/../references/{reference}",
        "{folder}/library/secret.json",
        "{folder}/history/../../../../../../../../etc/passwd",
        "{folder}/history/%2e%2e/references/{reference}",
        "{folder}/history/link.png",
        "{folder}/history/linked/passwd",
        "{model}/model_index.json",
        "pyproject.toml",
        "src/mosaic/cli.py",
        "../pyproject.toml",
        "/proc/self/environ",
    ],
)
def test_nothing_else_can_be_read(studio: tuple[str, Maker], path: str) -> None:
    address, maker = studio
    folder = maker.options.folder
    for link, to in (("link.png", "/etc/passwd"), ("linked", "/etc")):
        if not (folder / "history" / link).is_symlink():
            (folder / "history" / link).symlink_to(to)
    maker.options.library.mkdir(exist_ok=True)
    (maker.options.library / "secret.json").write_text("{}")
    reference = next(maker.options.pictures.iterdir()).name
    path = path.format(folder=folder, reference=reference, model=maker.options.model)
    for route in ("/gradio_api/file=", "/file="):
        answer = get(address, route + path)
        assert answer.status_code in (403, 404), f"{route}{path} gave {answer.status_code}"


@pytest.mark.parametrize(
    "where", ["http://127.0.0.1:9/x.png", "https://example.com/x.png", "HTTP://example.com"]
)
def test_nothing_is_fetched_for_others(studio: tuple[str, Maker], where: str) -> None:
    for route in ("/gradio_api/file=", "/gradio_api/proxy=", "/proxy="):
        assert get(studio[0], route + where).status_code in (403, 404)


def test_a_request_cannot_name_a_file_of_ours(studio: tuple[str, Maker]) -> None:
    """A forged upload, by path and by address."""
    address, _ = studio
    for file in ({"path": "/etc/passwd"}, {"path": "x", "url": "http://127.0.0.1:9/x.png"}):
        picture = file | {"meta": {"_type": "gradio.FileData"}}
        data = [PROMPT, [picture], ["bear"], False, None, None, 1, 0, None, "", False]
        begun = httpx.post(f"{address}/gradio_api/call/generate", json={"data": data}, timeout=30)
        told = get(address, f"/gradio_api/call/generate/{begun.json()['event_id']}").text
        assert "event: error" in told and "root:" not in told


def test_a_large_upload_is_refused(studio: tuple[str, Maker]) -> None:
    files = {"files": ("huge.png", b"\0" * (65 << 20))}
    answer = httpx.post(f"{studio[0]}/gradio_api/upload", files=files, timeout=60)
    assert answer.status_code == 413


# ---------------------------------------------------------------- what it says


def test_every_answer_keeps_the_browser_here(studio: tuple[str, Maker]) -> None:
    address, _ = studio
    page = get(address, "/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'self'" in policy and "connect-src 'self'" in policy and "http" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"


def test_no_analytics_no_sharing(studio: tuple[str, Maker]) -> None:
    config = get(studio[0], "/config").json()
    assert config["analytics_enabled"] is False and config["run_history"] is False
    assert "googleapis" not in json.dumps(config) and config["footer_links"] == []
    style = get(studio[0], "/theme.css").text
    assert "@import" not in style and "http" not in style.replace("http://www.w3.org", "")


def test_only_the_documented_endpoints_are_offered(studio: tuple[str, Maker]) -> None:
    offered = get(studio[0], "/gradio_api/info").json()["named_endpoints"]
    assert {name for name in offered if name.count("/") == 1} >= {
        "/generate", "/cancel", "/history", "/look", "/owners", "/gpus",
    }  # fmt: skip
    told = (ROOT / "docs" / "http.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in told for name in offered), sorted(offered)


def test_it_listens_on_this_machine_alone(studio: tuple[str, Maker]) -> None:
    address, _ = studio
    assert address.startswith("http://127.0.0.1:")
    port = int(address.rsplit(":", 1)[1])
    for other in {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None)} - {
        "127.0.0.1",
        "::1",
    }:
        with socket.socket(socket.AF_INET6 if ":" in other else socket.AF_INET) as probe:
            probe.settimeout(2)
            assert probe.connect_ex((other, port)) != 0


# ---------------------------------------------------------------- the example client


def test_the_example_client(studio: tuple[str, Maker], tmp_path: Path) -> None:
    address, _ = studio
    for i, name in enumerate(("bear", "robot")):
        draw_subject(i).save(tmp_path / f"{name}.png")
    words = [
        sys.executable,
        str(ROOT / "examples" / "http_client.py"),
        address,
        "a bear and a robot on grass",
    ]
    words += [
        f"bear={tmp_path / 'bear.png'}",
        f"robot={tmp_path / 'robot.png'}",
        "--steps",
        "2",
        "--seed",
        "11",
    ]
    done = subprocess.run(
        [*words, "--output", str(tmp_path / "out.png")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    recipe = read_recipe(tmp_path / "out.png")
    assert (recipe["seed"], recipe["steps"]) == (11, 2)
    assert [one["name"] for one in recipe["references"]] == ["bear", "robot"]
    assert "step 1 of 2" in done.stdout and "owns" in done.stdout and "looks most at" in done.stdout
    assert Image.open(tmp_path / "out-look.png").size == (768, 768)
    bad = subprocess.run([*words[:3], " "], capture_output=True, text=True, timeout=120, check=False)
    assert bad.returncode == 1 and "The prompt is empty: say what the picture shows." in bad.stderr


def test_cancelling_over_http(studio: tuple[str, Maker]) -> None:
    from gradio_client import Client

    client = Client(studio[0], verbose=False)
    asked = {"prompt": "a bear", "pictures": None, "names": None, "cutout": False, "previews": True}
    settings = {"width": 64, "height": 64, "steps": 100, "seed": 0, "guidance": None, "visibility": ""}
    job = client.submit(**asked, **settings, api_name="/generate")
    events = []
    for event, _ in job:
        events.append(event)
        if event["event"] == "stepped" and event["step"] == 1:
            assert client.predict(event["job"], api_name="/cancel") is True
    assert events[0]["event"] == "begun" and events[-1]["event"] == "stopped"
    assert len(events) < 60
    assert client.predict(events[0]["job"], api_name="/cancel") is False
    client.close()


def test_refusals_over_http_are_sentences(studio: tuple[str, Maker]) -> None:
    from gradio_client import Client
    from gradio_client.exceptions import AppError

    client = Client(studio[0], verbose=False)
    entry = client.predict(api_name="/history")[0]["entry"]
    for call, sentence in (
        ({"entry": "../x", "api_name": "/owners"}, "There is no picture"),
        ({"entry": entry, "reference": 9, "api_name": "/look"}, "There is no reference 9 of 2"),
        ({"entry": entry, "block": 99, "api_name": "/owners"}, "There is no block 99"),
        ({"width": 500, "api_name": "/gpus"}, "Sides must be multiples of 16"),
        ({"references": 9, "api_name": "/gpus"}, "at most 8 references"),
    ):
        with pytest.raises(AppError, match=sentence):
            client.predict(**call)
    client.close()


# ---------------------------------------------------------------- the command


def test_help_brings_no_gradio() -> None:
    program = (
        "import sys, mosaic.cli; mosaic.cli.run(['studio', '--help']); assert 'gradio' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "--folder" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--model", "nowhere"], "There is no model folder nowhere"),
        (["--lora", "nowhere.safetensors"], "There is no LoRA nowhere.safetensors"),
        (["--offload", "model"], "--offload model keeps weights away from a GPU, and there is none"),
        (["--quantize", "int4"], "--quantize int4 needs a GPU"),
        (["--folder", "{file}/x"], "cannot be written: name a folder of yours"),
    ],
)
def test_mistakes(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    words = [word.format(file=tmp_path / "file") for word in words]
    more = [] if "--folder" in words else ["--folder", str(tmp_path / "s")]
    assert run(["studio", *words, *more]) == 2
    assert sentence in capsys.readouterr().err


def test_an_occupied_port_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert run(["studio", "--port", str(port), "--folder", str(tmp_path / "s")]) == 2
    told = capsys.readouterr().err
    assert f"Port {port} is taken: give another --port, or 0 for any free one." in told


def test_options_stay_in_their_folder(tmp_path: Path) -> None:
    options = StudioOptions(folder=tmp_path / "a" / ".." / "b")
    assert options.folder == tmp_path / "b" and not options.folder.exists()
    assert all(one.parent == options.folder for one in
               (options.history, options.pictures, options.library, options.uploads))  # fmt: skip
    assert not options.is_open and StudioOptions(folder=tmp_path, host="0.0.0.0").is_open
    with pytest.raises(ValueError, match="--port lies in"):
        StudioOptions(folder=tmp_path, port=70000)


# ---------------------------------------------------------------- facts and GPUs


def test_what_is_known_before_loading(studio: tuple[str, Maker], tmp_path: Path) -> None:
    tiny = Facts.of(StudioOptions(folder=tmp_path))
    assert (tiny.name, tiny.size, tiny.steps, tiny.guidance) == ("mosaic-tiny", 128, 20, 3.5)
    assert "toys, not photographs" in tiny.warning and tiny.sizes[0] == "128 × 128"
    hub = Facts.of(StudioOptions(folder=tmp_path, model="black-forest-labs/FLUX.1-dev"))
    assert (hub.name, hub.size, hub.steps, hub.warning) == ("black-forest-labs/FLUX.1-dev", 512, 28, "")
    assert Facts.of(StudioOptions(folder=tmp_path, host="0.0.0.0")).shared and not tiny.shared
    own = Facts.of(studio[1].options)
    assert (own.size, own.steps) == (64, 3)


@pytest.mark.parametrize("text", ["512", "a x b", "512x", "-16x16", "1e3x16", "²x16", "0x16", ""])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="width × height in pixels"):
        size_of(text)
    assert size_of("512 × 768") == size_of("512X768") == (512, 768)


def test_flux_on_the_gpus_of_the_table() -> None:
    """FLUX.1-dev in bfloat16 is 22.2 + 9.1 + 0.2 GiB of weights: a 24 GiB card does not hold it."""
    weights = gpus.flux_dev()
    assert weights.base == 11_901_408_320 and weights.lora == 128 * 3_621_952  # its 343 adapted layers
    target, references = Grid.of_pixels(512, 512), [Grid(32, 32)] * 4
    found = {one.device: one for one in gpus.forecasts(weights, target, references)}
    assert found["4090"].way == ("model", "fp8") and found["H100"].way == ("none", "none")
    assert 31.5 * 1.05 < found["H100"].needs < 40
    sizes = [gpus.needs(weights, target, references, way, cached=False) for way in gpus.WAYS]
    assert sizes[0] > sizes[1] > sizes[3] > sizes[4] and sizes[2] > sizes[5]
    larger = gpus.needs(weights, Grid.of_pixels(1024, 1024), references, ("none", "none"), cached=False)
    assert larger > sizes[0]
    assert gpus.told(("model", "int4")) == "--offload model --quantize int4"
    assert gpus.told(("none", "none")) == "as it is" and gpus.told(None) == "does not fit"


def test_a_loaded_models_parts_are_counted(studio: tuple[str, Maker]) -> None:
    pipeline = studio[1].pipeline()
    weights = gpus.weights_of(pipeline, "tiny")
    modules = (pipeline.transformer, pipeline.text_encoder, pipeline.text_encoder_2, pipeline.vae)
    total = sum(parameter.numel() for module in modules for parameter in module.parameters())
    assert weights.base + weights.lora + sum(weights.text) + weights.autoencoder == total and weights.lora > 0
    assert all(one.way == ("none", "none") for one in gpus.forecasts(weights, Grid(4, 4), [Grid(2, 2)]))


def test_pictures_made_are_as_asked(studio: tuple[str, Maker]) -> None:
    entry = studio[1].history.entries()[-1]  # the oldest
    assert np.asarray(Image.open(entry.file)).shape == (64, 64, 3)
