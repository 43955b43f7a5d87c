"""The bench of speed and memory: what its contenders do, its medians and ratios, and what its page says of goals."""

from __future__ import annotations

import dataclasses
import json
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks.speed import __main__ as command
from benchmarks.speed import contenders, measure, memory, page, peers, stages
from benchmarks.speed.contenders import CONTENDERS, batches
from benchmarks.speed.goals import goals
from benchmarks.speed.measure import best_row, take_turns
from benchmarks.speed.models import Case, load_case, untouched
from benchmarks.speed.plan import CHEST, CPU, CUDA, DEFAULT, DENSENET, QUICK, TINY, ModelPlan, Plan
from benchmarks.speed.ratios import BEST_BARE, one_batch, ratios
from monai_robustinterp import CertifiedSaliencyInferer
from monai_robustinterp.interpreters import Gradient, explaining
from monai_robustinterp.interpreters.context.precision import float32_products
from monai_robustinterp.networks.denoised import Denoiser
from monai_robustinterp.smoothing.recipe import Recipe
from monai_robustinterp.smoothing.voting import pool_cells, top_k_votes
from tests.support.dicom_factory import make_dx

HERE = [name for name in CONTENDERS if name == "ours" or not name.startswith(("zennit", "ours"))]


@pytest.fixture
def case(tiny, image) -> Case:
    inferer = CertifiedSaliencyInferer(sigma=0.2, top_k=10, cell_size=4, target=2)
    return Case(network=tiny, plain=untouched(tiny), inferer=inferer, image=image)


def seen_by(case: Case) -> list[torch.Tensor]:
    """Gets the batches that either network is given for a gradient."""
    seen: list[torch.Tensor] = []

    def note(module, args) -> None:
        if args[0].requires_grad:
            seen.append(args[0].detach().clone())

    for network in (case.network, case.plain):
        network.register_forward_pre_hook(note)
    return seen


def row(part: str, model: str, contender: str, batch: int | None, rate: float, n_samples: int = 100, **more):
    seconds = n_samples / rate
    # Two cores are busy.
    timing = {"seconds": [seconds] * 3, "median_s": seconds, "samples_per_s": rate, "samples_per_cpu_s": rate / 2}
    place = {"part": part, "model": model, "side": 128, "contender": contender, "batch": batch}
    return place | {"n_samples": n_samples} | timing | more


def results_of(rates, memory_rows=(), **machine):
    """What bench.json holds."""
    return {
        "machine": {
            "device": "cpu",
            "processor": "a processor",
            "cores": 2,
            "threads": 2,
            "vector_instructions": "AVX2",
            "stolen_share": 0.0,
            **machine,
        },
        "versions": {"torch": "2"},
        "commit": "abc",
        "uncommitted_changes": False,
        "date": "2026-01-01",
        "settings": {"name": "cpu", "dtype": "float32", "repeats": 5, "few_repeats": 3},
        "left_out": {"zennit": "ImportError: not there"},
        "rates": rates,
        "ratios": ratios(rates),
        "memory": list(memory_rows),
        "dicom": {},
    }


