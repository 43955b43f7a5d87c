"""A classifier behind a real HTTP server: explained, certified, and refused where it cannot be."""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from monai_robustinterp import CertifiedSaliencyInferer, load_bundle
from monai_robustinterp.bundle import shipped_bundle
from monai_robustinterp.cli.main import main
from monai_robustinterp.files import file_sha256
from monai_robustinterp.interpreters import INTERPRETERS, RISE, explaining, without_gradient
from monai_robustinterp.networks import CallableClassifier
from monai_robustinterp.run import pipeline
from tests.support.bundles import OPACITY
from tests.support.cases import collected
from tests.support.interpreters import make

ROOT = Path(__file__).parents[2]
PAGE = "docs/how-to/any-classifier.md"
PNEUMONIA = ROOT / "sample_data" / "kermany_person1947_bacteria_4876.jpeg"
CPU = {"device": "$__import__('torch').device('cpu')"}


class Handler(BaseHTTPRequestHandler):
    """Scores of a batch that is posted as the bytes of an npy file."""

    server: ClassifierServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.mode == "hangs":
            self.server.released.wait(20)
        if self.server.mode != "works":
            self.send_error(500, "patient Doe^John not found")
            return
        batch = np.load(io.BytesIO(body))
        self.server.batches.append(batch.shape)
        with torch.no_grad():
            scores = self.server.network(torch.from_numpy(batch))
        scores = scores.softmax(dim=1) if self.path == "/softmax" else scores
        answer = io.BytesIO()
        if self.path == "/npy":
            np.save(answer, scores.numpy())
        else:
            answer.write(json.dumps(scores.tolist()).encode())
        self.send_response(200)
        self.end_headers()
        self.wfile.write(answer.getvalue())

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


class ClassifierServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.network: nn.Module | None = None
        self.mode, self.batches, self.released = "works", [], threading.Event()

    def handle_error(self, *_: object) -> None:
        """A client that gave up is part of the tests."""

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"


@pytest.fixture
def server() -> Iterator[ClassifierServer]:
    with ClassifierServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


def remote(
    server: ClassifierServer, path: str = "logits", *, timeout: float = 20, returns: str = "logits"
) -> nn.Module:
    def predict(batch: np.ndarray) -> Any:
        body = io.BytesIO()
        np.save(body, batch)
        request = urllib.request.Request(server.url(path), data=body.getvalue())
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            content = answer.read()
        return np.load(io.BytesIO(content)) if path == "npy" else json.loads(content)

    return CallableClassifier(predict, returns="softmax" if path == "softmax" else "logits")


