"""Checkpoints: bit-exact, verified, and never lost by a kill, a full disk or damage."""

import functools
import gc
import json
import logging
import resource
import shutil
import subprocess
import sys
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jaxrec.core import checkpoint
from jaxrec.core.checkpoint import (
    CheckpointDamagedError,
    Checkpoints,
    CheckpointSaveError,
)


class State(NamedTuple):
    step: jax.Array
    params: dict
    moments: tuple


def make_state(step, width=8):
    """A state in which every value depends on the step."""
    rng = np.random.default_rng(step)

    def array(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    params = {"table": array(12, width), "blocks": [{"decay": array(width)}]}
    return State(jnp.int32(step), params, ((array(12, width), None), array(width)))


def abstract(tree):
    return jax.eval_shape(lambda: tree)


def assert_same_bits(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.fixture
def checkpoints(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    yield checkpoints
    checkpoints.close()


def warnings_in(caplog):
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "absl" and record.levelno == logging.WARNING
    ]


def leaves_threads_behind(test):
    """When a save or a restore fails, Orbax drops its threads and event loops."""

    @functools.wraps(test)
    def collected(*args, **kwargs):
        test(*args, **kwargs)
        gc.collect()  # here, so that they are not reported in another test

    for warning in ("PytestUnhandledThreadException", "PytestUnraisableException"):
        mark = pytest.mark.filterwarnings(f"ignore::pytest.{warning}Warning")
        collected = mark(collected)
    return pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")(collected)


def test_restores_every_dtype_bit_for_bit(checkpoints):
    state = {
        "float32": jnp.asarray([0.0, -0.0, jnp.nan, jnp.inf, 1e-45], jnp.float32),
        "nan payload": jax.lax.bitcast_convert_type(
            jnp.asarray([0x7FC01234, 0xFFC00001], jnp.uint32), jnp.float32
        ),
        "bfloat16": jnp.ones((3, 5), jnp.bfloat16) * 1.7,
        "complex64": jnp.asarray([1 + 2j, complex(np.nan, -0.0)], jnp.complex64),
        "int32": jnp.arange(-3, 3),
        "uint8": jnp.arange(7, dtype=jnp.uint8),
        "bool": jnp.array([[True], [False]]),
        "scalar": jnp.float32(3.25),
        "empty": jnp.ones((0, 4)),
        "zeros": jnp.zeros((4, 4)),
        "numpy": np.arange(6, dtype=np.float32),
        "nothing": None,
        "tuple": (jnp.ones(1), [jnp.ones(2)]),
    }
    checkpoints.save_last(7, state, {"epoch": 2, "nan": float("nan"), "list": [1, "a"]})
    step, tree, progress = checkpoints.restore_last(abstract(state))
    assert step == 7
    assert_same_bits(tree, state)
    assert progress["epoch"] == 2 and progress["list"] == [1, "a"]
    assert progress["nan"] != progress["nan"]


def test_nothing_saved(checkpoints):
    assert checkpoints.restore_last(abstract(make_state(1))) is None
    with pytest.raises(FileNotFoundError, match="no best checkpoint in .*best"):
        checkpoints.restore_best(abstract(make_state(1).params))


def test_keeps_the_newest_two_and_takes_the_newest(checkpoints):
    for step in (5, 10, 100):
        checkpoints.save_last(step, make_state(step), {"at": step})
    assert checkpoints.last_steps() == [10, 100]
    step, tree, progress = checkpoints.restore_last(abstract(make_state(0)))
    assert (step, progress) == (100, {"at": 100})
    assert_same_bits(tree, make_state(100))


def test_best_and_last_are_apart(checkpoints, tmp_path, caplog):
    checkpoints.save_best(3, make_state(3).params, {"ndcg": 0.5})
    checkpoints.save_last(4, make_state(4), {})
    checkpoints.save_last(5, make_state(5), {})
    step, params, progress = checkpoints.restore_best(abstract(make_state(0).params))
    assert (step, progress) == (3, {"ndcg": 0.5})
    assert_same_bits(params, make_state(3).params)

    # A checkpoint copied to the other kind's place is not taken for one of them.
    root = tmp_path / "checkpoints"
    shutil.copytree(root / "best/3", root / "last/6")
    assert checkpoints.restore_last(abstract(make_state(0))).step == 5
    assert warnings_in(caplog) == [
        f"Checkpoint {root}/last/6 is damaged and passed over: ValueError: it is a "
        "'best' checkpoint of step 3, not 'last' of step 6"
    ]


def test_saving_a_step_again_replaces_it(checkpoints):
    checkpoints.save_last(1, make_state(1), {})
    checkpoints.save_last(2, make_state(2), {})
    checkpoints.save_last(2, make_state(9), {"again": True})
    assert checkpoints.last_steps() == [1, 2]
    _, tree, progress = checkpoints.restore_last(abstract(make_state(0)))
    assert progress == {"again": True}
    assert_same_bits(tree, make_state(9))


def test_an_abandoned_continuation_is_removed(checkpoints):
    checkpoints.save_last(80, make_state(80), {})
    checkpoints.save_best(60, make_state(60).params, {})
    checkpoints.save_best(100, make_state(100).params, {})
    checkpoints.save_last(100, make_state(100), {})
    checkpoints.rewind(80)
    assert checkpoints.last_steps() == [80]
    assert checkpoints.best_steps() == [60]
    checkpoints.save_last(200, make_state(200), {})
    checkpoints.save_last(90, make_state(90), {})  # without rewind: the same rule
    assert checkpoints.last_steps() == [80, 90]


def files_of(directory):
    return sorted(path for path in directory.rglob("*") if path.is_file())


@leaves_threads_behind
@pytest.mark.parametrize("damage", ["cut", "flip", "zero", "delete"])
def test_any_damaged_file_is_survived(checkpoints, tmp_path, caplog, damage):
    checkpoints.save_last(1, make_state(1), {"at": 1})
    checkpoints.save_last(2, make_state(2), {"at": 2})
    directory = tmp_path / "checkpoints" / "last" / "2"
    files = files_of(directory)
    assert len(files) > 10
    fell_back = []
    for file in files:
        content = file.read_bytes()
        middle = len(content) // 2
        if damage == "cut":
            file.write_bytes(content[:middle])
        elif damage == "flip":
            flipped = bytes([content[middle] ^ 0x55])
            file.write_bytes(content[:middle] + flipped + content[middle + 1 :])
        elif damage == "zero":
            file.write_bytes(bytes(len(content)))
        else:
            file.unlink()
        caplog.clear()
        step, tree, progress = checkpoints.restore_last(abstract(make_state(0)))
        assert_same_bits(tree, make_state(step))
        assert progress == {"at": step}
        assert step in (1, 2)
        if step == 1:
            fell_back.append(file)
            (warning,) = warnings_in(caplog)
            assert warning.startswith(
                f"Checkpoint {directory} is damaged and passed over: "
            )
        file.write_bytes(content)
    # Some files can be done without; not the record, nor the one with the values.
    assert directory / "record" / "metadata" in fell_back
    assert max(files, key=lambda file: file.stat().st_size) in fell_back


def test_values_that_vanish_silently_are_noticed(checkpoints, tmp_path, caplog):
    """Without its chunk TensorStore reads an array as zeros and reports no error."""
    import orbax.checkpoint as ocp

    checkpoints.save_last(1, {"a": jnp.ones(3), "b": jnp.ones(2)}, {})
    checkpoints.save_last(2, {"a": jnp.ones(3) * 2, "b": jnp.zeros(2)}, {})
    arrays = tmp_path / "checkpoints/last/2/arrays"
    shutil.rmtree(arrays)
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as other:
        other.save(
            arrays, args=ocp.args.PyTreeSave({"a": jnp.zeros(3), "b": jnp.zeros(2)})
        )
    restored = checkpoints.restore_last(abstract({"a": jnp.ones(3), "b": jnp.ones(2)}))
    assert restored.step == 1
    assert "array a is altered (checksum differs)" in warnings_in(caplog)[0]


def test_an_altered_record_is_noticed(checkpoints, tmp_path, caplog):
    for step in (1, 2):
        checkpoints.save_last(step, make_state(step), {"seen": 100 * step})
    record = tmp_path / "checkpoints" / "last" / "2" / "record" / "metadata"
    altered = record.read_text().replace('"seen": 200', '"seen": 300')
    assert altered != record.read_text()
    record.write_text(altered)
    restored = checkpoints.restore_last(abstract(make_state(0)))
    assert (restored.step, restored.progress) == (1, {"seen": 100})
    assert "its record is altered (CRC differs)" in warnings_in(caplog)[0]


def test_all_damaged_is_an_error(checkpoints, tmp_path):
    checkpoints.save_last(1, make_state(1), {})
    (tmp_path / "checkpoints/last/1/record/metadata").write_text("{")
    with pytest.raises(
        CheckpointDamagedError, match="no checkpoint in .*last can be read"
    ):
        checkpoints.restore_last(abstract(make_state(1)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda params: params | {"table": jnp.ones((12, 4))},
            r"params/table: the model has float32\[12, 4\], "
            r"the checkpoint float32\[12, 8\]",
        ),
        (
            lambda params: params | {"table": jnp.ones((12, 8), jnp.bfloat16)},
            r"params/table: the model has bfloat16\[12, 8\], the checkpoint float32",
        ),
        (
            lambda params: params | {"blocks": params["blocks"] * 2},
            r"params/blocks/1/decay: the model has float32\[8\], "
            "the checkpoint does not have it",
        ),
        (
            lambda params: {"table": params["table"]},
            r"params/blocks/0/decay: the checkpoint has float32\[8\], "
            "the model does not have it",
        ),
    ],
)
def test_another_architecture_is_refused(checkpoints, tmp_path, change, message):
    checkpoints.save_last(1, make_state(1), {})
    other = make_state(1)._replace(params=change(make_state(1).params))
    with pytest.raises(ValueError, match=message) as caught:
        checkpoints.restore_last(abstract(other))
    assert str(tmp_path) in str(caught.value)
    assert not isinstance(caught.value, CheckpointDamagedError)


def test_full_disk(checkpoints, tmp_path, monkeypatch, caplog):
    checkpoints.save_last(1, make_state(1), {})
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(
        CheckpointSaveError, match=r"last/2 was not saved: .*the file system has 100"
    ):
        checkpoints.save_last(2, make_state(2), {})
    assert "last/2 was not saved" in warnings_in(caplog)[0]
    monkeypatch.undo()
    assert_same_bits(
        checkpoints.restore_last(abstract(make_state(0))).tree, make_state(1)
    )
    checkpoints.save_last(2, make_state(2), {})
    assert checkpoints.last_steps() == [1, 2]


@leaves_threads_behind
@pytest.mark.parametrize("limit", [200, 1000, 30_000])
@pytest.mark.parametrize("step", [1, 2])
def test_a_write_that_fails(checkpoints, tmp_path, limit, step):
    """The system refuses bytes beyond `limit` in any file, as a full disk would."""
    wide = 1000
    checkpoints.save_last(1, make_state(1, wide), {})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(CheckpointSaveError, match=rf"last/{step} was not saved: "):
            checkpoints.save_last(step, make_state(2, wide), {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert checkpoints.last_steps() == [1]
    restored = checkpoints.restore_last(abstract(make_state(0, wide)))
    assert_same_bits(restored.tree, make_state(1, wide))
    # With room again the next save works, and removes what the failed one left.
    checkpoints.save_last(3, make_state(3, wide), {})
    directory = tmp_path / "checkpoints" / "last"
    assert sorted(entry.name for entry in directory.iterdir()) == ["1", "3"]


def test_what_a_killed_save_left_is_removed_by_the_next(checkpoints, tmp_path):
    checkpoints.save_last(1, make_state(1), {})
    root = tmp_path / "checkpoints" / "last"
    shutil.copytree(root / "1", root / "2.orbax-checkpoint-tmp")
    shutil.copytree(root / "1", root / "3.removed")
    assert checkpoints.last_steps() == [1]
    checkpoints.save_last(4, make_state(4), {})
    assert sorted(entry.name for entry in root.iterdir()) == ["1", "4"]


def test_progress_that_json_cannot_hold_is_refused_before_writing(
    checkpoints, tmp_path
):
    with pytest.raises(TypeError, match="not JSON serializable"):
        checkpoints.save_last(1, make_state(1), {"array": np.ones(2)})
    assert not (tmp_path / "checkpoints").exists()


def test_ambiguous_paths_are_refused(checkpoints):
    with pytest.raises(ValueError, match="ambiguous parameter path 'a/b'"):
        checkpoints.save_last(1, {"a/b": jnp.ones(1), "a": {"b": jnp.ones(1)}}, {})


@pytest.mark.parametrize("piece", [1 << 24, 1])
def test_other_shardings_and_the_checksum_is_the_same(
    checkpoints, tmp_path, monkeypatch, piece
):
    """A matrix split over eight devices comes back split the other way, or whole; also
    if each device that has a replica writes a piece of it."""
    monkeypatch.setattr(checkpoint, "_SLICE", piece)
    mesh = jax.make_mesh((2, 4), ("data", "model"))
    matrix = np.random.default_rng(0).normal(size=(8, 12)).astype(np.float32)
    records = []
    for step, spec in enumerate([P(), P("data"), P("model", "data"), P(None, "model")]):
        sharded = jax.device_put(matrix, NamedSharding(mesh, spec))
        checkpoints.save_last(step, {"a": sharded}, {})
        path = tmp_path / "checkpoints" / "last" / str(step) / "record" / "metadata"
        records.append(json.loads(path.read_text())["arrays"])
        for wanted in (None, NamedSharding(mesh, P(("data", "model")))):
            shape = jax.ShapeDtypeStruct((8, 12), jnp.float32, sharding=wanted)
            restored = checkpoints.restore_last({"a": shape}).tree["a"]
            assert_same_bits(restored, matrix)
            assert wanted is None or restored.sharding == wanted
    assert records == [records[0]] * 4


def test_works_under_the_transfer_guard(checkpoints):
    state = make_state(1)
    with jax.transfer_guard("disallow_explicit"):
        checkpoints.save_last(1, state, {})
        restored = checkpoints.restore_last(abstract(state))
    assert_same_bits(restored.tree, state)


def test_a_second_run_in_the_directory_is_refused(checkpoints, tmp_path):
    checkpoints.rewind(0)
    other = f"""
from jaxrec.core.lock import DirectoryLock
from pathlib import Path
lock = DirectoryLock(Path({str(tmp_path / "checkpoints")!r}))
"""
    run = [sys.executable, "-c", other]
    refused = subprocess.run(run, capture_output=True, text=True)
    assert "another process is writing to" in refused.stderr
    Checkpoints(tmp_path).rewind(0)  # the same process may
    checkpoints.close()
    assert subprocess.run(run).returncode == 0


def test_a_reader_needs_no_lock_and_changes_nothing(checkpoints, tmp_path):
    checkpoints.save_best(1, {"a": jnp.ones(2)}, {})
    leftover = tmp_path / "checkpoints" / "best" / "2.orbax-checkpoint-tmp"
    leftover.mkdir()  # the running training is about to complete it
    reader = Checkpoints(tmp_path)
    assert reader.restore_best(abstract({"a": jnp.ones(2)})).step == 1
    reader.close()
    assert leftover.exists()


def test_keep_is_at_least_one(tmp_path):
    with pytest.raises(ValueError, match="keep must be at least 1, not 0"):
        Checkpoints(tmp_path, keep=0)


def test_a_5_mb_state_is_saved_in_time(checkpoints):
    state = {"a": jnp.asarray(np.random.default_rng(0).normal(size=(1250, 1000)))}
    assert state["a"].nbytes == 5_000_000
    checkpoints.save_last(1, state, {})
    seconds = []
    for step in range(2, 7):
        start = time.perf_counter()
        checkpoints.save_last(step, state, {})
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.3
