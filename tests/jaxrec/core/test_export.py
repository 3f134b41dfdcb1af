"""Portable files: what goes in comes out, for a platform, or an error says why not."""

import json
import subprocess
import sys
import zipfile

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.core import export
from jaxrec.core.export import Program

WEIGHTS = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)


def linear(params, x):
    return {"y": x @ params["layer"]["w"]}


def program(name="linear", platforms=export.PLATFORMS):
    (users,) = jax.export.symbolic_shape("b")
    params = {"layer": {"w": jax.ShapeDtypeStruct((2, 2), jnp.float32)}}
    x = jax.ShapeDtypeStruct((users, 2), jnp.float32)
    return Program(name, linear, (params, x), platforms)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "new" / "linear.jaxrec"
    arrays = export.flat({"layer": {"w": WEIGHTS}}, "params") | {
        "names": np.array(["", "ä"])
    }
    export.save(path, [program()], arrays, {"sizes": [1, 2]})
    return path


def test_round_trip(file):
    read = export.load(file)
    assert read.manifest == {"sizes": [1, 2]}
    assert read.arrays["names"].tolist() == ["", "ä"]
    params = export.nested(read.arrays, "params")
    np.testing.assert_array_equal(params["layer"]["w"], WEIGHTS)
    for users in (1, 3):  # symbolic
        x = np.ones((users, 2), np.float32)
        expected = [[1 + 3, 2 + 4]] * users
        np.testing.assert_array_equal(
            read.functions["linear"](params, x)["y"], expected
        )
    assert [p.name for p in file.parent.iterdir()] == [file.name]  # nothing partial


@pytest.mark.parametrize("platform", export.PLATFORMS)
def test_every_platform_has_the_program(file, platform):
    assert list(export.load(file, platform).functions) == ["linear"]


def test_the_file_needs_only_jax(file):
    """Read as the manifest says, in a process that cannot import jaxrec."""
    code = """
import sys; sys.modules["jaxrec"] = None
import io, json, sys, zipfile, jax, jax.export, numpy as np
with zipfile.ZipFile(sys.argv[1]) as z:
    entry = json.loads(z.read("manifest.json"))["programs"][0]
    f = jax.export.deserialize(bytearray(z.read(entry["file"])))
    w = np.load(io.BytesIO(z.read("arrays/params/layer/w.npy")))
print(f.call({"layer": {"w": w}}, np.ones((1, 2), np.float32))["y"].tolist())
"""
    command = [sys.executable, "-c", code, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "[[4.0, 6.0]]\n"


def test_one_name_for_several_platforms(tmp_path):
    programs = [
        program(platforms=("cpu",)),
        Program("linear", lambda: jnp.ones(3), (), ("cuda", "tpu")),
    ]
    path = tmp_path / "x"
    export.save(path, programs, {}, {})
    with zipfile.ZipFile(path) as archive:
        entries = json.loads(archive.read("manifest.json"))["programs"]
    assert [entry["file"] for entry in entries] == [
        "programs/linear.0",
        "programs/linear.1",
    ]
    x = np.ones((1, 2), np.float32)
    result = export.load(path).functions["linear"]({"layer": {"w": WEIGHTS}}, x)
    np.testing.assert_array_equal(result["y"], [[4, 6]])


def test_nothing_for_the_platform(tmp_path):
    export.save(tmp_path / "x", [program(platforms=("tpu",))], {}, {})
    with pytest.raises(ValueError, match=r"nothing for platform 'cpu', only \['tpu'\]"):
        export.load(tmp_path / "x")


@pytest.mark.parametrize(
    ("programs", "message"),
    [
        ([program(platforms=("gpu",))], "unknown platform 'gpu'; known: cpu, cuda"),
        ([program(), program()], "linear is exported twice for cpu"),
    ],
)
def test_impossible_programs(tmp_path, programs, message):
    with pytest.raises(ValueError, match=message):
        export.save(tmp_path / "x", programs, {}, {})
    assert not list(tmp_path.iterdir())


def test_a_failed_save_leaves_the_file_before(file, tmp_path):
    path = tmp_path / "x"
    path.write_bytes(file.read_bytes())

    def broken(x):
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        export.save(path, [Program("f", broken, (WEIGHTS,))], {}, {})
    assert path.read_bytes() == file.read_bytes()
    assert list(tmp_path.iterdir()) == [path]


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        export.load(tmp_path / "none")


def cut(data):
    return data[: len(data) // 2]


def altered(data):
    """One byte of an array changed."""
    place = data.index(WEIGHTS.tobytes())
    return data[:place] + b"\1" + data[place + 1 :]


@pytest.mark.parametrize("damage", [cut, altered])
def test_damage_is_seen(file, tmp_path, damage):
    path = tmp_path / "damaged"
    path.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ValueError, match=r"damaged: not a readable portable file"):
        export.load(path)


def test_another_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "x", "w") as archive:
        archive.writestr("manifest.json", json.dumps({"format": "other"}))
    with pytest.raises(ValueError, match="format is 'other', not 'jaxrec portable 1'"):
        export.load(tmp_path / "x")


def test_trees_by_path():
    tree = {"a": {"b": 1, "c": {"d": 2}}, "e": 3}
    flat = {"p/a/b": 1, "p/a/c/d": 2, "p/e": 3}
    assert export.flat(tree, "p") == flat
    assert export.nested(flat | {"other": 4}, "p") == tree
    assert export.nested({"p": 5}, "p") == 5
    for key in ("a/b", 1):
        with pytest.raises(ValueError, match="a key must be a string without '/'"):
            export.flat({key: 1}, "p")
