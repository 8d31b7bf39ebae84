"""Licences of base models, as far as a card tells them. Read 2026-11; what `link` leads to holds."""

from __future__ import annotations

import re
from dataclasses import dataclass

IDENTIFIER = re.compile(r"[a-z0-9][a-z0-9.+-]*")  # as the hub writes licences
FLUX_DEV_TEXT = "https://huggingface.co/black-forest-labs/FLUX.1-dev/blob/main/LICENSE.md"

# the licence asks for this notice, word for word, and for a statement of modification beside it
FLUX_DEV_NOTICE = """\
The FLUX.1 [dev] Model is licensed by Black Forest Labs. Inc. under the FLUX.1 [dev] Non-Commercial License. \
Copyright Black Forest Labs. Inc.
IN NO EVENT SHALL BLACK FOREST LABS, INC. BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN \
ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH USE OF THIS MODEL.

This is a Derivative: the FLUX.1 [dev] Model has been modified. Any rights to use it are granted directly by
Black Forest Labs under that licence: {link}
It is no product of Black Forest Labs, and not endorsed, approved or validated by them.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Licence:
    """identifier as the hub writes it; `derivatives`: what is made of the base keeps its licence."""

    identifier: str
    name: str = ""  # of a licence the hub knows no identifier for
    link: str = ""
    derivatives: bool = False
    says: str = ""  # one sentence for a card
    notice: str = ""  # to go along as the file NOTICE

    def front(self) -> dict[str, str]:
        """Its lines of a card's front matter."""
        lines = {"license": self.identifier, "license_name": self.name, "license_link": self.link}
        return {key: value for key, value in lines.items() if value}


APACHE = Licence(identifier="apache-2.0")
UNKNOWN = Licence(identifier="unknown", says="Its licence was not told.")
FLUX_DEV = Licence(
    identifier="other",
    name="flux-1-dev-non-commercial-license",
    link=FLUX_DEV_TEXT,
    derivatives=True,
    says="A Derivative of FLUX.1 [dev] under its Non-Commercial License: not for commercial or production"
    " use, and pictures it makes may not train a model that competes with FLUX.1 [dev].",
    notice=FLUX_DEV_NOTICE.format(link=FLUX_DEV_TEXT),
)
BASES = {
    "mosaic-tiny": APACHE,
    "ostris/Flex.1-alpha": APACHE,
    "black-forest-labs/FLUX.1-schnell": APACHE,
    "black-forest-labs/FLUX.1-dev": FLUX_DEV,
    "black-forest-labs/FLUX.1-Krea-dev": FLUX_DEV,
    "black-forest-labs/FLUX.1-Kontext-dev": FLUX_DEV,
}


def licence_of(base: str, asked: str | None) -> Licence:
    """Of what was made from a base; asked: as the publisher wants it, None: as the base's.

    ValueError for a word that is no identifier, or one the base's licence does not leave open.
    """
    if asked is not None and not IDENTIFIER.fullmatch(asked):
        raise ValueError(f'--licence "{asked}" is not written as the hub does: for example apache-2.0.')
    of_base = known(base)
    if of_base.derivatives and asked not in (None, of_base.identifier):
        raise ValueError(f"What is made from {base} keeps its licence ({of_base.name}): leave --licence out.")
    return of_base if asked in (None, of_base.identifier) else Licence(identifier=asked or "")


def known(base: str) -> Licence:
    """The licence of a base by its hub id, or by a folder of that name."""
    by_name = {name.rpartition("/")[2].lower(): licence for name, licence in BASES.items()}
    return BASES.get(base) or by_name.get(base.rstrip("/").rpartition("/")[2].lower(), UNKNOWN)
