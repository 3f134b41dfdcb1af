"""The command as its users call it, without a process of its own."""

import functools
import json
import sys

import numpy as np
import pytest
from absl import logging

from jaxrec.features import blocks, command, encoders, hashed, load
from tests.jaxrec.features import tiny_models

ITEMS = (
    "item_id\ttitle\tbrand\n9\tStar Quest\tOrion\n7\tStar Quest II\tOrion\n"
    "8\tGarden\tLeaf\n5\tGarden II\tLeaf\n6\t\t\n"
)
IDS = ["9", "7", "8", "5", "6"]
TEXTS = [
    "Title: Star Quest\nBrand: Orion",
    "Title: Star Quest II\nBrand: Orion",
    "Title: Garden\nBrand: Leaf",
    "Title: Garden II\nBrand: Leaf",
    "",
]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    handler = logging.get_absl_handler()
    formatter, filters = handler.formatter, list(handler.filters)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAXREC_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("JAXREC_DATA_DIR", raising=False)
    (tmp_path / "items.tsv").write_text(ITEMS)
    yield tmp_path
    handler.setFormatter(formatter)
    handler.filters[:] = filters


def run(*arguments):
    return command.main([*arguments, "--out=out/f.npz"])


def report(capsys):
    """The cells of the table by modality, and the last line."""
    *lines, last = capsys.readouterr().out.splitlines()
    return {line.split()[0]: line.split()[1:] for line in lines[1:]}, last


def test_built_in(capsys):
    assert run("--data=custom", "--items=items.tsv", "--text_dim=3") == 0
    rows, last = report(capsys)
    assert [rows["text"][at] for at in (0, 1, 2, 4)] == ["5", "3", "1", "built-in"]
    assert "--config.features.path=out/f.npz" in last and "5 items" in last
    features = load("out/f.npz")
    assert features.item_ids.tolist() == IDS
    wanted = hashed.fit(TEXTS, 3).encode(TEXTS)
    np.testing.assert_array_equal(features.tables["text"], wanted)


def test_whitened_and_new_items_like_them(place):
    given = ["--items=items.tsv", "--text_dim=3", "--text_whitened", "--out=old.npz"]
    assert command.main(given) == 0
    wanted = hashed.fit(TEXTS, 3, whitened=True).encode(TEXTS)
    np.testing.assert_array_equal(load("old.npz").tables["text"], wanted)
    (place / "new.tsv").write_text("item_id\ttitle\tbrand\nn\tGarden\tLeaf\n")
    assert run("--like=old.npz", "--items=new.tsv") == 0
    np.testing.assert_allclose(load("out/f.npz").tables["text"], wanted[2:3], atol=1e-5)


def test_the_items_of_a_data_set(place, capsys):
    (place / "amazon-games-2018").mkdir()
    (place / "amazon-games-2018" / "sequences.txt").write_text("u 9 7 8\n")
    (place / "items.tsv").rename(place / "amazon-games-2018" / "Games.item")
    assert run("--data=games2018", f"--path={place}", "--text_dim=2") == 0
    assert load("out/f.npz").item_ids.tolist() == IDS
    (place / "amazon-games-2018" / "Games.item").unlink()
    assert run("--data=games2018", f"--path={place}") == 2
    error = capsys.readouterr().err
    assert "no texts of its items, amazon-games-2018/Games.item is not there" in error


def test_titles_of_a_generated_world(monkeypatch):
    monkeypatch.setattr(command, "TEXT_DIM", 4)
    assert run("--data=synthetic") == 0
    features = load("out/f.npz")
    assert features.tables["text"].shape[1] == 4
    assert features.item_ids[0] == "i1" and features.missing() == {"text": 0}


def test_tables_beside_texts_and_in_their_place(capsys):
    np.save("audio.npy", np.arange(15).reshape(5, 3))
    np.savez("mine.npz", ids=np.array(["8", "new"]), vectors=np.ones((2, 4)))
    given = ["--items=items.tsv", "--table=audio=audio.npy", "--table=text=mine.npz"]
    assert run(*given) == 0
    features = load("out/f.npz")
    assert features.item_ids.tolist() == [*IDS, "new"]
    audio = [*np.arange(15).reshape(5, 3).tolist(), [0, 0, 0]]
    np.testing.assert_array_equal(features.tables["audio"], audio)
    np.testing.assert_array_equal(features.tables["text"][:, 0], [0, 0, 1, 0, 0, 1])
    assert features.missing() == {"text": 4, "audio": 1}
    assert not features.encoders
    assert report(capsys)[0]["text"][4] == "mine.npz"
    assert run("--items=items.tsv", "--text=none", "--table=audio=audio.npy") == 0
    assert list(load("out/f.npz").tables) == ["audio"]


