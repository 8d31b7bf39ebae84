"""The command line: one thin command a verb, in `mosaic.commands`.

A command turns text into typed values and calls one function; that function, and torch with it, is imported
inside, so that `mosaic --help` answers at once. Exit status: 0 done, 2 a mistake (one sentence on stderr,
no traceback), 130 interrupted. With MOSAIC_DEBUG=1 a mistake shows its traceback instead.
"""

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from mosaic.commands import data, learning, pictures, showing
from mosaic.commands.helping import Verb, Verbs
from mosaic.errors import explain, one_line

INTERRUPTED = 130
MISTAKE = 2

app = typer.Typer(
    name="mosaic",
    cls=Verbs,
    subcommand_metavar="VERB …",
    help="Several reference pictures and a sentence in, one picture out, every subject itself.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main(arguments: Sequence[str] | None = None) -> None:
    """The `mosaic` command: run, then end the process with the exit status."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (None: the process's own) and return its exit status."""
    try:
        status = app(arguments, prog_name="mosaic", standalone_mode=False)
    except typer.TyperException as error:
        return _report(getattr(error, "format_message", error.__str__)())
    except (ValueError, OSError, ModuleNotFoundError) as error:
        sentence = explain(error)
        if sentence is None or os.environ.get("MOSAIC_DEBUG", "0") != "0":
            raise
        return _report(sentence)
    if status == INTERRUPTED:
        print("mosaic: interrupted", file=sys.stderr)
    return int(status or 0)


def _report(sentence: str) -> int:
    print(f"mosaic: {one_line(sentence)}", file=sys.stderr)
    return MISTAKE


def _version(asked: bool) -> None:
    if asked:
        from mosaic.about import about

        print(about())
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Versions, device, model folder."),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


for command in (
    pictures.generate,
    pictures.encode,
    pictures.studio,
    learning.train,
    learning.plan,
    data.toybox,
    data.curate,
    data.inspect,
    data.match,
    showing.evaluate,
    showing.publish,
):
    app.command(cls=Verb)(command)


if __name__ == "__main__":
    main()
