"""Measures named changes of the source image in standard deviations of the noise, for the ledger of a record.

It is no approximation: the changed image goes through the same preprocessing, and the theorem holds for the network's
input that comes out (docs/theory/units.md). It is about these changes of this image, and replaces no study of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from monai_robustinterp.certificates.ledger import MeasuredChange
from monai_robustinterp.geometry.changes import BadChange, Change, RandomChange
from monai_robustinterp.geometry.source import Source

Norm = Callable[[npt.NDArray[np.float64]], float]
"""The norm of a change [1, h, w] in standard deviations of the noise, never rounded down."""

_THREADS = 2
"""As many as the cores of a small machine: most of the time goes into drawing normals, which wait for nothing."""


def measure(
    changes: Sequence[Change],
    source: Source,
    clean: npt.NDArray[np.float32],
    *,
    norm: Norm,
    round_off: float,
    seed: int,
) -> tuple[MeasuredChange, ...]:
    """Applies each change to the source and measures it at the network's input.

    Changes by rows are measured by threads of their own where the preprocessing is by rows too. All others, which may
    be code of a user or run on a GPU, take turns in the caller's.

    Args:
        changes: to apply; one that fails does not apply, and the reason says how it failed.
        source: the image.
        clean: the network's input of the source, [1, h, w].
        norm: of the noise.
        round_off: bound of the float32 round-off of both inputs, in standard deviations of the noise; it is added.
        seed: of random changes.
    """

    def measured(change: Change) -> MeasuredChange:
        return _measured(change, source, clean, norm, round_off, seed)

    with ThreadPoolExecutor(_THREADS, "ledger") as pool:
        numbered = dict(enumerate(changes))
        beside = {i: pool.submit(measured, one) for i, one in numbered.items() if one.by_rows and source.row_path}
        found = {i: measured(one) for i, one in numbered.items() if i not in beside}
        found |= {i: future.result() for i, future in beside.items()}
    return tuple(found[i] for i in numbered)


def _measured(
    change: Change, source: Source, clean: npt.NDArray[np.float32], norm: Norm, round_off: float, seed: int
) -> MeasuredChange:
    norms: tuple[float, ...] = ()
    try:
        reason = change.reason(source)
        if not reason:
            found = [_norm(made, clean, norm) for made in change.inputs(source, seed)]
            norms = tuple(math.nextafter(one + round_off, math.inf) for one in found)
    except BadChange as error:
        reason = str(error)
    except Exception as error:  # of a user's function: its text may quote the image's file
        reason = f"it raised {type(error).__name__}; it must give changed pixels of the same shape."
    drawn = isinstance(change, RandomChange)
    return MeasuredChange(name=change.name, value=change.value, norms=norms, drawn=drawn, reason=reason)


def _norm(made: npt.NDArray[np.float32], clean: npt.NDArray[np.float32], norm: Norm) -> float:
    if made.shape != clean.shape:
        raise BadChange(f"it makes an input of shape {made.shape} for the network; this one has {clean.shape}.")
    found = norm(made.astype(np.float64) - clean)
    if not found < math.inf:
        raise BadChange("it makes an input of the network that is not finite.")
    return found
