"""A picture over HTTP, from a Studio that runs somewhere: references in, events while it is made, PNG out.

python examples/http_client.py http://127.0.0.1:7860 "a bear and a mug on grass" bear=bear.png mug=mug.png
"""

import argparse
import shutil
import sys
from pathlib import Path

import httpx
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError


def main() -> int:
    asked = arguments()
    names, files = zip(*asked.references, strict=True) if asked.references else ([], [])
    try:
        client = Client(asked.address, verbose=False)
    except httpx.TransportError:
        print(f"There is no Studio at {asked.address}: start one with mosaic studio.", file=sys.stderr)
        return 1
    job = client.submit(
        prompt=asked.prompt,
        pictures=[handle_file(file) for file in files],
        names=list(names),
        cutout=asked.cutout,
        width=asked.width,
        height=asked.height,
        steps=asked.steps,
        seed=asked.seed,
        guidance=None,  # None and "": as the model and its LoRA were trained
        visibility="",
        previews=False,
        api_name="/generate",
    )
    try:
        made, picture = watch(job)
    except AppError as error:  # a refusal: one sentence that says what to change
        print(error, file=sys.stderr)
        return 1
    shutil.copyfile(picture, asked.output)
    print(f"{asked.output}: seed {made['recipe']['seed']}, {made['seconds']:.1f} s")
    if names:
        explain(client, made["entry"], asked.output)
    return 0


def watch(job):
    """Print events as they come; returns the last one and the file of the picture."""
    made, picture = {}, ""
    for event, file in job:
        if event["event"] == "waiting":
            print(f"{event['ahead']} pictures come first")
        if event["event"] == "stepped":
            print(f"step {event['step']} of {event['steps']}, {event['seconds_left']:.0f} s left")
        made, picture = event, file
    job.result()  # raises what was refused
    return made, picture


def explain(client, entry, output):
    """Who owns what, and where the middle of the first reference looks."""
    owners, _ = client.predict(entry=entry, api_name="/owners")
    for name, share in zip(owners["names"], owners["shares"], strict=True):
        print(f"{name} owns {100 * share:.0f} % of the picture")
    look, drawn = client.predict(entry=entry, reference=1, x=0.5, y=0.5, api_name="/look")
    print(look["told"])
    shutil.copyfile(drawn, output.with_stem(f"{output.stem}-look"))


def reference(text):
    name, _, file = text.partition("=")
    if not name or not Path(file).is_file():
        raise argparse.ArgumentTypeError(f"{text} is not NAME=FILE of a file that is there")
    return name, file


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("address")
    parser.add_argument("prompt")
    parser.add_argument("references", nargs="*", type=reference, metavar="NAME=FILE")
    parser.add_argument("--cutout", action="store_true", help="remove the backgrounds of photographs")
    parser.add_argument("--width", type=int)
    parser.add_argument("--height", type=int)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("picture.png"))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