def test_new_items_in_the_same_space(place, capsys):
    np.save("audio.npy", np.ones((5, 3)))
    given = ["--items=items.tsv", "--text_dim=4", "--table=audio=audio.npy"]
    assert command.main([*given, "--out=old.npz"]) == 0
    (place / "new.tsv").write_text(
        "item_id\ttitle\tbrand\nn1\tStar Quest III\tOrion\nn2\t\t\nn3\tGarden\tLeaf\n"
    )
    capsys.readouterr()
    assert run("--like=old.npz", "--items=new.tsv") == 0
    rows, _ = report(capsys)
    assert rows["audio"][:3] == ["3", "3", "3"] and rows["text"][2] == "1"
    old, new = load("old.npz"), load("out/f.npz")
    assert new.item_ids.tolist() == ["n1", "n2", "n3"]
    np.testing.assert_allclose(new.tables["text"][2], old.tables["text"][2], atol=1e-5)
    assert (old.tables["text"] @ new.tables["text"][0]).argmax() in (0, 1)
    assert not new.tables["audio"].any() and new.tables["audio"].shape == (3, 3)
    # What was made like them serves as well as they do.
    assert command.main(["--like=out/f.npz", "--items=new.tsv", "--out=third.npz"]) == 0
    third = load("third.npz")
    np.testing.assert_array_equal(third.tables["text"], new.tables["text"])
    assert command.main(["--like=old.npz", "--data=custom", "--out=x.npz"]) == 2
    assert "--like wants new items" in capsys.readouterr().err


def test_new_items_like_those_of_a_run(place, capsys):
    (place / "events.txt").write_text("u 9 7 8\nv 5 8 9 6\n")
    where = {"path": str(place / "events.txt"), "titles": str(place / "items.tsv")}
    options = {"kind": "given", "negatives": "seen", "path": "", "text_dim": 4}
    config = {"data": {"name": "custom", **where}, "model": {"name": "fmrlrec"}}
    (place / "run/checkpoints/best").mkdir(parents=True)
    (place / "run/ids.npz").touch()

    def write(**changes):
        config["features"] = options | changes
        (place / "run/config.json").write_text(json.dumps(config))

    (place / "new.tsv").write_text("item_id\ttitle\tbrand\nn\tGarden\tLeaf\n")
    write()
    assert run("--like=run", "--items=new.tsv") == 0
    assert "rec.add_items takes in" in capsys.readouterr().out
    wanted = hashed.fit(TEXTS, 4).encode(TEXTS[2:3])
    np.testing.assert_allclose(load("out/f.npz").tables["text"], wanted, atol=1e-5)

    given = ["--items=items.tsv", "--text_dim=2", "--out=of_run.npz"]
    assert command.main(given) == 0
    write(path="of_run.npz")
    assert run("--like=run", "--items=new.tsv") == 0
    assert load("out/f.npz").tables["text"].shape == (1, 2)
    write(kind="random")
    assert run("--like=run", "--items=new.tsv") == 2
    assert "run: the items of this run are not made of" in capsys.readouterr().err


def test_a_table_of_other_items(place, capsys):
    np.savez("other.npz", ids=np.array(["x"]), vectors=np.ones((1, 4)))
    assert run("--items=items.tsv", "--table=audio=other.npz") == 2
    wanted = "other.npz: none of its items (x, ...) is in the item file (9, ...)"
    assert wanted in capsys.readouterr().err


def test_a_text_model_and_new_items(place, monkeypatch, capsys):
    directory = tiny_models.text_model(place / "model")
    assert run("--items=items.tsv", f"--text={directory}") == 0
    features = load("out/f.npz")
    encoder = encoders.text_encoder(str(directory))
    wanted = encoder.encode(TEXTS[:4])
    np.testing.assert_allclose(features.tables["text"][:4], wanted, atol=1e-6)
    assert features.missing() == {"text": 1}
    assert report(capsys)[0]["text"][4] == str(directory)
    # What was encoded before is not encoded again.
    with monkeypatch.context() as patch:
        patch.setattr(blocks, "encode", functools.partial(forbidden, blocks.encode))
        assert run("--items=items.tsv", f"--text={directory}") == 0
    (place / "new.tsv").write_text("item_id\ttitle\nn\tStar\n")
    given = ["--like=out/f.npz", "--items=new.tsv"]
    assert command.main([*given, "--out=new.npz"]) == 0
    (vector,) = load("new.npz").tables["text"]
    np.testing.assert_allclose(vector, encoder.encode(["Title: Star"])[0], atol=1e-6)
    with (directory / "config.json").open("a") as stream:
        stream.write("\n")
    assert command.main([*given, "--out=new.npz"]) == 2
    assert "is not the model that made the features 'text'" in capsys.readouterr().err


def forbidden(encode, items, encoder, directory, what):
    def fail(block):
        raise AssertionError("encoded again")

    return encode(items, fail, directory, what)


