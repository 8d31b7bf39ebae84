"""How `--help` reads: verbs in groups, what must be given in the usage line, an example each."""

from typing import Any

from typer.core import TyperCommand, TyperGroup

VERBS = {
    "Pictures": ("generate", "encode", "studio"),
    "Training": ("train", "plan"),
    "Datasets": ("toybox", "curate", "inspect", "match"),
    "Measuring and sharing": ("evaluate", "publish"),
}
EXAMPLES = {
    "generate": 'mosaic generate "a bear and a mug on grass" --reference bear=bear.png \\\n'
    "    --reference mug=mug.jpg --seed 7 --output r.png",
    "encode": "mosaic encode bear=bear.png --lora runs/isolated/lora.safetensors \\\n"
    "    --output bear.safetensors",
    "studio": "mosaic studio",
    "train": "mosaic train toybox-smoke --output runs/smoke\n"
    "mosaic train flux-dev-mosaic --set data.path=shards --output runs/mine",
    "plan": "mosaic plan flux-dev-mosaic --gpu 4090",
    "toybox": "mosaic toybox --samples 8 --subjects 3 --output toys",
    "curate": "mosaic curate curate-toybox --output toys",
    "inspect": "mosaic inspect toys",
    "match": "mosaic match before.png after.png --output lines.png",
    "evaluate": "mosaic evaluate toybox --limit 2 --output report",
    "publish": "mosaic publish runs/mine me/my-lora --folder look-first",
}


class Verb(TyperCommand):
    """A command whose usage line names what must be given, and whose help ends with an example."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        needed = [one for one in self.get_params(ctx) if one.required]
        arguments = [one.metavar or "" for one in needed if one.param_type_name == "argument"]
        options = [f"{one.opts[0]} {one.metavar}" for one in needed if one.param_type_name == "option"]
        return [*arguments, *options, "[OPTIONS]"]

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Example"):
            for line in EXAMPLES[self.name or ""].splitlines():
                formatter.write(f"  {line}\n")


class Verbs(TyperGroup):
    """The program: its verbs in groups, each with its whole sentence."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for title, names in VERBS.items():
            with formatter.section(title):
                formatter.write_dl([(name, (self.commands[name].help or "").strip()) for name in names])
        formatter.write_paragraph()
        formatter.write_text("mosaic VERB --help tells a verb's options, with an example.")