class Square(nn.Module):
    """Finds brightness in rows 8 to 15 and columns 16 to 23."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        found = 20 * image[:, 0, 8:16, 16:24].mean(dim=(1, 2)) - 4
        return torch.stack([-found, found], dim=1)


@pytest.mark.parametrize("path", ["logits", "npy"])
def test_rise_of_a_server_is_rise_of_its_network(server, tiny, path) -> None:
    server.network = tiny
    copies = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    interpreter, network = RISE(40), remote(server, path)
    with explaining(network), explaining(tiny):
        found, expected = (interpreter.attribute(net, copies, 1) for net in (network, tiny))
    assert torch.equal(found.maps, expected.maps) and torch.equal(found.logits, expected.logits)
    assert max(rows for rows, *_ in server.batches) == 30 and sum(rows for rows, *_ in server.batches) == 41 * 3


@pytest.mark.parametrize("path", ["logits", "softmax"])
def test_a_server_is_certified_end_to_end(server, path) -> None:
    server.network = Square()
    image = torch.full((1, 32, 32), 0.4)
    image[:, ::2] = 0.5
    settings = {"sigma": 0.1, "n_samples": 24, "top_k": 1, "cell_size": 8, "beta": "1", "eta": 0.05}
    interpreter = RISE(60, grid=4, activation="softmax")
    inferer = CertifiedSaliencyInferer(interpreter=interpreter, class_names=("a", "b"), **settings)
    result = inferer.certify(image, remote(server, path))
    votes, certificate = result.votes, result.certificate
    record = result.record
    assert votes.counts[1, 2] == votes.found_copies == 24
    assert certificate.l_max > 0 and record["label"]["l2"] > 0 and record["label_and_map"]["l2"] > 0
    assert record["finding"]["name"] == "b" and record["finding"]["score"] > 0.9
    assert np.array_equal(inferer.vote(image, Square())[0].counts, votes.counts)


@pytest.mark.parametrize(("mode", "kind"), [("fails", "HTTPError"), ("hangs", "TimeoutError")])
def test_a_server_that_fails_gives_one_clear_error(server, image, mode, kind) -> None:
    server.network, server.mode = Square(), mode
    inferer = CertifiedSaliencyInferer(interpreter=RISE(20), n_samples=4, top_k=5, cell_size=4)
    network = remote(server, timeout=0.2)
    with pytest.raises(ValueError, match=rf"the classifier function failed with {kind}: see the exc") as failure:
        inferer.certify(image, network)
    assert "Doe" not in str(failure.value) and "127.0.0.1" not in str(failure.value)
    if mode == "fails":
        failure.value.__cause__.close()
    server.mode = "works"
    inferer.certify(image, network)


def test_a_server_that_stops_in_the_middle_gives_the_same_error(server, image) -> None:
    server.network = Square()
    seen: list[int] = []

    def progress(done: int) -> None:
        seen.append(done)
        server.mode = "fails"

    inferer = CertifiedSaliencyInferer(interpreter=RISE(20), n_samples=40, batch_size=8, top_k=5, cell_size=4)
    with pytest.raises(ValueError, match="failed with HTTPError") as failure:
        inferer.certify(image, remote(server), progress)
    failure.value.__cause__.close()
    assert seen == [8]


def test_the_others_refuse_it_before_any_vote(server, tiny, image) -> None:
    with collected() as case:
        for name in sorted(INTERPRETERS.keys() - set(without_gradient())):
            with case(name):
                server.network = tiny
                network = remote(server)
                with explaining(network), pytest.raises(ValueError) as refusal:
                    make(name, target_layer="features.3").attribute(network, image[None], 1)
                if not INTERPRETERS[name].needs_hooks:
                    assert "no gradient with respect to its input" in str(refusal.value)
                if "target_layer" not in str(refusal.value):
                    assert str(without_gradient()) in str(refusal.value)


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / PAGE).read_text(), flags=re.DOTALL)


def test_the_page_runs(server, monkeypatch, capsys) -> None:
    server.network = load_bundle(OPACITY, overrides=CPU).network
    monkeypatch.chdir(ROOT)
    (code,) = blocks("python")
    few = {
        "http://127.0.0.1:8000/predict": server.url("softmax"),
        '"image.dcm"': '"sample_data/kermany_person1951_bacteria_4882_dx.dcm"',
        "n_masks=200": "n_masks=20",
        "n_samples=384": "n_samples=4",
    }
    for old, new in few.items():
        assert code.count(old) == 1
        code = code.replace(old, new)
    exec(compile(code, PAGE, "exec"), {"__name__": "page"})
    assert sum(rows for rows, *_ in server.batches) == 1 + 2 + 4 * 21
    assert str(without_gradient()) in capsys.readouterr().out


@pytest.fixture
def bundle(server, tmp_path, monkeypatch) -> Path:
    """A bundle made as the page says, around the shipped network on the server."""
    server.network = load_bundle(OPACITY, overrides=CPU).network
    (code,) = blocks("python")
    module = code[: code.index("network = ")].replace("http://127.0.0.1:8000/predict", server.url("softmax"))
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "my_classifier.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path / "modules")
    monkeypatch.delitem(sys.modules, "my_classifier", raising=False)
    folder = tmp_path / "own"
    shutil.copytree(shipped_bundle(OPACITY) / "configs", folder / "configs")
    (folder / "models").mkdir()
    (folder / "models" / "classifier.json").write_text('{"server": "test", "version": 1}')
    (changes,) = blocks("json")
    config = folder / "configs" / "inference.json"
    few = {"n_samples": 4, "interpreter_settings": {"n_masks": 20}}
    config.write_text(json.dumps(json.loads(config.read_text()) | json.loads(changes) | few))
    return folder


def test_a_bundle_around_a_server_votes_as_the_bundle_of_its_network(bundle) -> None:
    found = pipeline.certify_image(PNEUMONIA, load_bundle(bundle, CPU))
    local = {"n_samples": 4, "interpreter_name": "rise", "interpreter_settings": {"n_masks": 20}}
    expected = pipeline.certify_image(PNEUMONIA, load_bundle(OPACITY, overrides=CPU | local))
    assert np.array_equal(found.votes.counts, expected.votes.counts)
    np.testing.assert_allclose(np.diff(found.votes.logits), np.diff(expected.votes.logits), rtol=1e-4)
    assert found.record["finding"]["score"] == pytest.approx(expected.record["finding"]["score"], rel=1e-6)
    settings = {"n_masks": 20, "grid": 7, "keep": 0.5, "activation": "softmax", "seed": 0}
    assert found.certificate.spec.interpreter_settings == settings
    assert found.record["provenance"]["weights_sha256"] == file_sha256(bundle / "models" / "classifier.json")


def test_an_image_whose_server_fails_is_refused_and_named_in_the_summary(server, bundle, tmp_path) -> None:
    server.mode = "fails"
    arguments = ["certify", str(PNEUMONIA), "--bundle", str(bundle), "--output", str(tmp_path / "out"), "--quiet"]
    assert main([*arguments, "--device", "cpu"]) == 1
    (entry,) = json.loads((tmp_path / "out" / "summary.json").read_text())["results"]
    assert entry["status"] == "refused" and "the classifier function failed with HTTPError" in entry["reason"]
    assert "Doe" not in (tmp_path / "out" / "summary.json").read_text()
