"""Checkpoints across processes: kills at any moment, many devices, several hosts."""

import json
import os
import socket
import subprocess
import sys

import pytest

from tests.xla_flags import flags

# Children are started by a fork server that has imported everything, so that one costs
# tenths of a second and many kills fit into a test.
KILLS = '''
import json, multiprocessing, os, random, signal, sys, time
from pathlib import Path

def state_at(step):
    import jax.numpy as jnp, numpy as np
    rng = np.random.default_rng(step)
    return {"step": jnp.int32(step), "table": jnp.asarray(rng.normal(size=(200, 30))),
            "blocks": [jnp.asarray(np.full(7, step, np.float32))]}

def train(workdir, done):
    """Resumes, then saves step after step for ever."""
    import jax
    from jaxrec.core.checkpoint import Checkpoints
    checkpoints = Checkpoints(workdir)
    restored = checkpoints.restore_last(jax.eval_shape(lambda: state_at(0)))
    step = restored.step if restored else 0
    checkpoints.rewind(step)
    done.send(("best", step - step % 2))  # a best of a later step was rewound
    while True:
        step += 1
        if step % 2 == 0:
            checkpoints.save_best(step, state_at(step), {"at": step})
            done.send(("best", step))
        checkpoints.save_last(step, state_at(step), {"at": step})
        done.send(("last", step))

def same(one, other):
    import jax, numpy as np
    return all(np.array_equal(a, b) for a, b in
               zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))

def main(workdir, kills, seed):
    import jax
    from absl import logging
    from jaxrec.core.checkpoint import Checkpoints
    warnings = []
    logging.warning = lambda *args: warnings.append(args[0] % args[1:])
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["orbax.checkpoint", "jaxrec.core.checkpoint"])
    checkpoints = Checkpoints(workdir)
    abstract = jax.eval_shape(lambda: state_at(0))
    draw = random.Random(seed)
    complete = {"last": 0, "best": 0}
    for kill in range(kills):
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=train, args=(workdir, sender))
        child.start()
        sender.close()
        while receiver.poll(60):  # until a first step is saved
            kind, step = receiver.recv()
            complete[kind] = step
            if kind == "last":
                break
        time.sleep(draw.uniform(0, 0.2))
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        try:
            while receiver.poll():
                kind, step = receiver.recv()
                complete[kind] = step
        except EOFError:
            pass
        found = {"last": checkpoints.restore_last(abstract)}
        if complete["best"]:
            found["best"] = checkpoints.restore_best(abstract)
        for kind, restored in found.items():
            if not complete[kind] and not restored:
                continue
            step = restored.step
            assert complete[kind] <= step <= complete[kind] + 2, (kind, complete, step)
            assert restored.progress == {"at": step}, (kind, restored.progress)
            assert same(restored.tree, state_at(step)), (kind, step)
        files = [entry.name for entry in Path(workdir).glob("checkpoints/*/*")]
        print(json.dumps({"complete": complete, "files": files}), flush=True)
    assert not warnings, warnings

if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
'''

SHARDED = """
import json, sys
from pathlib import Path
import jax, jax.numpy as jnp, numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec as P

workdir, count, index, port = sys.argv[1:]
if int(count) > 1:
    jax.distributed.initialize(f"localhost:{port}", int(count), int(index))
from jaxrec.core.checkpoint import Checkpoints

mesh = jax.sharding.Mesh(np.array(jax.devices()).reshape(2, -1), ("data", "model"))
specs = {"rows": P("data"), "columns": P(None, "model"), "both": P("model", "data"),
         "copies": P()}
turned = dict(zip(specs, reversed(specs.values())))
whole = {name: np.random.default_rng(seed).normal(size=(64, 48)).astype(np.float32)
         for seed, name in enumerate(specs)}
def save(checkpoints, step, specs):
    def make(name, spec):
        return jax.make_array_from_callback(
            (64, 48), NamedSharding(mesh, spec), lambda at: step * whole[name][at])
    state = {name: make(name, spec) for name, spec in specs.items()}
    checkpoints.save_last(step, state, {"at": step})

def restore(checkpoints, specs):
    shardings = {name: NamedSharding(mesh, spec) for name, spec in specs.items()}
    wanted = {name: jax.ShapeDtypeStruct((64, 48), jnp.float32, sharding=sharding)
              for name, sharding in shardings.items()}
    step, tree, progress = checkpoints.restore_last(wanted)
    for name, array in tree.items():
        assert array.sharding == shardings[name], name
        for shard in array.addressable_shards:
            np.testing.assert_array_equal(shard.data, step * whole[name][shard.index])
    assert progress == {"at": step}
    return step

checkpoints = Checkpoints(workdir)
found = []
if int(count) > 1:
    for step in (1, 2, 3):
        save(checkpoints, step, specs)
    found = [checkpoints.last_steps(), restore(checkpoints, specs)]
    # An array of which each process reads a half of its own; one half is broken.
    halves = Checkpoints(workdir + "/halves")
    for step in (1, 2):
        save(halves, step, {"rows": specs["rows"]})
    if jax.process_index() == 0:
        arrays = Path(workdir, "halves", "checkpoints", "last", "2", "arrays")
        for file in (arrays / "ocdbt.process_1").rglob("d/*"):
            file.write_bytes(b"")
    multihost_utils.sync_global_devices("broken")
    step = restore(halves, {"rows": specs["rows"]})
    halves.rewind(step)
    found += [step, halves.last_steps()]
found.append(restore(checkpoints, turned))
print("RESULT", json.dumps(found), flush=True)
checkpoints.close()
"""


def start(script, *arguments, devices=1):
    """Starts a script in a new process with that many devices."""
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": flags(devices),
    }
    return subprocess.Popen(
        [sys.executable, script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def result(process):
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors[-3000:]
    (line,) = [line for line in output.splitlines() if line.startswith("RESULT ")]
    return json.loads(line.removeprefix("RESULT ")), errors


def run_sharded(tmp_path, *, processes, devices):
    """Runs SHARDED on that many processes and returns what each found."""
    script = tmp_path / "sharded.py"
    script.write_text(SHARDED)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    running = [
        start(script, tmp_path / "run", processes, index, port, devices=devices)
        for index in range(processes)
    ]
    return [result(process) for process in running]


@pytest.mark.parametrize("kills", [8, pytest.param(100, marks=pytest.mark.slow)])
def test_kill_at_any_moment(tmp_path, kills):
    script = tmp_path / "kills.py"
    script.write_text(KILLS)
    process = start(script, tmp_path / "run", kills, 3)
    output, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors[-3000:]
    seen = [json.loads(line) for line in output.splitlines()]
    assert len(seen) == kills
    assert seen[-1]["complete"]["last"] >= kills  # runs went on from where they were
    # The test is worth something only if some kills came in the middle of a save.
    assert any(name.endswith("tmp") for found in seen for name in found["files"])


def test_two_processes(tmp_path):
    """Two processes save together, and agree on what to restore."""
    found = run_sharded(tmp_path, processes=2, devices=4)
    # Newest two kept and the newest restored; of the halves both take the first step,
    # although one process could read the second; other shardings find the same.
    assert [values for values, _ in found] == [[[2, 3], 3, 1, [1], 3]] * 2
    assert "last/2 is damaged and passed over: process 1 failed" in found[0][1]
    assert "last/2 is damaged and passed over: ValueError: OUT_OF_RANGE" in found[1][1]
    # One process with another number of devices reads what two have written.
    assert run_sharded(tmp_path, processes=1, devices=2)[0][0] == [3]
