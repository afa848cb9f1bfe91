"""A run, typed: what conf/run.yaml composes into, made of the specs of all floors.

This is the one place that knows them all. Specs of a part live beside the part; here stand only the choices between
having a part and not having it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge

from generators.contamination import ContaminationSpec
from generators.labelled import LabelledSpec
from generators.mined import MinedSpec
from generators.mixture import MixSpec
from generators.refine import RefineSpec
from generators.synthesize import SynthesizeSpec
from harness.config import decode
from harness.instructions import InstructionFormat
from harness.kinds import BY_KIND
from harness.runtime import Runtime
from harness.server import ServedModel
from harness.tasks import Suite
from models.adapter import Adapter
from models.encoder import ModelSpec
from models.pooling import Pooling
from models.train import TrainSpec
from sweeps.compose import CONTROL

Natural = Annotated[MinedSpec | LabelledSpec, BY_KIND]


@dataclass(frozen=True)
class NoTraining:
    """The stage is left out."""

    kind: Literal["none"]


@dataclass(frozen=True)
class Pretraining:
    """Contrastive pre-training on weak pairs (paper section 5.1).

    It has its own pooling, so that arms that differ in pooling share it, and its own seed, so that seeds do.
    """

    kind: Literal["contrastive"]
    pairs: Natural
    pooling: Pooling
    adapter: Adapter
    instruction: InstructionFormat
    train: TrainSpec
    seed: Annotated[int, Ge(0)]


@dataclass(frozen=True)
class Refinement:
    """An encoder looks at the mix before training does."""

    kind: Literal["encoder"]
    model: ModelSpec
    """Any model; its adapter plays no part."""
    how: RefineSpec


@dataclass(frozen=True)
class RunSpec:
    """Everything that decides the scores of one run."""

    seed: Annotated[int, Ge(0)]
    """Varies data order, adapter initialisation and dropout of fine-tuning, the same way in every arm."""
    generator: SynthesizeSpec
    natural: Natural
    """What stands for labelled data in the mix."""
    data: MixSpec
    refine: Annotated[Refinement | NoTraining, BY_KIND]
    model: Annotated[ModelSpec | ServedModel, BY_KIND]
    """A backbone of ours to train and judge, or a model behind a server, judged only."""
    pretrain: Annotated[Pretraining | NoTraining, BY_KIND]
    finetune: Annotated[TrainSpec | NoTraining, BY_KIND]
    eval: Suite
    contamination: ContaminationSpec
    """Whether the texts of the suite are looked for in the training pairs."""

    def with_seed(self, seed: int) -> RunSpec:
        """The same run with another seed."""
        return dataclasses.replace(self, seed=seed)


@dataclass(frozen=True)
class Control:
    """What to do with the runs of a command; no part of any of them."""

    preview: bool
    only: tuple[str, ...] | None
    """Arms to run, the baseline always with them; None: all."""
    retry: Literal["failed"] | None
    """Build only what failed last time and what waits for it; None: whatever is missing."""


@dataclass(frozen=True)
class Composed:
    """A composed configuration, taken apart."""

    run: Mapping[str, Any]
    """Data of a RunSpec."""
    runtime: Mapping[str, Any]
    control: Mapping[str, Any]
    sweep: Mapping[str, Any] | None
    """Data of an Ablation."""

    @staticmethod
    def of(data: Mapping[str, Any]) -> Composed:
        """Split by top-level key."""
        aside = (*CONTROL, "runtime", "gate")
        run = {key: value for key, value in data.items() if key not in aside}
        control = {key: data[key] for key in CONTROL if key != "sweep"}
        return Composed(run, data["runtime"], control, data.get("sweep"))

    def decode_run(self) -> RunSpec:
        """Typed, or ConfigError with every bad key."""
        return decode(RunSpec, self.run)

    def decode_runtime(self) -> Runtime:
        """Typed, or ConfigError with every bad key."""
        return decode(Runtime, self.runtime, "runtime")

    def decode_control(self) -> Control:
        """Typed, or ConfigError with every bad key."""
        return decode(Control, self.control)
