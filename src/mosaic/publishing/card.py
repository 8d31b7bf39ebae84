"""The card of a LoRA or a model: what it is, how it must be run, how it came to be, what may be done."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mosaic import __version__
from mosaic.publishing.figures import figures_section, table
from mosaic.publishing.licences import Licence
from mosaic.publishing.paths import without_paths
from mosaic.publishing.source import Source

People = Literal["none", "synthetic", "consented"]

TOYS = "Nothing but painted toys went into it: no photograph, and no picture of a person."
SAID: dict[People | None, str] = {
    "none": "The publisher states that no pictures of people went into it.",
    "synthetic": "The publisher states that all people in its pictures are synthetic: none of them exists.",
    "consented": "The publisher states that every person in its pictures agreed to this use and to its"
    " publication, and can withdraw.",
    None: "The publisher has not said whether pictures of people went into it: do not open it to the public"
    " before that is said.",
}
RUN = {  # how a LoRA must be run, in the order of the table
    "visibility": "what a reference sees",
    "positions": "how references are kept apart",
    "canvas": "how a reference is laid out",
    "canvas_size": "side of that canvas, pixels",
    "reference_pooled": "pooled text vector of references",
    "reference_time": "noise level references stand at",
    "reference_guidance": "guidance references stand at",
}
TOLD = (  # keys of a recipe that a card tells; the rest is in recipe.json
    "data.source data.path data.size data.reference_size train.parameters lora.rank loss.alpha loss.beta"
    " loss.md_distance optimiser.steps optimiser.batch optimiser.accumulation optimiser.lr seed"
).split()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A picture of the card, by its name in the folder, and what it shows."""

    file: str
    caption: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """All that a card tells beside what the source itself says."""

    target: str  # OWNER/NAME
    licence: Licence
    people: People | None
    figures: Mapping[str, Any] | None = None  # of summary.json
    pictures: Sequence[Shown] = ()
    files: Mapping[str, tuple[int, str]]  # name → bytes, SHA-256


def card(source: Source, telling: Telling) -> str:
    """README.md of a LoRA or a model, as the hub reads it."""
    name = telling.target.rpartition("/")[2]
    parts = [
        _front(source, telling),
        f"# {name}\n\n{_what(source)}",
        _gallery(telling.pictures),
        "## Use\n\n" + _use(source, telling.target),
        _run(source),
        _made(source),
        figures(telling.figures),
        limits(source, telling.figures is not None),
        people(telling.people, source.toys),
        licence(source, telling.licence),
        "## Files\n\n" + table(("file", "bytes", "SHA-256"), [(n, *f) for n, f in telling.files.items()]),
    ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def front_matter(lines: Mapping[str, object]) -> str:
    """Between --- and ---; a JSON value is a YAML value."""
    told = "\n".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in lines.items())
    return f"---\n{told}\n---"


def _front(source: Source, telling: Telling) -> str:
    lines: dict[str, object] = dict(telling.licence.front())
    base = without_paths(source.base)
    if "/" in base:
        lines |= {
            "base_model": base,
            "base_model_relation": "adapter" if source.kind == "lora" else "finetune",
        }
    kind = ["lora"] if source.kind == "lora" else []
    tags = ["mosaic", *kind, "multi-subject", "personalisation", "reference-images"]
    return front_matter(lines | {"pipeline_tag": "text-to-image", "tags": tags})


def _what(source: Source) -> str:
    made = f"Made with MOSAIC {__version__} (arXiv 2509.01977)."
    base = without_paths(source.base) or "a base that its metadata does not name"
    if source.kind == "lora":
        return (
            "Several reference pictures and a sentence in, one picture out, every subject itself: a LoRA for "
            f"**{base}** that acts on the tokens of reference pictures alone. {made}"
        )
    return f"A text-to-image model in diffusers' FLUX layout, for several reference pictures. {made}"


def _gallery(pictures: Sequence[Shown]) -> str:
    return "\n\n".join(f"![{one.caption}]({one.file})\n\n{one.caption}" for one in pictures)