@pytest.mark.parametrize(("n_samples", "batch_size"), [(10, 4), (8, 8), (6, None)])
@pytest.mark.parametrize("name", HERE)
def test_a_contender_processes_m_copies_in_batches(case, name, n_samples, batch_size) -> None:
    seen = seen_by(case)
    with CONTENDERS[name](case, n_samples, batch_size) as run:
        assert not seen
        run()
        sizes = batches(n_samples, batch_size)
        # Our short batches are filled up, so that all copies go through the same kernels.
        wanted = [sizes[0]] * len(sizes) if name == "ours" else sizes
        assert [len(batch) for batch in seen] == wanted
        run()
    assert sum(map(len, seen)) == 2 * sum(wanted)
    copies = torch.cat(seen[: len(seen) // 2])
    assert len({copy.numpy().tobytes() for copy in copies}) >= min(n_samples, batch_size or n_samples)
    assert float((copies - case.image).std()) == pytest.approx(0.2, rel=0.05)


def test_batches_hold_every_copy_once() -> None:
    assert batches(10, 4) == [4, 4, 2] and batches(8, 4) == [4, 4] and batches(3, 8) == [3] and batches(7, None) == [7]


@pytest.mark.parametrize("name", HERE)
def test_contenders_take_the_same_gradient_of_the_same_copy(case, name) -> None:
    seen = seen_by(case)
    with CONTENDERS[name](case, 1, 1) as run:
        found = run()
    copy = seen[0].clone()
    with explaining(case.network) as network:
        wanted = Gradient().attribute(network, copy, 2).maps
        cells = pool_cells(wanted, 4)
    assert float(wanted.max()) > 0
    if name == "ours":
        votes = top_k_votes(cells.flatten(1), 10, lambda rows: torch.arange(64).expand(len(rows), 64)).mask
        assert found[0][0].counts.ravel().tolist() == votes[0].int().tolist()
    else:
        torch.testing.assert_close(found.abs() if name.startswith("bare") else found, wanted, rtol=1e-4, atol=1e-7)


def test_precision_is_the_bench_s_inside_and_as_before_after(case) -> None:
    def found() -> list[str]:
        return [torch.backends.cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision]

    before = found()
    with float32_products("ieee"):
        assert found() == ["ieee", "ieee"]
        with CONTENDERS["captum_tf32"](case, 1, 1):
            assert found() == ["tf32", "tf32"]
        assert found() == ["ieee", "ieee"]
    assert found() == before


def test_captum_votes_with_this_package_once_a_batch(case, monkeypatch) -> None:
    voted = []

    def note(values, top_k, order):
        voted.append((values.shape, top_k))
        return top_k_votes(values, top_k, order)

    monkeypatch.setattr(contenders, "top_k_votes", note)
    with CONTENDERS["captum"](case, 10, 4) as run:
        run()
    assert voted == [((1, 64), 10)] * 3


def test_ours_leaves_the_inferer_as_it_is(case) -> None:
    before = dict(vars(case.inferer))
    with CONTENDERS["ours"](case, 3, 2) as run:
        assert run()[0][0].n_samples == 3
    assert vars(case.inferer) == before


@pytest.mark.parametrize(
    ("name", "wanted"), [("ours", "float32"), ("ours_tf32", "tf32"), ("ours_bfloat16", "bfloat16")]
)
def test_ours_runs_in_the_precision_of_its_name(case, monkeypatch, name, wanted) -> None:
    monkeypatch.setattr(Recipe, "vote", lambda self, images, network: self.precision)
    with CONTENDERS[name](case, 3, 2) as run:
        assert run() == wanted


def test_the_untouched_copy_is_contiguous_and_frozen(tiny) -> None:
    tiny.to(memory_format=torch.channels_last).train()
    plain = untouched(tiny)
    weight = plain.features[3].weight
    assert weight.is_contiguous() and not tiny.features[3].weight.is_contiguous()
    assert not plain.training and not any(parameter.requires_grad for parameter in plain.parameters())
    assert tiny.training and all(parameter.requires_grad for parameter in tiny.parameters())
    torch.testing.assert_close(weight, tiny.features[3].weight, rtol=0, atol=0)


def test_models_are_the_same_each_time_and_the_bundle_keeps_its_settings() -> None:
    one = load_case(TINY, 32, "cpu")
    torch.rand(1)
    other = load_case(TINY, 32, "cpu")
    assert torch.equal(one.network(one.image[None]), other.network(other.image[None]))
    assert one.image.shape == (1, 32, 32) and one.inferer.recipe.top_k == 2
    shipped = load_case(CHEST, 64, "cpu")
    assert (shipped.target, shipped.inferer.recipe.top_k, shipped.inferer.recipe.sigma) == (
        1,
        38,
        float(np.float32(0.1)),
    )
    assert shipped.image.shape == (1, 64, 64)


class FakeSmoothGrad:
    """Notes what the contender asks of zennit."""

    calls: list[dict]

    def __init__(self, model, *, noise_level, n_iter, attr_output) -> None:
        self.noise_level, self.n_iter, self.attr_output = noise_level, n_iter, attr_output

    def __call__(self, inputs):
        weights = self.attr_output(torch.zeros(len(inputs), 3)).tolist()
        self.calls.append({"rows": len(inputs), "n_iter": self.n_iter, "noise": self.noise_level, "weights": weights})
        return None, inputs


def test_zennit_is_asked_for_m_copies_of_our_noise(case, monkeypatch) -> None:
    FakeSmoothGrad.calls = []
    monkeypatch.setattr(contenders, "zennit_attribution", lambda: SimpleNamespace(SmoothGrad=FakeSmoothGrad))
    with CONTENDERS["zennit"](case, 10, 4) as run:
        run()
    calls = FakeSmoothGrad.calls
    assert [(call["rows"], call["n_iter"]) for call in calls] == [(4, 2), (2, 1)]
    span = float(case.image.max() - case.image.min())
    assert calls[0]["noise"] * span == pytest.approx(0.2)
    assert calls[0]["weights"] == [[0, 0, 1]] * 4


def test_zennit_is_loaded_without_its_package_and_left_out_with_a_reason(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    assert "not installed" in peers.left_out()["zennit"]
    (tmp_path / "zennit").mkdir()
    (tmp_path / "zennit" / "__init__.py").write_text("import torchvision\n")
    (tmp_path / "zennit" / "attribution.py").write_text("SmoothGrad = 'loaded'\n")
    monkeypatch.setattr("sys.path_importer_cache", {})
    assert peers.zennit_attribution().SmoothGrad == "loaded" and peers.left_out() == {}


@pytest.fixture
def clock(monkeypatch):
    """A time that only fake contenders move."""
    clock = SimpleNamespace(now=0.0, turns=[])
    monkeypatch.setattr(measure.time, "perf_counter", lambda: clock.now)
    # Three cores are busy.
    monkeypatch.setattr(measure.time, "process_time", lambda: 3 * clock.now)
    return clock


def fake(clock, name, durations):
    """A contender that takes these seconds, one after the other."""
    left = iter(durations)

    @contextmanager
    def contender(case, n_samples, batch_size):
        clock.now += 1000

        def run() -> None:
            clock.turns.append((name, n_samples, batch_size))
            clock.now += next(left)

        yield run
        clock.now += 1000

    return contender


def test_medians_are_of_the_turns_after_the_warm_up(case, clock, monkeypatch) -> None:
    monkeypatch.setitem(CONTENDERS, "a", fake(clock, "a", [500, 3, 1, 8]))
    monkeypatch.setitem(CONTENDERS, "b", fake(clock, "b", [700, 10, 40, 20]))
    found = take_turns(case, [("a", 4), ("b", None)], n_samples=60, repeats=3)
    assert [each["seconds"] for each in found] == [[3, 1, 8], [10, 40, 20]]
    assert [(each["median_s"], each["samples_per_s"]) for each in found] == [(3, 20), (20, 3)]
    assert [each["cpu_seconds"] for each in found] == [[9, 3, 24], [30, 120, 60]]
    assert [each["samples_per_cpu_s"] for each in found] == [20 / 3, 1]
    assert [(each["contender"], each["batch"], each["n_samples"]) for each in found] == [("a", 4, 60), ("b", None, 60)]
    # Two batches each before the first turn; then the order is shuffled.
    assert clock.turns[:2] == [("a", 8, 4), ("b", 60, None)]
    assert "".join(name for name, _, _ in clock.turns[2:]) == "baabab"
    assert all(n_samples == 60 for _, n_samples, _ in clock.turns[2:])


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError(), RuntimeError("FIND was unable to find an engine to execute this computation")],
)
def test_who_finds_no_memory_is_left_out_and_the_others_go_on(case, clock, monkeypatch, error) -> None:
    @contextmanager
    def hungry(case, n_samples, batch_size):
        raise error
        yield

    monkeypatch.setitem(CONTENDERS, "a", hungry)
    monkeypatch.setitem(CONTENDERS, "b", fake(clock, "b", [1, 2]))
    first, second = take_turns(case, [("a", 4), ("b", 4)], n_samples=8, repeats=1)
    assert first["left_out"] == "out of memory" and second["samples_per_s"] == 4
    rows = [{"part": "grid", "model": "m", **each} for each in (first, second)]
    assert best_row(rows, "m", "b")["batch"] == 4
    with pytest.raises(ValueError, match="left out at every batch size"):
        best_row(rows, "m", "a")


def test_a_model_is_timed_at_everything_that_its_plan_names(clock, monkeypatch) -> None:
    speeds = {"bare": 1, "bare_as_given": 4, "ours": 2, "captum": 3}

    def contender_of(name):
        @contextmanager
        def contender(case, n_samples, batch_size):
            def run() -> None:
                # A batch of 8 is best for all.
                clock.now += n_samples * speeds[name] * (1 if batch_size == 8 else 2)

            yield run

        return contender

    for name in speeds:
        monkeypatch.setitem(CONTENDERS, name, contender_of(name))
    model = ModelPlan(
        key=TINY, side=32, batches=(4, 8), n_samples=16, series=(32,), one_batch=(64,), automatic=128, long=256
    )
    rows = measure.time_model(model, PLAN, list(speeds), "cpu")
    found = [(each["part"], each["contender"], each["batch"], each["n_samples"]) for each in rows]
    assert found == [
        *(("grid", name, batch, 16) for batch in (4, 8) for name in speeds),
        *(("series", name, 8, 32) for name in ("bare", "ours", "captum")),
        ("one batch", "ours", 8, 64),
        ("one batch", "captum", None, 64),
        ("automatic", "ours", 8, 128),
        ("automatic", "ours", None, 128),
        ("long", "ours", 8, 256),
    ]
    assert [len(each["seconds"]) for each in rows] == [3] * 8 + [2] * 8
    assert best_row(rows, TINY, "ours")["samples_per_s"] == 0.5
    assert ratios(rows)[TINY]["captum"] == 1.5


def rates_of(model=CHEST, *, bare=100.0, given=60.0, ours=97.0, captum=70.0, default=30.0):
    """Timings with a slower batch beside each best one."""
    speed = {"bare": bare, "bare_as_given": given, "ours": ours, "captum": captum}
    rows = [row("grid", model, name, 8, rate) for name, rate in speed.items()]
    rows += [row("grid", model, name, 16, rate / 2) for name, rate in speed.items()]
    rows += [row("one batch", model, "ours", 8, 90.0, 64), row("one batch", model, "captum", None, default, 64)]
    return rows


def test_ratios_are_of_the_best_batches() -> None:
    found = ratios(rates_of())[CHEST]
    assert found["captum"] == pytest.approx(97 / 70) and found["bare"] == pytest.approx(0.97)
    assert found["bare_as_given"] == pytest.approx(97 / 60) and found[BEST_BARE] == found["bare"]
    assert found[one_batch(64)] == pytest.approx(90 / 30) and "ours" not in found
    assert ratios(rates_of(bare=50.0))[CHEST][BEST_BARE] == pytest.approx(97 / 60)


def text_of(runs) -> str:
    """The page."""
    return "\n\n".join("\n".join(lines) for lines in page.sections(runs) if lines) + "\n"


def verdicts(results) -> list[bool]:
    return [goal.met for goal in goals(results)]


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [
        ({}, [True, True, True]),
        ({"captum": 75.0}, [False, True, True]),
        ({"default": 36.1}, [True, False, True]),
        ({"default": 36.0}, [True, True, True]),
        ({"ours": 94.9}, [True, True, False]),
        ({"ours": 95.0}, [True, True, True]),
        ({"given": 103.0}, [True, True, False]),
    ],
)
def test_goals_of_a_cpu_are_met_or_not(changed, wanted) -> None:
    results = results_of(rates_of(**changed))
    assert verdicts(results) == wanted
    text = text_of([results])
    assert text.count(": **met**.") == sum(wanted) and text.count(": **not met**.") == len(wanted) - sum(wanted)
    lines = [line for line in text.splitlines() if "**met**" in line or "**not met**" in line]
    assert [" **met**" in line for line in lines] == wanted
    assert [word in line for word, line in zip(("1.3 times Captum", "default", "best bare loop"), lines)] == [True] * 3


