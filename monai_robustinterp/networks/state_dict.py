"""Weights from a file, without running code of it."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch


def read_state_dict(path: str | Path) -> Any:
    """What a checkpoint holds, read with ``weights_only=True`` onto the CPU.

    Raises:
        ValueError: if the file is damaged, or holds anything but tensors and plain values.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        # Torch's own message advises to switch the check off.
        raise ValueError(
            "the weights file is damaged, or holds more than tensors and plain values; such files can run code when "
            "they are read, so it is not loaded. Copy it again from its source; where you trust one that holds more, "
            "load it with the code that made it and save the weights alone with torch.save(network.state_dict(), path)."
        ) from error
