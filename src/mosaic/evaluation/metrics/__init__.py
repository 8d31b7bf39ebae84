"""Columns by their published names, each made for the scorers chosen."""

from __future__ import annotations

from collections.abc import Callable

from mosaic.evaluation.extractors import Scorers
from mosaic.evaluation.features import Metric
from mosaic.evaluation.metrics.aesthetic import GridAesthetic, ImageAesthetic
from mosaic.evaluation.metrics.columns import column_of
from mosaic.evaluation.metrics.confusion import Confusion, ConfusionByChance
from mosaic.evaluation.metrics.cropped import DinoMin
from mosaic.evaluation.metrics.diversity import Diversity
from mosaic.evaluation.metrics.faces import IdConf, IdSim, IdSimAssigned
from mosaic.evaluation.metrics.instances import IpSim, IpSimAssigned, IpSimPadded
from mosaic.evaluation.metrics.preference import PromptPreference, reward_column
from mosaic.evaluation.metrics.questions import GraphQuestions, question_column
from mosaic.evaluation.metrics.similarity import PhotographSimilarity, PromptSimilarity
from mosaic.evaluation.metrics.toys import MEASURES, toy_measure

METRICS: dict[str, Callable[[Scorers], Metric]] = {
    "CLIP-I": lambda scorers: PhotographSimilarity(column_of("CLIP-I", scorers, "clip"), "clip"),
    "CLIP-T": lambda scorers: PromptSimilarity(column_of("CLIP-T", scorers, "clip"), "clip"),
    "DINO": lambda scorers: PhotographSimilarity(column_of("DINO", scorers, "dino"), "dino"),
    "DINOv2": lambda scorers: PhotographSimilarity(column_of("DINOv2", scorers, "dinov2"), "dinov2"),
    "AES": lambda scorers: GridAesthetic(column_of("AES", scorers, "aesthetic", scale=10.0)),
    "AES (images)": lambda scorers: ImageAesthetic(
        column_of("AES (images)", scorers, "aesthetic", scale=10.0)
    ),
    "DPG": lambda scorers: GraphQuestions(question_column(scorers)),
    "HPSv3": lambda scorers: PromptPreference(column_of("HPSv3", scorers, "hps", scale=1.0), "hps"),
    "UnifiedReward": lambda scorers: PromptPreference(reward_column(scorers), "reward"),
    "diversity": lambda scorers: Diversity(column_of("diversity", scorers, "dinov2")),
    "ID-Sim": IdSim,
    "ID-Sim (assigned)": IdSimAssigned,
    "ID-Conf": IdConf,
    "IP-Sim": IpSim,
    "IP-Sim (assigned)": IpSimAssigned,
    "IP-Sim (padded)": IpSimPadded,
    "DINO-min (cropped)": DinoMin,
    "confusion": Confusion,
    "confusion by chance": ConfusionByChance,
    **{name: toy_measure(name) for name in MEASURES},
}