def test_cpu_time_stands_beside_the_clock_and_judges_nothing() -> None:
    rates = rates_of(captum=75.0)
    for each in rates:
        each["samples_per_cpu_s"] = each["samples_per_s"] * (1 if each["contender"] == "ours" else 0.5)
    results = results_of(rates, stolen_share=0.13)
    assert verdicts(results) == [False, True, True]
    text = text_of([results])
    assert "not met**. 1.29 times. In CPU time 2.58 times." in text and "| 1.29 | 2.58 |" in text
    assert "13% of the cores' time" in " ".join(text.split())


def test_each_measure_has_a_best_batch_of_its_own() -> None:
    rates = [
        *(
            row("grid", CHEST, name, 16, rate)
            for name, rate in (("bare", 50.0), ("bare_as_given", 40.0), ("ours", 60.0))
        ),
        row("grid", CHEST, "ours", 32, 50.0, samples_per_cpu_s=45.0),
    ]
    assert ratios(rates)[CHEST]["bare"] == pytest.approx(60 / 50)
    assert ratios(rates, per="samples_per_cpu_s")[CHEST]["bare"] == pytest.approx(45 / 25)


def long_run(seconds: float):
    return row("long", DENSENET, "ours", 128, 10_000 / seconds, 10_000)


@pytest.mark.parametrize(
    ("captum", "seconds", "gpu", "wanted"),
    [
        (24.0, 3.0, "NVIDIA H200", [True, True, True]),
        (24.5, 3.0, "NVIDIA H200", [True, False, True]),
        (24.0, 3.001, "NVIDIA H200", [True, True, False]),
        # Another GPU does not judge the goal for an H200.
        (24.0, 3.0, "another", [True, True]),
    ],
)
def test_goals_of_a_gpu_are_met_or_not(captum, seconds, gpu, wanted) -> None:
    rates = [*rates_of(DENSENET, captum=captum), long_run(seconds)]
    machine = {"device": "cuda", "gpu": gpu, "cuda": "13", "cudnn": 9, "convolutions": "ieee"}
    results = results_of(rates, **machine)
    assert verdicts(results) == wanted
    text = text_of([results])
    assert "products ieee" in text and f"| **ours** | 10,000 | {seconds:.2f} |" in text


