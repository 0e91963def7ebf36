"""WANDB_MODE: whether W&B logs online, offline or not at all; offline unless the user says otherwise."""

import logging
import os

VARIABLE = "WANDB_MODE"
MODES = ("online", "offline", "disabled", "shared")
OLD_NAMES = {"run": "online", "dryrun": "offline"}  # W&B's

_log = logging.getLogger(__name__)


def wandb_mode() -> str:
    """One of MODES; offline where the variable is not set or empty, and where it is none of them, which is
    said. The environment has it from then on, where W&B itself looks.
    """
    given = os.environ.get(VARIABLE, "").strip()
    mode = OLD_NAMES.get(given.lower(), given.lower()) or "offline"
    if mode not in MODES:
        _log.warning(
            "%s=%s is not one of: %s. The run logs offline, and dfd sync sends it.",
            VARIABLE,
            given,
            ", ".join(MODES),
        )
        mode = "offline"
    if VARIABLE in os.environ:
        os.environ[VARIABLE] = mode
    return mode
