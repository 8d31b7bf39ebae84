"""python -m mosaic.training.ablation table LEDGER [--groups G …] [--baseline CELL] [--output FILE]"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mosaic.training.ablation.ledger import Entry, read_ledger
from mosaic.training.ablation.table import Comparison, markdown


def main(arguments: Sequence[str] | None = None) -> None:
    """Print, or write, the Markdown tables of a ledger: one a group, or one of several groups together."""
    parser = argparse.ArgumentParser(prog="python -m mosaic.training.ablation", description=__doc__)
    table = parser.add_subparsers(required=True).add_parser("table", help="draw the table of a ledger")
    table.add_argument("ledger", type=Path)
    table.add_argument("--groups", nargs="+", default=[], help="these together in one table")
    table.add_argument("--baseline", default="", help="the cell the others differ from; default: the first")
    table.add_argument("--output", type=Path, help="a Markdown file; default: printed")
    options = parser.parse_args(arguments)
    try:
        text = tables(read_ledger(options.ledger), options.groups, options.baseline)
    except ValueError as error:
        parser.exit(2, f"{error}\n")
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    else:
        print(text, end="")


def tables(entries: Sequence[Entry], groups: Sequence[str] = (), baseline: str = "") -> str:
    """One table of the groups named, or one a group."""
    if groups:
        return markdown(Comparison(entries, groups), baseline)
    names = dict.fromkeys(entry.group for entry in entries)
    return "\n".join(f"## {name}\n\n{markdown(Comparison(entries, [name]), baseline)}" for name in names)


if __name__ == "__main__":
    main()
