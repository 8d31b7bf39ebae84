"""The command line: its fixed surface, what it hands on, and how it refuses."""

import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pydantic
import pytest
import typer.main

import mosaic
from mosaic.cli import app, run

# Checks outside the project call these: an entry may be added, never renamed or removed.
SURFACE = {
    "generate": "prompt --reference --model --lora --seed --steps --size --guidance --visibility --cutout"
    " --canvas --count --offload --quantize --output --attention",
    "encode": "reference --model --lora --cutout --canvas --output",
    "toybox": "--samples --subjects --seed --size --output",
    "train": "recipe --set --resume --output",
    "curate": "recipe --output --only --ray-address --set",
    "inspect": "data --output --samples",
    "match": "first second --output --features --cutout",
    "evaluate": "benchmark --output --model --lora --images --data --limit --part --steps --size --scorer"
    " --corrected --questions --row --device",
    "plan": "recipe --set --gpu --utilisation --json",
    "studio": "--model --lora --port --host --folder --offload --quantize --data",
    "publish": "source target --folder --public --licence --people --evaluation --picture",
}


def stand_in(monkeypatch: pytest.MonkeyPatch, module: str, **functions: Any) -> None:
    """Put a module of these functions where a command will import `module`, which would bring torch, from."""
    fake = ModuleType(module)
    vars(fake).update(functions)
    monkeypatch.setitem(sys.modules, module, fake)
    package = module.rpartition(".")[0]
    monkeypatch.setitem(sys.modules, package, ModuleType(package))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the commands hand on, instead of the work itself."""
    calls: list[Any] = []

    def note(*values: Any, **named: Any) -> None:
        calls.append((*values, named))

    monkeypatch.setattr("mosaic.generate.generate", calls.append)
    monkeypatch.setattr("mosaic.generate.encode", note)
    stand_in(monkeypatch, "mosaic.toybox.export", write_dataset=note)
    stand_in(monkeypatch, "mosaic.training.run", train=note)
    return calls


def refuse(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command line that is a mistake; the one sentence it answers with."""
    assert run(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("mosaic: ")
    assert told.err.endswith("\n") and told.err.count("\n") == 1
    assert "Traceback" not in told.err
    return told.err


def test_the_surface_is_frozen() -> None:
    commands = typer.main.get_command(app).commands
    found = {
        name: {option for parameter in command.params for option in parameter.opts}
        for name, command in commands.items()
    }
    assert found == {name: set(options.split()) for name, options in SURFACE.items()}


def test_the_version_tells_what_pictures_are_made_with(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == f"mosaic {mosaic.__version__}"
    told = dict(line.split(" ", 1) for line in lines)
    assert told["torch"].startswith("2.") and told["device"].startswith(("cpu, ", "cuda, "))
    kind, folder = told["model"].split(", ", 1)
    assert kind == "embedded" and (Path(folder) / "model_index.json").is_file()


def test_generate_hands_on_what_was_said(asked: list[Any]) -> None:
    line = "generate PROMPT --reference bear=a=b.png --reference bear=c.png --reference mug=~/m.png --seed 7"
    line += " --size 256X128 --steps 4 --guidance 3.5 --visibility isolated --count 2 --output r.png"
    line += " --attention maps"
    assert run(line.split()) == 0
    (options,) = asked
    assert options.references == (
        ("bear", Path("a=b.png")),
        ("bear", Path("c.png")),
        ("mug", Path("~/m.png").expanduser()),
    )
    assert (options.prompt, options.size, options.seed, options.steps) == ("PROMPT", (256, 128), 7, 4)
    assert (options.guidance, options.visibility, options.count) == (3.5, "isolated", 2)
    assert (options.output, options.attention) == (Path("r.png"), Path("maps"))


def test_generate_leaves_open_what_was_not_said(asked: list[Any]) -> None:
    assert run(["generate", "a bear", "--output", "r.png"]) == 0
    (options,) = asked
    assert options.references == ()
    open_ = (options.lora, options.steps, options.size, options.guidance, options.visibility, options.canvas)
    assert open_ == (None,) * 6
    assert (options.model, options.seed, options.cutout, options.count) == ("embedded", 0, "none", 1)
    assert (options.offload, options.quantize, options.attention) == ("none", "none", None)


def test_the_other_commands_hand_on_what_was_said(asked: list[Any]) -> None:
    assert run("encode bear=bear.png --output bear.safetensors".split()) == 0
    assert run("toybox --samples 5 --subjects 2 --seed 3 --size 64 --output toys".split()) == 0
    assert run("train a.toml --set train.steps=3 --set loss.alpha=0 --resume --output run".split()) == 0
    encoded, toys, trained = asked
    assert encoded[:3] == ("bear", Path("bear.png"), Path("bear.safetensors"))
    assert toys == ({"samples": 5, "subjects": 2, "seed": 3, "size": 64, "output": Path("toys")},)
    (named,) = trained
    assert named["overrides"] == ["train.steps=3", "loss.alpha=0"]
    assert (named["recipe"], named["output"], named["resume"]) == (Path("a.toml"), Path("run"), True)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("generte hi --output r.png", "'generte'. Did you mean 'generate'?"),
        ("--loud", "No such option: --loud"),
        ("generate --output r.png", "Missing argument 'PROMPT'"),
        ("generate hi", "Missing option '--output'"),
        ("generate hi ho --output r.png", "unexpected extra argument"),
        ("generate hi --output r.png --refrence a=b", "--reference"),
        ("generate hi --output r.png --reference bear.png", "NAME=FILE"),
        ("generate hi --output r.png --reference =bear.png", "NAME=FILE"),
        ("generate hi --output r.png --reference bear=", "NAME=FILE"),
        ("generate hi --output r.png --size 512", "--size"),
        ("generate hi --output r.png --size 0x512", "--size"),
        ("generate hi --output r.png --size -16x16", "--size"),
        ("generate hi --output r.png --steps -1", "--steps"),
        ("generate hi --output r.png --steps 0", "--steps"),
        ("generate hi --output r.png --steps four", "--steps"),
        ("generate hi --output r.png --steps 1000000", "--steps"),
        ("generate hi --output r.png --seed -1", "--seed"),
        ("generate hi --output r.png --count 0", "--count"),
        ("generate hi --output r.png --guidance -1", "--guidance"),
        ("generate hi --output r.png --guidance nan", "--guidance"),
        ("generate hi --output r.png --guidance inf", "--guidance"),
        ("generate hi --output r.png --visibility some", "'full', 'release', 'isolated'"),
        ("generate hi --output r.png --canvas square", "'released', 'letterbox'"),
        ("generate hi --output r.png --cutout maybe", "--cutout"),
        ("generate hi --output r.png --offload all", "--offload"),
        ("generate hi --output r.png --quantize int1", "--quantize"),
        ("encode bear.png --output b.safetensors", "NAME=FILE"),
        ("toybox --samples 0 --output toys", "--samples"),
        ("toybox --subjects 9 --output toys", "--subjects"),
        ("toybox --size -128 --output toys", "--size"),
        ("train --output run", "RECIPE"),
        ("train toybox-smok --output run", "there is no recipe toybox-smok"),
        ("train a.toml", "--output"),
    ],
)
def test_mistakes_end_with_one_sentence(
    line: str, told: str, asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert told in refuse(capsys, *line.split())
    assert not asked


def test_what_is_handed_on_is_what_the_rooms_take() -> None:
    from mosaic.generate import encode
    from mosaic.toybox.export import write_dataset
    from mosaic.training.run import train

    inspect.signature(encode).bind("bear", Path(), Path(), model="", lora=None, cutout="", canvas=None)
    inspect.signature(write_dataset).bind(samples=1, subjects=1, seed=0, size=64, output=Path())
    inspect.signature(train).bind(recipe=Path(), output=Path(), overrides=[], resume=False)


LATER = [
    ("generate hi --output r.jpg", ".png"),
    ("generate hi --output {here}", ".png"),
    ("generate hi --output {here}/r.png --reference bear=nothing.png", "nothing.png"),
    ("generate hi --output {here}/r.png --reference bear={here}/words.png", "words.png"),
    ("generate hi --output {here}/r.png --reference bear={here}", "{here}"),
    ("generate hi --output {here}/r.png --attention {here}/maps", "--reference"),
    ("generate hi --output {here}/r.png" + " --reference bear=bear.png" * 9, "9"),
    ("encode bear=nothing.png --output {here}/b.safetensors", "nothing.png"),
    ("encode bear={here}/words.png --output {here}/b.png", ".safetensors"),
    ("toybox --size 72 --output {here}/toys", "16"),
    ("train nothing.toml --output {here}/run", "nothing.toml"),
    ("train {here}/words.png --output {here}/run", "words.png"),
    ("generate hi --output {here}/r.png --model {here}/nothing", "nothing"),
    ("match a.png b.png --output {here}/lines.jpg", "PNG"),
    ("match nothing.png b.png --output {here}/lines.png", "nothing.png"),
    ("match a.png b.png --output {here}/lines.png --features eyes", "gradients"),
    ("generate hi --output {here}/r.png --model {here}", "model_index.json"),
    ("generate hi --output {here}/r.png --model {here}/words.png", "words.png"),
]


@pytest.mark.parametrize(("line", "told"), LATER)
def test_mistakes_the_rooms_find_end_with_one_sentence(
    line: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "words.png").write_text("no picture")
    assert told.format(here=tmp_path) in refuse(capsys, *line.format(here=tmp_path).split())


class Knobs(pydantic.BaseModel):
    steps: pydantic.PositiveInt
    rank: pydantic.PositiveInt


def raising(error: BaseException | type[pydantic.BaseModel]) -> Any:
    def fail(*_: Any, **__: Any) -> None:
        if isinstance(error, type):
            error(steps=-1, rank=-1)
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("size must be\n  a multiple of 16"), "mosaic: size must be a multiple of 16\n"),
        (
            FileNotFoundError(2, "No such file or directory", "a.toml"),
            "mosaic: a.toml: No such file or directory\n",
        ),
        (PermissionError(13, "Permission denied", "/run"), "mosaic: /run: Permission denied\n"),
        (Knobs, "mosaic: steps: Input should be greater than 0 (and 1 more)\n"),
        (ModuleNotFoundError("No module named 'tensorboard'", name="tensorboard"), '".[train]"'),
    ],
)
def test_mistakes_found_later_end_with_one_sentence(
    error: Any, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(monkeypatch, "mosaic.training.run", train=raising(error))
    assert told in refuse(capsys, "train", "a.toml", "--output", "run")


@pytest.mark.parametrize(
    "error", [TypeError("ours"), OSError("no file named"), ModuleNotFoundError("ours", name="mosaic.nothing")]
)
def test_our_own_errors_keep_their_traceback(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, "mosaic.training.run", train=raising(error))
    with pytest.raises(type(error)):
        run(["train", "a.toml", "--output", "run"])


def test_debugging_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, "mosaic.training.run", train=raising(ValueError("too many")))
    monkeypatch.setenv("MOSAIC_DEBUG", "1")
    with pytest.raises(ValueError, match="too many"):
        run(["train", "a.toml", "--output", "run"])


def test_interruption_is_told_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(monkeypatch, "mosaic.training.run", train=raising(KeyboardInterrupt()))
    assert run(["train", "a.toml", "--output", "run"]) == 130
    assert capsys.readouterr().err == "mosaic: interrupted\n"
