"""Time limit of a fit: trainer.max_time, counted from each start of the run."""

from typing import Any

from lightning.pytorch.callbacks import Timer


class TimeLimit(Timer):
    """Ends a fit when its time is up, behind a step. The time of earlier starts does not count: like a job's
    limit, it is there for what one start may take, and the same command goes on with as much again.
    """

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        pass
