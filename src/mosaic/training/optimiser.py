"""AdamW over fp32 copies of the trained weights, with a clip that clips, a schedule, and a running average.

The copies (masters) are what is trained; the model holds them rounded to its own dtype. Gradients of
micro-steps are summed in fp32, and averaged over the processes once a step.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mosaic.training.parallel import World
from mosaic.training.recipe import OptimiserSection

FUSED = {"cpu", "cuda"}
MOMENTS = ("exp_avg", "exp_avg_sq")


class MasterAdamW:
    """AdamW on masters of `parameters` (name → parameter of the model), fp32, or fp64 where these are."""

    def __init__(
        self, parameters: Mapping[str, nn.Parameter], section: OptimiserSection, world: World | None = None
    ) -> None:
        if not parameters:
            raise ValueError("there is nothing to train: no parameter was given to the optimiser.")
        self.section, self.world = section, world or World()
        self.parameters = dict(parameters)
        self.masters = {name: nn.Parameter(_full(p.detach()).clone()) for name, p in parameters.items()}
        self.average = {name: m.detach().clone() for name, m in self.masters.items()} if section.ema else {}
        self.steps = 0
        self.lost = 0  # steps in a row, up to the last, whose gradient was not finite: they moved nothing
        self.adamw = _adamw(self.masters.values(), section)

    @property
    def rate(self) -> float:
        """Learning rate of the last step."""
        return learning_rate(self.section, max(0, self.steps - 1))

    def collect(self, micro_steps: int = 1) -> None:
        """Add the model's gradients, as a share of `micro_steps`, to the masters' and clear them."""
        for name, parameter in self.parameters.items():
            if parameter.grad is None:
                continue
            gradient = _full(parameter.grad) / micro_steps
            master = self.masters[name]
            master.grad = gradient if master.grad is None else master.grad.add_(gradient)
            parameter.grad = None

    def step(self) -> float:
        """Average over processes, clip, move the masters, copy them to the model; the norm before that."""
        masters = list(self.masters.values())  # a list: an iterator would be exhausted after its first reader
        self.world.mean_([m.grad for m in masters if m.grad is not None])
        norm = float(nn.utils.clip_grad_norm_(masters, self.section.clip))
        self.lost = 0 if math.isfinite(norm) else self.lost + 1
        if not self.lost:
            for group in self.adamw.param_groups:
                _set_rate(group, learning_rate(self.section, self.steps))
            self.adamw.step()
        self.adamw.zero_grad(set_to_none=True)
        self.steps += 1
        self._average()
        self._copy(self.masters)
        return norm

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The model with its averaged weights, inside the `with` block."""
        if self.average:
            self._copy(self.average)
        try:
            yield
        finally:
            self._copy(self.masters)

    def state_tensors(self) -> dict[str, dict[str, Tensor]]:
        """Everything a resumed run needs, as named tensors by kind."""
        moments = {name: self.adamw.state.get(master, {}) for name, master in self.masters.items()}
        kinds = {
            "masters": {name: master.detach() for name, master in self.masters.items()},
            "average": self.average,
        }
        for kind in (*MOMENTS, "step"):
            kept = {name: state[kind] for name, state in moments.items() if kind in state}
            kinds[kind] = {key: part for name, tensor in kept.items() for key, part in _parts(name, tensor)}
        return {kind: tensors for kind, tensors in kinds.items() if tensors}

    def load_state_tensors(self, kinds: Mapping[str, Mapping[str, Tensor]], steps: int) -> None:
        """Continue from `state_tensors`; ValueError names a parameter that is missing or of another shape."""
        _check_names(self.masters, kinds["masters"])
        for name, master in self.masters.items():
            master.data.copy_(kinds["masters"][name])
            if self.average:
                self.average[name].copy_(kinds.get("average", kinds["masters"])[name])
            if name in kinds.get("step", {}):
                state = {kind: self._moment(kinds[kind], name, kind == "exp_avg") for kind in MOMENTS}
                self.adamw.state[master] = {"step": self._count(kinds["step"][name], master)} | state
        self.steps = steps
        self._copy(self.masters)

    def _moment(self, kept: Mapping[str, Tensor], name: str, signed: bool) -> Tensor:
        """A moment as the optimiser holds it: whole, or in 8 bits with a scale a block."""
        master, eight = self.masters[name], self.section.kind == "adamw8bit"
        if not eight and f"{name}.codes" in kept:
            raise ValueError(
                'cannot resume: the checkpoint has 8-bit moments: set optimiser.kind = "adamw8bit".'
            )
        moment = self.adamw._new_buffer(master, signed) if eight else torch.zeros_like(master)
        parts = dict(_parts(name, moment))
        if not parts.keys() <= kept.keys():
            raise ValueError('cannot resume: the checkpoint has whole moments: set optimiser.kind = "adamw".')
        for key, part in parts.items():
            part.copy_(kept[key])
        return moment

    def _count(self, steps: Tensor, master: Tensor) -> Tensor:
        fused = self.section.kind == "adamw" and master.device.type != "cpu"
        return steps.to(master.device) if fused else steps.clone()

    def _average(self) -> None:
        if not self.average:
            return
        decay = min(self.section.ema, (1 + self.steps) / (10 + self.steps))  # follow quickly at first
        masters = [self.masters[name].detach() for name in self.average]
        torch._foreach_lerp_(list(self.average.values()), masters, 1 - decay)

    @torch.no_grad()
    def _copy(self, weights: Mapping[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(weights[name])


def learning_rate(section: OptimiserSection, step: int) -> float:
    """Linear warm-up, then constant or a cosine to zero at the last step."""
    if step < section.warmup:
        return section.lr * (step + 1) / section.warmup
    if section.schedule == "constant":
        return section.lr
    share = (step - section.warmup) / max(1, section.steps - section.warmup)
    return section.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def gradient_norm(loss: Tensor, parameters: Mapping[str, nn.Parameter], world: World | None = None) -> float:
    """Norm of one term's gradient, averaged over the processes; the graph is kept."""
    if not loss.requires_grad:
        return 0.0
    gradients = torch.autograd.grad(loss, list(parameters.values()), retain_graph=True, allow_unused=True)
    found = [_full(g) for g in gradients if g is not None]
    (world or World()).mean_(found)
    return float(torch.stack([g.norm() for g in found]).norm())


def _adamw(masters: Iterable[nn.Parameter], section: OptimiserSection) -> Any:
    groups = _decay_groups(masters, section.weight_decay)
    if section.kind == "adamw8bit":
        from torchao.optim import AdamW8bit

        return AdamW8bit(groups, lr=section.lr, betas=section.betas)
    fused = all(p.device.type in FUSED for group in groups for p in group["params"])
    return torch.optim.AdamW(groups, lr=section.lr, betas=section.betas, fused=fused)


def _set_rate(group: dict[str, Any], rate: float) -> None:
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate


def _full(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _parts(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """A tensor by its name, or the codes and scales of one in 8 bits."""
    if hasattr(tensor, "codes"):
        yield from ((f"{name}.{part}", getattr(tensor, part)) for part in ("codes", "scale"))
    else:
        yield name, tensor


def _decay_groups(masters: Iterable[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    masters = list(masters)
    return [
        {"params": [m for m in masters if m.ndim >= 2], "weight_decay": weight_decay},
        {"params": [m for m in masters if m.ndim < 2], "weight_decay": 0.0},
    ]


def _check_names(masters: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    for name in sorted(set(masters) ^ set(found)):
        where = (
            "the checkpoint lacks"
            if name in masters
            else "the checkpoint has, and this recipe does not train,"
        )
        raise ValueError(f"cannot resume: {where} {name}.")
    for name, master in masters.items():
        before, now = list(found[name].shape), list(master.shape)
        if before != now and ".lora_A." in name and before[1:] == now[1:]:
            raise ValueError(
                f"cannot resume: the LoRA's rank is {before[0]} in the checkpoint and {now[0]} here "
                f"({name}): set lora.rank={before[0]}, or choose another folder."
            )
        if before != now:
            raise ValueError(
                f"cannot resume: {name} is {before} in the checkpoint and {now} here: go on with the recipe "
                "it began with, or choose another folder."
            )
