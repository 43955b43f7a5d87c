"""Any classifier as a network: a remote server, another framework, a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

Array = npt.NDArray[Any]

_RULE = (
    "the classifier function returned {found} for a batch of {rows}; it must return real numbers of shape [{rows}, "
    "classes]: one row of scores an image, in the order of the batch."
)
# Probabilities may come rounded, to three digits say.
_TOLERANCE = 0.01


class CallableClassifier(nn.Module):
    """A function of numpy arrays as a network, for the interpreters that need no gradient.

    Those are ``interpreters.without_gradient()``. A certificate is about the function, which must score each image by
    itself, whatever else is in its batch, and be the same one during a run.

    Args:
        function: takes a batch, float32 [B, C, H, W] in C order and its own to keep; returns the scores [B, classes]:
            an array, a tensor of any framework that numpy can read, or nested lists.
        returns: what the scores are: ``logits``, or probabilities of exclusive classes (``softmax``) or of independent
            findings (``sigmoid``). Interpreters and decisions need logits: log p or log(p / (1 - p)), with p kept off 0
            and 1 by the precision of the returned array.

    Raises:
        ValueError: if ``returns`` is none of these.
    """

    def __init__(
        self,
        function: Callable[[npt.NDArray[np.float32]], Any],
        returns: Literal["logits", "softmax", "sigmoid"] = "logits",
    ) -> None:
        super().__init__()
        if not callable(function):
            raise ValueError(f"function is a {type(function).__name__}; it must be a function of a numpy array.")
        if returns not in ("logits", "softmax", "sigmoid"):
            raise ValueError(f"returns is {returns!r}; it must be 'logits', 'softmax' or 'sigmoid'.")
        self.function, self.returns = function, returns

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits of a batch.

        Args:
            image: [B, C, H, W] on any device.

        Returns:
            float32 [B, classes] on that device, without a gradient.

        Raises:
            ValueError: if the function fails, or does not return finite scores [B, classes] of the declared kind.
        """
        # An array of its own: the function may change or keep what it gets, and return the same buffer each time.
        batch = np.array(image.detach().cpu().numpy(), dtype=np.float32, order="C")
        try:
            scores = self.function(batch)
        except Exception as error:
            # The error's own words may quote what was sent, or where to; they stay in the chained exception.
            raise ValueError(
                f"the classifier function failed with {type(error).__name__}: see the exception that this one follows, "
                "and call the function with a batch of zeros to try it."
            ) from error
        logits = _logits(_checked(scores, len(batch)), self.returns)
        with np.errstate(over="ignore"):
            logits = logits.astype(np.float32)
        wrong = int((~np.isfinite(logits)).sum())
        if wrong:
            raise ValueError(
                f"{wrong} of {logits.size} scores of the classifier function are NaN, infinite or beyond float32; all "
                "must be finite. Check what it does with noisy and masked images."
            )
        return torch.from_numpy(logits).to(image.device)


def _checked(scores: Any, rows: int) -> Array:
    """The function's scores as real numbers [B, classes]."""
    try:
        array = scores.detach().cpu().numpy() if isinstance(scores, torch.Tensor) else np.asarray(scores)
    except (TypeError, ValueError) as error:
        raise ValueError(_RULE.format(found=f"a {type(scores).__name__} that is no array", rows=rows)) from error
    if array.dtype.kind not in "fiu":
        raise ValueError(_RULE.format(found=f"values of type {array.dtype}", rows=rows))
    if array.ndim != 2 or len(array) != rows or not array.size:
        raise ValueError(_RULE.format(found=f"shape {array.shape}", rows=rows))
    return array


def _logits(scores: Array, returns: str) -> Array:
    if returns == "logits":
        return scores
    precision = float(np.finfo(scores.dtype).eps) if scores.dtype.kind == "f" else np.finfo(np.float64).eps
    p = scores.astype(np.float64)
    # Written so that NaN passes, and is reported as what it is.
    if (p < -_TOLERANCE).any() or (p > 1 + _TOLERANCE).any():
        raise ValueError(
            f"the classifier function returned scores outside [0, 1] and is said to return {returns!r} probabilities. "
            "Pass returns='logits', or return probabilities."
        )
    if returns == "softmax" and (np.abs(p.sum(axis=1) - 1) > _TOLERANCE).any():
        raise ValueError(
            f"the classifier function returned rows that do not sum to 1 (the first: {p[0].sum():.3g}) and is said to "
            "return 'softmax' probabilities of exclusive classes. Of independent findings pass returns='sigmoid'."
        )
    p = np.clip(p, precision, 1 - precision)
    logits: Array = np.log(p) if returns == "softmax" else np.log(p) - np.log1p(-p)
    return logits
