"""The maker's tab: references and a sentence in, a picture out, and why it looks as it does."""

from __future__ import annotations

from dataclasses import dataclass

from mosaic.errors import explain
from mosaic.geometry import Grid
from mosaic.studio import making_tab, references_tab, why_tab
from mosaic.studio.facts import Facts, size_of
from mosaic.studio.gpus import FLUX, Weights, flux_dev, forecasts, weights_of
from mosaic.studio.layout import Parts, lay_out
from mosaic.studio.library import Library
from mosaic.studio.making import Maker
from mosaic.studio.pieces import gpu_table, note


def tab(making: making_tab.Making, library: Library) -> Parts:
    """Lay the tab out and wire it; inside `with gr.Tab(...)`."""
    maker, facts = making.maker, making.facts
    parts = lay_out(facts)
    references_tab.wire(parts, references_tab.References(maker.shelf, library))
    making_tab.wire(parts, making)
    why_tab.wire(parts, why_tab.Asking(maker.history))
    result = parts.result
    result.gpu_button.click(
        Planning(maker, facts).estimated,
        list(result.gpu_asked),
        result.gpus,
        api_visibility="private",
    )
    return parts


@dataclass(frozen=True, slots=True)
class Planning:
    """Which GPU makes a picture."""

    maker: Maker
    facts: Facts

    def estimated(self, model: str, size: str, count: float) -> str:
        """A table for this size and so many references."""
        try:
            width, height = size_of(size)
            target = Grid.of_pixels(height, width)
            weights = self.weights(model)
        except ValueError as error:
            return note(explain(error) or str(error))
        side = min(target.height, target.width)
        found = forecasts(weights, target, [Grid(side, side)] * int(count))
        title = (
            f"{weights.name}, {width} × {height} pixels, {int(count)} references: an estimate from the sizes "
            "of its parts, not a measurement. Options are those of mosaic studio and mosaic generate."
        )
        return gpu_table(title, found)

    def weights(self, model: str) -> Weights:
        """Of FLUX.1-dev, or of the Studio's own model as it is loaded, with its own LoRA."""
        return flux_dev() if model == FLUX else weights_of(self.maker.pipeline(), self.facts.name)
