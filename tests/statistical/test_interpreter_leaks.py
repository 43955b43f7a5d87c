"""A thousand images, one after the other: nothing accumulates (pytorch-grad-cam's issues 132 and 483)."""

from __future__ import annotations

import ctypes
import gc
import mmap
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from monai_robustinterp.interpreters import INTERPRETERS, explaining
from tests.support.interpreters import make

# One map kept of every image would be 64 * 64 * 4 bytes of each: 1.6 MB after 100 images. A graph is more.
SIDE, MOST_BYTES = 64, 2**20


@pytest.fixture(scope="module", autouse=True)
def earlier_objects_are_not_counted() -> Iterator[None]:
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def live_tensors() -> int:
    gc.collect()
    # type(), for isinstance asks lazy modules among the objects for their class.
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


def resident_bytes() -> int:
    """Memory of this process; what the allocator keeps without a use is given back first."""
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc and calls glibc")
@pytest.mark.parametrize(
    ("warm_up", "n_images"), [(20, 100), pytest.param(100, 1000, marks=pytest.mark.slow)], ids=["100", "1000"]
)
@pytest.mark.parametrize("name", sorted(INTERPRETERS))
def test_nothing_accumulates(name, warm_up, n_images, tiny) -> None:
    generator = torch.Generator().manual_seed(0)

    def explain(images: int) -> tuple[int, int, int]:
        for _ in range(images):
            # An interpreter an image, as in a service.
            interpreter = make(name, target_layer="features.3")
            with explaining(tiny):
                interpreter.attribute(tiny, torch.rand(1, 1, SIDE, SIDE, generator=generator), 1)
        kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
        hooks = sum(len(getattr(module, kind)) for module in tiny.modules() for kind in kinds)
        return live_tensors(), hooks, resident_bytes()

    tensors, hooks, resident = explain(warm_up)
    tensors_after, hooks_after, resident_after = explain(n_images - warm_up)
    print(f"{name}: {resident_after - resident} bytes more")
    assert (tensors_after, hooks_after) == (tensors, hooks) and hooks == 0
    assert resident_after - resident < MOST_BYTES