def test_images(place, capsys):
    image = pytest.importorskip("PIL.Image")
    directory = tiny_models.image_model(place / "model")
    (place / "photos").mkdir()
    for item, colour in (("7", "red"), ("5", "blue"), ("9", "green")):
        image.new("RGB", (9, 9), colour).save(place / "photos" / f"{item}.png")
    (place / "photos" / "9.png").write_bytes(b"no image")
    given = ["--items=items.tsv", "--text_dim=2", "--images=photos"]
    given.append(f"--image_encoder={directory}")
    assert run(*given) == 2
    assert "9.png: the image cannot be decoded" in capsys.readouterr().err
    assert run(*given, "--skip_bad") == 0
    features = load("out/f.npz")
    assert features.missing() == {"text": 1, "image": 3}
    assert features.tables["image"].any(axis=1).tolist() == [0, 1, 0, 1, 0]
    # Left out once is not encoded: without the flag it is an error as before.
    assert run(*given) == 2
    assert (
        command.main(
            ["--like=out/f.npz", "--images=photos", "--skip_bad", "--out=new.npz"]
        )
        == 0
    )
    new = load("new.npz")
    assert new.item_ids.tolist() == ["5", "7", "9"]
    np.testing.assert_array_equal(new.tables["image"][1], features.tables["image"][1])
    assert new.missing() == {"text": 3, "image": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data=gamess"], "did you mean 'games'"),
        (["--data=gamess", "--items=items.tsv"], "did you mean 'games'"),
        (["--path=x", "--data=toys", "--items=items.tsv"], "--path has no effect"),
        (["--data=toys"], "none of amazon-toys/sequential.txt"),
        (["--items=absent.tsv"], "absent.tsv"),
        (["--data=custom"], "the data set 'custom' has no texts of its items; name"),
        ([], "nothing to make features of: no data set is named"),
        (["--text=built-in", "--data=custom"], "there are no texts; name --items"),
        (["--items=items.tsv", "--text_dim=0"], "1 dimension or more, got 0"),
        (["--items=items.tsv", "--text=./no"], "no such directory of a model"),
        (["--items=items.tsv", "--images=x"], "--image_encoder belong together"),
        (["--image_encoder=x/y"], "--image_encoder belong together"),
        (["--items=items.tsv", "--skip_bad"], "--skip_bad has no effect"),
        (["--text=a/b", "--text_dim=3"], "--text_dim has no effect with --text=a/b"),
        (["--text=none", "--text_whitened"], "--text_whitened has no effect with"),
        (["--like=f.npz", "--text_whitened"], "--text_whitened has no effect with"),
        (["--like=f.npz", "--text=a/b"], "--text has no effect with --like"),
        (["--like=f.npz", "--text_dim=3"], "--text_dim has no effect with --like"),
        (["--text=builtin"], "--text=builtin: did you mean 'built-in'?"),
        (["--table=audio"], "--table=audio: MODALITY=FILE is wanted"),
        (["--table=a=x.npy", "--table=a=y.npy"], "two tables 'a'"),
        (["--text=a/b", "--table=text=x.npy"], "two tables 'text'"),
        (["--images=x", "--image_encoder=y", "--table=image=z"], "two tables 'image'"),
        (["--table=a=absent.npy"], "absent.npy: no such file"),
        (["--like=absent.npz"], "absent.npz: no such file"),
    ],
)
def test_what_a_mistaken_user_is_told(capsys, arguments, message):
    assert run(*arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line


def test_new_items_that_do_not_fit(place, capsys):
    np.save("audio.npy", np.ones((5, 3)))
    given = ["--items=items.tsv", "--text=none"]
    assert command.main([*given, "--table=audio=audio.npy", "--out=old.npz"]) == 0
    np.savez("new.npz", ids=np.array(["n"]), vectors=np.ones((1, 4)))
    for name in ("audio", "sound"):
        assert run("--like=old.npz", f"--table={name}=new.npz") == 2
        wanted = f"'{name}' has 4 dimensions here; wanted are 'audio' of 3"
        assert wanted in capsys.readouterr().err


def test_an_encoder_that_cannot_be_had_again(capsys):
    assert command.main(["--items=items.tsv", "--text_dim=3", "--out=old.npz"]) == 0
    arrays = dict(np.load("old.npz"))
    for changes, message in (
        (
            {"version": np.array(0)},
            "encoder/text: the built-in encoder is of version 0",
        ),
        ({"kind": np.array("magic")}, "encoder/text: the kind 'magic' is unknown"),
    ):
        changed = {f"encoder/text/{key}": value for key, value in changes.items()}
        np.savez("changed.npz", **arrays | changed)
        assert run("--like=changed.npz", "--items=items.tsv") == 2
        assert message in capsys.readouterr().err


def test_without_a_library(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    assert run("--items=items.tsv", "--text=BAAI/bge-large-en-v1.5") == 2
    assert "pip install 'jaxrec[features]'" in capsys.readouterr().err
