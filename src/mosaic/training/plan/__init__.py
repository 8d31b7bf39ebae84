"""What a recipe takes before it runs: memory, operations, time and disk.

`shapes` says what everything is a function of; `flops`, `activations`, `memory` and `disk` are the formulas;
`reading` takes their arguments from a recipe; `planning` puts them together, `report` tells.
"""

from mosaic.training.plan.flops import Flops, flops_of_step
from mosaic.training.plan.planning import Plan, mean_flops, plan_recipe, work_of
from mosaic.training.plan.report import show
from mosaic.training.plan.shapes import Adapter, Backbone, Micro

__all__ = ["Adapter", "Backbone", "Flops", "Micro", "Plan", "flops_of_step", "mean_flops", "plan_recipe"]
__all__ += ["show", "work_of"]
