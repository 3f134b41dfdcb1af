import functools
import hashlib
import http.server
import os
import signal
import subprocess
import sys
import textwrap
import threading
import zipfile

import numpy as np
import pytest
import tensorflow_datasets as tfds

from jaxrec.data import catalog, formats, storage, tables
from jaxrec.data.builders.movielens_sequences import movielens_sequences_dataset_builder
from jaxrec.data.builders.stored import InteractionsConfig
from jaxrec.data.options import from_config

ARRAYS = ("values", "offsets", "user_ids", "item_ids", "times", "ratings", "titles")


@pytest.fixture
def events(tmp_path):
    path = tmp_path / "events.csv"
    rng = np.random.default_rng(0)
    users, items = rng.integers(0, 40, 300), rng.integers(0, 99, 300)
    times = rng.integers(0, 2**62, 300)
    rows = [
        f"u{u},{i},{i / 8},{t}" for u, i, t in zip(users, items, times, strict=True)
    ]
    path.write_text("\n".join(["user,item,rating,time", *rows, "one,5,1,0"]))
    return path


def options(tmp_path, path, **config):
    return from_config(
        {"name": "custom", "path": str(path), "cache": str(tmp_path / "cache")} | config
    )


def assert_same(got, wanted):
    for field in ARRAYS:
        left, right = getattr(got, field), getattr(wanted, field)
        if right is None:
            assert left is None
        else:
            assert left.dtype == right.dtype
            np.testing.assert_array_equal(left, right)