def added(part: str, model: str, mb: float, **more):
    place = {"part": part, "model": model, "side": 128, "contender": "ours", "batch": 16, "n_samples": 64}
    return place | {"before_mb": 400.0, "peak_mb": 400 + mb, "added_mb": mb} | more


@pytest.mark.parametrize(("last", "large", "wanted"), [(21.0, 440.0, [True] * 2), (21.1, 440.1, [False] * 2)])
def test_goals_of_memory_are_met_or_not(last, large, wanted) -> None:
    rows = [
        added("samples", TINY, 20.0, n_samples=64),
        added("samples", TINY, last, n_samples=1024),
        added("samples", TINY, 20.0, n_samples=65536),
        added("pixels", CHEST, 25.0, side=64),
        added("pixels", CHEST, large, side=256),
    ]
    results = results_of(rates_of(), rows)
    assert verdicts(results)[-2:] == wanted
    text = text_of([results])
    assert "| three convolutions of 16 channels, 128 px | 16 | 65,536 | 20 |" in text
    assert f"| 64 x 64 | 16 | 25 | {25e6 / 64**2 / 16:.0f} |" in text


def test_text_is_rounded_against_us() -> None:
    assert "1.29 times" in text_of([results_of(rates_of(captum=97 / 1.2999))])


def test_a_page_says_what_was_left_out_and_marks_a_quick_run(monkeypatch, tmp_path) -> None:
    results = results_of(rates_of(), [{"part": "none", "left_out": "no /proc"}])
    results["rates"].append({**row("grid", CHEST, "bare", 32, 1.0)})
    del results["rates"][-1]["samples_per_s"]
    results["settings"]["name"] = "quick"
    results["dicom"] = {
        "n_samples": 384,
        "source_shape": [20, 30],
        "stages": {"read": [1.0, 3.0, 2.0], "votes": [6.0, 5.0, 7.0]},
    }
    results["ledger"] = [{"side": 8000, "seconds": 47.0, "cpu_s": 94.0}]
    notes = tmp_path / "notes.md"
    notes.write_text("## What the rest is\n\nWords.\n")
    monkeypatch.setattr(page, "NOTES", notes)
    text = text_of([json.loads(json.dumps(results))] * 2)
    assert text.count("## CPU: a processor") == 2 and text.endswith("## What the rest is\n\nWords.\n")
    assert "Left out: zennit (ImportError: not there)." in " ".join(text.split()) and "**A quick run" in text
    assert "| 8,000 x 8,000 | 47.00 | 94.00 |" in text
    assert "| read | 2.000 | 25.0% |" in text and "settings: 8.00 s." in " ".join(text.split())
    ours = next(line for line in text.splitlines() if line.startswith("| **ours** | 8 |"))
    assert ours == "| **ours** | 8 | 97.0 | 97.0, 97.0 | 1.00 | 1.00 | - | 97.0 | 48.5 | - |"


