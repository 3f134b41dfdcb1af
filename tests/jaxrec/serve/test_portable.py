"""The portable file: the same answers, without the code of the model."""

import dataclasses
import json
import subprocess
import sys
import zipfile

import jax
import numpy as np
import pytest

import jaxrec
from jaxrec.core import export
from jaxrec.models import lru
from jaxrec.serve import portable
from jaxrec.serve.recommender import Recommender

HISTORIES = [[], ["i1"], ["i3", "x", "i4"], [f"i{n}" for n in range(1, 30)]]


@pytest.fixture(scope="module")
def file(shared, tmp_path_factory):
    path = tmp_path_factory.mktemp("portable") / "model.jaxrec"
    shared.export(path)
    return path


@pytest.fixture(scope="module")
def read(file):
    return jaxrec.load_portable(file)


def test_same_answers(rec, read):
    for k, exclude in ((5, True), (40, False)):
        assert read.recommend(HISTORIES, k, exclude) == rec.recommend(
            HISTORIES, k, exclude
        )


def test_same_answers_one_event_at_a_time(rec, read):
    state, other = rec.start(), read.start()
    for item in HISTORIES[3][:6]:
        state, answers = rec.observe_and_top(state, item, k=5)
        other, others = read.observe_and_top(other, item, k=5)
        assert others[0].ids == answers[0].ids
        np.testing.assert_allclose(others[0].scores, answers[0].scores, rtol=1e-5)
    state = read.prefill(HISTORIES)
    _, answers = read.observe_and_top(state, ["i9", "i8"], k=5, slots=[3, 0])
    expected = rec.recommend([[*HISTORIES[3], "i9"], ["i8"]], k=5)
    assert [a.ids for a in answers] == [a.ids for a in expected]


def test_with_a_ring(file):
    read = jaxrec.load_portable(file, seen_capacity=2)
    (answer,) = read.recommend([["i1", "i2", "i3"]], k=40)
    assert len(answer) == 40 - 2


def test_in_a_process_without_models(rec, file):
    code = """
import sys
sys.modules["jaxrec.models"] = None  # importing it now raises ImportError
import json, jaxrec
answers = jaxrec.load_portable(sys.argv[1]).recommend(json.loads(sys.argv[2]), k=5)
print(json.dumps([[a.ids, a.scores, a.titles] for a in answers]))
"""
    command = [sys.executable, "-c", code, str(file), json.dumps(HISTORIES)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for found, wanted in zip(
        json.loads(done.stdout), rec.recommend(HISTORIES, k=5), strict=True
    ):
        assert found[0] == list(wanted.ids)
        np.testing.assert_allclose(found[1], wanted.scores, rtol=1e-5)
        assert found[2] == list(wanted.titles)


def test_encode_gives_the_outputs_of_the_model(run, file):
    _, cfg, params = run
    read = export.load(file)
    folded = export.nested(read.arrays, "params")
    ids = np.array([[0, 0, 3, 4], [1, 2, 3, 9], [0, 1, 1, 1]], np.int32)
    hidden = read.functions["encode_4"](folded, ids)
    expected = jax.jit(lru.encode, static_argnums=1)(params, cfg, ids)
    np.testing.assert_allclose(hidden, expected, rtol=1e-5, atol=1e-5)
    last = read.functions["prefill_4"](folded, ids)[1]
    np.testing.assert_allclose(last, expected[:, -1], rtol=1e-5, atol=1e-5)


def test_every_platform_has_every_function(file):
    named = {
        *("start", "step", "extend"),
        *(f"{kind}_{t}" for kind in ("prefill", "encode") for t in (4, 8)),
        *(f"top_{k}{form}" for k in (10, 40) for form in ("", "_seen", "_exclude")),
    }
    for platform in ("cpu", "cuda", "tpu"):
        assert set(export.load(file, platform).functions) == named


def test_forms_fit_the_platform(file):
    """A loop over time on CPUs and a parallel scan elsewhere, and no kernels."""
    with zipfile.ZipFile(file) as archive:
        entries = json.loads(archive.read("manifest.json"))["programs"]
        modules = {
            tuple(entry["platforms"]): jax.export.deserialize(
                bytearray(archive.read(entry["file"]))
            ).mlir_module()
            for entry in entries
            if entry["name"] == "prefill_8"
        }
    assert set(modules) == {("cpu",), ("cuda", "tpu")}
    assert "stablehlo.while" in modules["cpu",]
    assert "stablehlo.while" not in modules["cuda", "tpu"]
    for module in modules.values():
        assert "mosaic" not in module
        assert "triton" not in module


def test_many_users_of_a_large_catalogue_are_searched_in_parts(file, rec, monkeypatch):
    monkeypatch.setattr(portable, "_SCORES", 3 * 40)  # three users at a time
    read = jaxrec.load_portable(file)
    histories = [[f"i{n}"] for n in range(1, 8)]
    assert [a.ids for a in read.recommend(histories, k=5)] == [
        a.ids for a in rec.recommend(histories, k=5)
    ]


def test_it_is_exported_once_only(read, tmp_path):
    with pytest.raises(ValueError, match="was read from a portable file: copy that"):
        read.export(tmp_path / "again")
    assert not list(tmp_path.iterdir())


def test_answers_larger_than_the_file_has(read):
    backbone = dataclasses.replace(read._engine.backbone, ks=(10,))
    smaller = Recommender(backbone, read.ids)
    with pytest.raises(ValueError, match="k must be at most 10 in this file, got 11"):
        smaller.recommend([[]], k=11)


def test_impossible_platform(shared, tmp_path):
    engine = shared._engine
    with pytest.raises(
        ValueError, match="unknown platform 'gpu'; known: cpu, cuda, tpu"
    ):
        portable.save(tmp_path / "x", engine.backbone, shared.ids, ["gpu"])