def script(code, tmp_path, **arguments):
    """Runs code in a new process with a data section in `config`."""
    config = {"name": "custom", "cache": str(tmp_path / "cache")} | arguments
    body = f"import jaxrec.data, os, sys, signal\nconfig = {config!r}\n"
    return subprocess.run(
        [sys.executable, "-c", body + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_store_gives_back_what_the_file_holds(tmp_path, events):
    titles = tmp_path / "titles.tsv"
    titles.write_text("item_id\ttitle\n5\tAmélie\n7\tHeat\n")
    raw = storage.open_raw(options(tmp_path, events, titles=str(titles)))
    wanted = tables.group(formats.read(events), titles={"5": "Amélie", "7": "Heat"})
    assert_same(raw, wanted)
    assert raw.times.max() > 2**53
    assert isinstance(raw.values.base, np.memmap)
    assert raw.titles[raw.item_ids == "5"].tolist() == ["Amélie"]


def test_absent_times_and_ratings_stay_absent(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("9 3 1 2 1\n10 2\nx 1\n")
    raw = storage.open_raw(options(tmp_path, path))
    assert raw.user_ids.tolist() == ["10", "9", "x"]
    assert raw.values.tolist() == [2, 3, 1, 2, 1, 1]
    assert raw.times is None and raw.ratings is None and raw.titles is None


def test_only_the_first_load_imports_tfds_and_none_imports_tensorflow(tmp_path, events):
    code = """
        split = jaxrec.data.load(config)
        print(split.sequences.events, "tensorflow_datasets" in sys.modules,
              "tensorflow" in sys.modules, "jax" in sys.modules)
    """
    for imported in (True, False):
        done = script(code, tmp_path, path=str(events))
        assert done.stdout.split() == ["301", str(imported), "False", "False"], done


# A process that dies while TFDS writes, and in the middle of the flat arrays.
DEATHS = {
    "in the store": """
        from jaxrec.data.builders import stored
        def die(path, form, columns):
            os.kill(os.getpid(), signal.SIGKILL)
        stored.formats.read = die
    """,
    "in the flat arrays": """
        import numpy
        save = numpy.save
        def die(path, array):
            save(path, array)
            if "item_ids" in str(path):
                os.kill(os.getpid(), signal.SIGKILL)
        numpy.save = die
    """,
}


@pytest.mark.parametrize("moment", DEATHS)
def test_a_killed_process_leaves_no_half_of_a_cache(tmp_path, events, moment):
    code = textwrap.dedent(DEATHS[moment]) + "\njaxrec.data.load(config)\n"
    done = script(code, tmp_path, path=str(events))
    assert done.returncode == -signal.SIGKILL, done
    flat = tmp_path / "cache" / "flat"
    assert [name for name in os.listdir(flat) if not name.startswith(".")] == []
    assert_same(
        storage.open_raw(options(tmp_path, events)), tables.group(formats.read(events))
    )
    left = [name for name in os.listdir(flat) if "partial" in name]
    left += list((tmp_path / "cache" / "tfds").rglob("incomplete.*"))
    assert left == []


def test_a_damaged_cache_is_made_again(tmp_path, events):
    storage.open_raw(options(tmp_path, events))
    (values,) = (tmp_path / "cache" / "flat").glob("*/values.npy")
    values.write_bytes(values.read_bytes()[:-8])
    assert_same(
        storage.open_raw(options(tmp_path, events)), tables.group(formats.read(events))
    )


def test_a_full_disk_leaves_nothing_and_says_so(tmp_path, events, monkeypatch):
    def full(path, array):
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", full)
        with pytest.raises(OSError, match="No space left on device"):
            storage.open_raw(options(tmp_path, events))
    assert storage.open_raw(options(tmp_path, events)).events == 301


def test_another_content_is_another_entry(tmp_path, events):
    before = storage.open_raw(options(tmp_path, events)).events
    events.write_text(events.read_text() + "\nnew,5,1,0\n")
    assert storage.open_raw(options(tmp_path, events)).events == before + 1
    other = options(tmp_path, events, columns={"user": "item", "item": "user"})
    assert "u0" in storage.open_raw(other).item_ids


def test_errors_of_the_file_come_through_and_leave_nothing(tmp_path):
    path = tmp_path / "events.csv"
    path.write_text("user,item,time\n1,2,3\n1,2,yesterday\n")
    with pytest.raises(ValueError, match=r"events\.csv, line 3: the time 'yesterday'"):
        storage.open_raw(options(tmp_path, path))
    assert list((tmp_path / "cache" / "tfds").rglob("incomplete.*")) == []
    path.write_text("user,item,time\n1,2,3\n")
    assert storage.open_raw(options(tmp_path, path)).events == 1


def test_a_prepared_dataset_is_read_by_anyone(tmp_path, events, capsys):
    titles = tmp_path / "titles.tsv"
    titles.write_text("item_id\ttitle\n5\tAmélie\n")
    storage.open_raw(options(tmp_path, events, titles=str(titles)))
    assert capsys.readouterr().out == ""
    (directory,) = (tmp_path / "cache" / "tfds").rglob("dataset_info.json")
    builder = tfds.builder_from_directory(directory.parent)
    assert builder.info.file_format.value == "array_record"
    users = builder.as_data_source("train")
    wanted = tables.group(formats.read(events), titles={"5": "Amélie"})
    assert len(users) == wanted.users
    assert users[0]["user"] == b"one"
    assert users[0]["items"].tolist() == [b"5"]
    assert_same(storage.read_stored(builder), wanted)


def test_named_builder_reads_manual_dir(tmp_path):
    manual = tmp_path / "data" / "ml-100k"
    manual.mkdir(parents=True)
    (manual / "u.data").write_text("2\t7\t3\t100\n1\t8\t5\t90\n")
    (manual / "u.item").write_bytes("7|Amélie||\n8|Heat||\n".encode("latin-1"))
    builder = movielens_sequences_dataset_builder.Builder(
        config="ml100k", data_dir=tmp_path / "tfds"
    )
    builder.download_and_prepare(
        file_format="array_record",
        download_config=tfds.download.DownloadConfig(manual_dir=tmp_path / "data"),
    )
    sequences = storage.read_stored(builder)
    assert sequences.user_ids.tolist() == ["1", "2"]
    assert sequences.titles.tolist() == ["", "Amélie", "Heat"]


def test_builders_have_the_catalogue(tmp_path):
    for entry in catalog.CATALOG.values():
        if entry.name == "custom":
            continue
        module = pytest.importorskip(
            f"jaxrec.data.builders.{entry.builder}.{entry.builder}_dataset_builder"
        )
        assert module.Builder.name == entry.builder
        assert entry.name in module.Builder.builder_configs
        if entry.url:
            info = module.Builder(config=entry.name, data_dir=tmp_path).url_infos
            assert len(info[entry.url].checksum) == 64
            assert info[entry.url].filename == entry.url.rsplit("/")[-1]


def test_missing_files_of_a_named_builder(tmp_path):
    builder = pytest.importorskip(
        "jaxrec.data.builders.yelp_sequences.yelp_sequences_dataset_builder"
    ).Builder(config="yelp", data_dir=tmp_path)
    with pytest.raises(
        FileNotFoundError, match="yelp-s3rec/Yelp.txt.*Yelp Open Dataset"
    ):
        builder.download_and_prepare(file_format="array_record")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """A small ml-100k.zip behind a local server, with its checksum registered."""
    served = tmp_path / "served"
    served.mkdir()
    with zipfile.ZipFile(served / "ml-100k.zip", "w") as stream:
        stream.writestr("ml-100k/u.data", "2\t7\t3\t100\n1\t8\t5\t90\n")
        stream.writestr("ml-100k/u.item", "7|Amélie||\n8|Heat||\n".encode("latin-1"))
    handler = functools.partial(_Quiet, directory=str(served))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/ml-100k.zip"
    content = (served / "ml-100k.zip").read_bytes()
    info = tfds.core.download.checksums.UrlInfo(
        size=len(content),
        checksum=hashlib.sha256(content).hexdigest(),
        filename="ml-100k.zip",
    )
    builder = movielens_sequences_dataset_builder.Builder
    monkeypatch.setattr(builder, "url_infos", {url: info})
    entry = catalog.CATALOG["ml100k"]
    changed = catalog.dataclasses.replace(entry, url=url)
    monkeypatch.setitem(catalog.CATALOG, "ml100k", changed)
    monkeypatch.delenv(catalog.DATA_DIRECTORY, raising=False)
    yield served / "ml-100k.zip"
    server.shutdown()
    server.server_close()


def test_the_official_archive_is_fetched_and_checked(tmp_path, archive):
    config = {"name": "ml100k", "cache": str(tmp_path / "cache")}
    raw = storage.open_raw(from_config(config))
    assert raw.values.tolist() == [2, 1]
    assert raw.times.tolist() == [90, 100]
    assert raw.titles.tolist() == ["", "Amélie", "Heat"]
    archive.unlink()
    assert storage.open_raw(from_config(config)).events == 2


def test_an_archive_with_another_checksum_is_refused(tmp_path, archive):
    with zipfile.ZipFile(archive, "a") as stream:
        stream.writestr("more", "x")
    config = {"name": "ml100k", "cache": str(tmp_path / "cache")}
    with pytest.raises(ValueError, match=r"ml-100k\.zip: not the archive whose"):
        storage.open_raw(from_config(config))


def test_an_archive_in_the_data_directory_is_used(tmp_path, archive, monkeypatch):
    monkeypatch.setattr(storage, "_check_reachable", None)
    config = {"name": "ml100k", "cache": str(tmp_path / "cache")}
    raw = storage.open_raw(from_config(config | {"path": str(archive.parent)}))
    assert raw.times.tolist() == [90, 100]


def test_an_unreachable_archive_says_what_to_do(tmp_path, monkeypatch):
    entry = catalog.CATALOG["ml100k"]
    changed = catalog.dataclasses.replace(entry, url="http://127.0.0.1:9/ml-100k.zip")
    monkeypatch.setitem(catalog.CATALOG, "ml100k", changed)
    monkeypatch.delenv(catalog.DATA_DIRECTORY, raising=False)
    config = {"name": "ml100k", "cache": str(tmp_path / "cache")}
    with pytest.raises(
        FileNotFoundError, match="ml-100k/u.data.*Fetching http.* failed"
    ):
        storage.open_raw(from_config(config))


def test_two_processes_prepare_once(tmp_path, events):
    code = """
        from jaxrec.data import storage
        read = storage.read_stored
        def counted(*arguments):
            open(config["cache"] + "/prepared", "a").write("x")
            return read(*arguments)
        storage.read_stored = counted
        print(jaxrec.data.load(config).sequences.events)
    """
    results = []
    threads = [
        threading.Thread(
            target=lambda: results.append(script(code, tmp_path, path=str(events)))
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [done.stdout.strip() for done in results] == ["301", "301"], results
    assert (tmp_path / "cache" / "prepared").read_text() == "x"


def test_configs_are_separate_objects():
    first, second = InteractionsConfig(name="a"), InteractionsConfig(name="b")
    first.columns["user"] = "x"
    assert second.columns == {}