def test_the_page_is_of_all_runs_that_are_named_and_of_nothing_measured_now(tmp_path, monkeypatch) -> None:
    for folder, processor in (("one", "first"), ("other", "second")):
        (tmp_path / folder).mkdir()
        results = results_of(rates_of(), processor=processor)
        command.store(results, tmp_path / folder)
    monkeypatch.setattr(command, "PAGE", tmp_path / "performance.md")
    command.main(SimpleNamespace(output=tmp_path / "one", page=[tmp_path / "other" / "bench.json"]))
    text = (tmp_path / "performance.md").read_text()
    assert text.index("## CPU: first") < text.index("## CPU: second")


def test_tf32_and_bfloat16_are_of_the_gpu() -> None:
    shared = ["bare", "bare_as_given", "ours", "captum", "captum_in_our_state"]
    assert command.names_on("cpu", {"zennit": "why"}) == shared
    assert command.names_on("cpu", {}) == [*shared, "zennit"]
    assert command.names_on("cuda", {}) == [*shared, "zennit", "ours_tf32", "captum_tf32", "ours_bfloat16"]


def test_the_bare_passes_denoise_and_classify_every_copy(case) -> None:
    noisy: list[torch.Tensor] = []

    def denoise(copies: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        noisy.append(copies)
        return copies.clamp(0, 1)

    network = type("Clamp", (torch.nn.Module,), {"forward": lambda _, *args: denoise(*args)})()
    recipe = dataclasses.replace(case.inferer.recipe, denoiser=Denoiser(network, name="clamp"))
    denoised = dataclasses.replace(case, inferer=SimpleNamespace(recipe=recipe))
    with contenders.passes(denoised, 10, 4) as run:
        logits = run()
    assert [len(copies) for copies in noisy] == [4, 4, 2]
    assert not logits.requires_grad
    torch.testing.assert_close(logits, case.network(noisy[-1].clamp(0, 1)))


def test_the_default_bundle_is_judged_by_its_bare_passes_and_by_copies_a_second() -> None:
    rows = [row("grid", DEFAULT, name, 8, rate) for name, rate in (("passes", 160.0), ("ours", 154.0))]
    results = results_of(rates_of()) | {"denoised": rows}
    names = {goal.name: goal.met for goal in goals(results)}
    assert names["`chest_xray_evidence`: at least 0.95 times the bare passes"]
    assert names["`chest_xray_evidence`: denoise and interpret 150 copies/s on 2 cores"]
    slower = [rows[0], row("grid", DEFAULT, "ours", 8, 149.0)]
    names = {goal.name: goal.met for goal in goals(results | {"denoised": slower})}
    assert not names["`chest_xray_evidence`: at least 0.95 times the bare passes"]
    assert not names["`chest_xray_evidence`: denoise and interpret 150 copies/s on 2 cores"]
    text = "\n".join(line for part in page.sections([results]) for line in part)
    assert "| **ours** | 8 | 154.0 | 154.0 |" in text


PLAN = Plan(
    name="quick",
    models=(ModelPlan(key=CHEST, side=128, batches=(8, 16), n_samples=100, one_batch=(64,)),),
    denoised=ModelPlan(key=DEFAULT, side=128, batches=(8,), n_samples=16),
    repeats=3,
    few_repeats=2,
    memory_samples=(32,),
    tiny_samples=(64,),
    sides=(64,),
    memory_batch=16,
)


def test_memory_is_taken_at_the_best_batches_and_along_m_and_pixels() -> None:
    found = list(memory.cases(PLAN, rates_of(), ["ours", "captum"]))
    assert [tuple(case.values()) for case in found] == [
        ("best batch", CHEST, 128, "ours", 8, 100),
        ("best batch", CHEST, 128, "captum", 8, 100),
        ("one batch", CHEST, 128, "captum", None, 64),
        ("samples", CHEST, 128, "ours", 16, 32),
        ("samples", TINY, 32, "ours", 64, 64),
        ("pixels", CHEST, 64, "ours", 16, 32),
    ]


def test_memory_of_few_contenders_is_enough_for_a_look() -> None:
    few = dataclasses.replace(PLAN, memory_names=("captum",))
    found = [case["contender"] for case in memory.cases(few, rates_of(), ["ours", "captum"])]
    assert found == ["captum", "captum", "ours", "ours", "ours"]


def test_the_added_memory_is_that_of_the_run_and_not_of_the_warm_up(case, monkeypatch) -> None:
    @contextmanager
    def hungry(case, n_samples, batch_size):
        # The warm-up of one batch takes more than the run.
        megabytes = {1: 150, 7: 60}[n_samples]
        yield lambda: bytearray(b"x") * (megabytes * 10**6)

    monkeypatch.setitem(CONTENDERS, "hungry", hungry)
    found = memory.added_memory(case, {"contender": "hungry", "batch": 1, "n_samples": 7})
    assert found["added_mb"] == pytest.approx(60, abs=15)
    assert found["peak_mb"] - found["before_mb"] == pytest.approx(found["added_mb"])


def test_a_child_that_fails_is_a_row_with_its_reason(monkeypatch) -> None:
    monkeypatch.setattr(memory.sys, "executable", "/bin/false")
    assert memory.in_child({"part": "samples"}) == {"left_out": "the process ended with code 1."}


@pytest.mark.parametrize("plan", [CPU, CUDA, QUICK], ids=lambda plan: plan.name)
def test_every_plan_can_be_run(plan) -> None:
    for model in (*plan.models, plan.denoised):
        assert max(model.batches) <= model.n_samples and model.side % 8 == 0
    assert all(side % 8 == 0 for side in plan.sides)


@pytest.mark.filterwarnings("ignore:Check the input")
def test_the_stages_of_a_dicom_file_leave_nothing_behind(tmp_path) -> None:
    source = make_dx(tmp_path / "source.dcm")
    folder = tmp_path / "results"
    folder.mkdir()
    found = stages.breakdown(source, CHEST, device="cpu", n_samples=4, repeats=1, folder=folder)
    assert list(found["stages"]) == [
        "read and preprocess",
        "ledger of changes",
        "noisy copies and votes",
        "certificate, map on the source grid, record",
        "overlay, secondary capture, files",
    ]
    assert all(len(seconds) == 1 and seconds[0] > 0 for seconds in found["stages"].values())
    assert found["n_samples"] == 4 and found["source_shape"] == [256, 224] and not list(folder.iterdir())


def test_the_ledger_of_films_is_timed_and_leaves_nothing_behind(tmp_path) -> None:
    found = stages.ledgers(CHEST, (128, 160), device="cpu", folder=tmp_path)
    assert [row["side"] for row in found] == [128, 160] and not list(tmp_path.iterdir())
    assert all(row["seconds"] > 0 and row["cpu_s"] > 0 for row in found)
