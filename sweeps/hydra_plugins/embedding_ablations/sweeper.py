"""What `-m` reaches: Hydra finds sweepers only in this namespace, so this is a door and nothing more.

Imported at every start of Hydra, therefore without anything slow; the sweep is `sweeps.run.asked_sweep`.
"""

from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class AblationSweeperConf:
    """Hydra's handle for the class below."""

    _target_: str = "hydra_plugins.embedding_ablations.sweeper.AblationSweeper"


ConfigStore.instance().store(group="hydra/sweeper", name="ablation", node=AblationSweeperConf, provider="embedding-ablations")


class AblationSweeper(Sweeper):
    """Hands the command line to our engine; Hydra's launchers, job directories and job numbers are not used."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra's part of the contract; the engine composes for itself."""

    def sweep(self, arguments: list[str]) -> Any:  # noqa: ARG002 - only Hydra's own settings are left in them
        """Run the ablation or grid that the command line asks for; its failures become the exit code there."""
        from sweeps.run import asked_sweep

        return asked_sweep()
