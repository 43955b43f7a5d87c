"""What is measured: models, batch grids, numbers of copies and repeats."""

from __future__ import annotations

from dataclasses import dataclass

CHEST, FINDINGS = "chest_xray_certified_saliency", "chest_xray_findings"
DENSENET, TINY, DEFAULT = "densenet121", "tiny", "chest_xray_evidence"

TITLES = {
    CHEST: "`chest_xray_certified_saliency`",
    FINDINGS: "`chest_xray_findings`",
    DEFAULT: "`chest_xray_evidence`",
    DENSENET: "MONAI's DenseNet121 (random weights)",
    TINY: "three convolutions of 16 channels",
}


@dataclass(frozen=True, kw_only=True)
class ModelPlan:
    """The timings of one model.

    Attributes:
        key: name of a shipped bundle, or ``DENSENET`` or ``TINY``.
        side: of the square input in pixels.
        batches: the grid; every contender is reported at its best.
        n_samples: copies m of each timed run on the grid.
        series: m at which ours, bare and Captum are timed at their best batch.
        one_batch: m at which Captum is timed with all copies in one batch, its default.
        automatic: m at which ours is timed with the batch size that it finds itself; 0 is none.
        long: m of long runs of ours, in each precision; 0 is none.
    """

    key: str
    side: int
    batches: tuple[int, ...]
    n_samples: int
    series: tuple[int, ...] = ()
    one_batch: tuple[int, ...] = ()
    automatic: int = 0
    long: int = 0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run of the bench.

    Attributes:
        name: "cpu", "cuda" or "quick".
        models: in order; memory in m and in pixels is that of the first.
        denoised: of the default bundle.
        repeats: timed runs behind a median of the grid, after one warm-up.
        few_repeats: the same where m varies.
        memory_samples: m at which the memory of ours with the first model is taken.
        tiny_samples: the same with a tiny network.
        sides: pixels a side at which the memory of ours is taken.
        memory_batch: batch size of the memory rows in m and in pixels.
        memory_names: contenders whose memory is taken at their best batch; None is all.
        dicom_samples: m of the DICOM file; None is the bundle's.
        ledger_sides: pixels a side of the films whose ledger is timed.
    """

    name: str
    models: tuple[ModelPlan, ...]
    denoised: ModelPlan
    repeats: int
    few_repeats: int
    memory_samples: tuple[int, ...]
    tiny_samples: tuple[int, ...]
    sides: tuple[int, ...]
    memory_batch: int
    memory_names: tuple[str, ...] | None = None
    dicom_samples: int | None = None
    ledger_sides: tuple[int, ...] = (1024, 4000, 8000)


_SERIES, _ONE_BATCH = (64, 256, 1024, 4096), (64, 256)
_SAMPLES, _TINY_SAMPLES, _SIDES = (64, 1024, 4096), (64, 1024, 65536), (64, 128, 256)
_CPU_GRID, _CUDA_GRID = (16, 32), (32, 64, 128, 256, 512)

CPU = Plan(
    name="cpu",
    models=(
        ModelPlan(
            key=CHEST,
            side=128,
            batches=_CPU_GRID,
            n_samples=256,
            series=_SERIES,
            one_batch=_ONE_BATCH,
            automatic=256,
        ),
        ModelPlan(key=FINDINGS, side=128, batches=_CPU_GRID, n_samples=256),
        # All copies in one batch would take tens of GB here.
        ModelPlan(key=DENSENET, side=224, batches=(8,), n_samples=64),
    ),
    denoised=ModelPlan(key=DEFAULT, side=128, batches=(8, 16, 32), n_samples=256),
    repeats=5,
    few_repeats=2,
    memory_samples=_SAMPLES[:2],
    tiny_samples=_TINY_SAMPLES,
    sides=_SIDES,
    memory_batch=16,
)
CUDA = Plan(
    name="cuda",
    models=(
        ModelPlan(
            key=CHEST,
            side=128,
            batches=_CUDA_GRID,
            n_samples=1024,
            series=_SERIES,
            one_batch=_ONE_BATCH,
            automatic=1024,
        ),
        ModelPlan(key=FINDINGS, side=128, batches=_CUDA_GRID, n_samples=1024, one_batch=_ONE_BATCH),
        ModelPlan(
            key=DENSENET,
            side=224,
            batches=(32, 64, 128, 256),
            n_samples=1024,
            one_batch=_ONE_BATCH,
            automatic=1024,
            long=10_000,
        ),
    ),
    denoised=ModelPlan(key=DEFAULT, side=128, batches=_CUDA_GRID, n_samples=1024),
    repeats=5,
    few_repeats=3,
    memory_samples=_SAMPLES,
    tiny_samples=_TINY_SAMPLES,
    sides=_SIDES,
    memory_batch=64,
)
QUICK = Plan(
    name="quick",
    models=(ModelPlan(key=CHEST, side=128, batches=(8,), n_samples=16, series=(24,)),),
    denoised=ModelPlan(key=DEFAULT, side=128, batches=(8,), n_samples=16),
    repeats=1,
    few_repeats=1,
    memory_samples=(),
    tiny_samples=(),
    sides=(),
    memory_batch=16,
    memory_names=("ours",),
    dicom_samples=8,
    ledger_sides=(128,),
)