def _use(source: Source, target: str) -> str:
    base = without_paths(source.base)
    if source.kind == "lora":
        model = "embedded" if base == "mosaic-tiny" else base if "/" in base else "ITS_BASE"
        unnamed = "\n\nFor ITS_BASE put the model it was trained on, which its file does not name."
        options, loads = f"--model {model} --lora {target}", _plain_lora(target)
        loads = unnamed + loads if model == "ITS_BASE" else loads
    else:
        options, loads = f"--model {target}", ""
    return (
        '```sh\nmosaic generate "a bear and a mug on grass" \\\n    --reference bear=bear.png '
        f"--reference mug=mug.png \\\n    {options} --output result.png\n```{loads}"
    )


def _plain_lora(target: str) -> str:
    return (
        f'\n\n`FluxPipeline.load_lora_weights("{target}", weight_name="lora.safetensors")` of plain '
        "diffusers reads the file, but has no references and puts the LoRA on text and target as well, where "
        "it was never trained to be: the pictures it then makes are not this LoRA's."
    )


def _run(source: Source) -> str:
    if not source.facts.get("visibility"):
        told = "Its file does not say, so MOSAIC runs it as the authors' release is run."
        return f"## How it must be run\n\n{told}" if source.kind == "lora" else ""
    rows = [(f"`{key}`", source.facts[key], means) for key, means in RUN.items() if source.facts.get(key)]
    return (
        "## How it must be run\n\n"
        + table(("key", "value", "what it is"), rows)
        + ("\n\nThis stands in the file itself, and `mosaic` obeys it.")
    )


def _made(source: Source) -> str:
    recipe, commit = source.facts.get("recipe", ""), source.facts.get("commit", "")
    lines = [f"- recipe: `{without_paths(recipe)}`"] if recipe else []
    lines += [f"- commit of the code: `{commit}`"] if commit else ["- commit of the code: not told"]
    found = {key: _value(source.recipe, key) for key in TOLD}
    rows = [(f"`{key}`", without_paths(value)) for key, value in found.items() if value not in (None, "")]
    told = (
        "\n\n" + table(("key", "value"), rows) + "\n\n[recipe.json](recipe.json) has every key."
        if rows
        else ""
    )
    return "## How it was made\n\n" + "\n".join(lines) + told


def _value(recipe: Mapping[str, Any], key: str) -> Any:
    section, _, name = key.partition(".")
    value = recipe.get(section)
    return value.get(name) if name and isinstance(value, dict) else value if not name else None


def figures(found: Mapping[str, Any] | None) -> str:
    """Of an evaluation, or that there was none."""
    if found is None:
        return "## Figures\n\nNone: it has not been measured on a benchmark."
    return "## Figures\n\n" + figures_section(found)


def limits(source: Source, measured: bool) -> str:
    """What it is for, and what it is not."""
    knows = "It has seen toys on plain grounds and nothing else." if source.toys else ""
    lines = [
        knows,
        "" if measured else "How well identities are kept has not been measured: look before you rely on it.",
        "More references, and references that resemble one another, are confused more often.",
        "It inherits what its base cannot do and what its base learned wrongly.",
        "Not for deceiving anybody about what a person did or said, and not for pictures of people who"
        " have not agreed.",
    ]
    told = "\n".join(f"- {line}" for line in lines if line)
    use = "For research and for pictures of subjects that are yours to show."
    return f"## Intended use and limits\n\n{use}\n\n{told}"


def people(said: People | None, toys: bool) -> str:
    """Consent: as stated, or what the code itself knows of a toybox."""
    return f"## People\n\n{TOYS if toys and said is None else SAID[said]}"


def licence(source: Source, terms: Licence) -> str:
    """The licence, and the base's."""
    base = without_paths(source.base)
    name = terms.name or terms.identifier
    link = f" ([its text]({terms.link}))" if terms.link else ""
    lines = [f"Licence: {name}{link}. {terms.says}".strip()]
    if base and source.kind == "lora":
        lines.append(f"The base, {base}, is not part of this repository and stays under its own licence.")
    if terms.notice:
        lines.append("`NOTICE` goes along with every copy.")
    return "## Licence\n\n" + " ".join(lines)
