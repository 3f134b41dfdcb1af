import pytest

from jaxrec.data import catalog
from jaxrec.data.options import PRESETS, from_config


@pytest.fixture(autouse=True)
def no_data_directory(monkeypatch):
    monkeypatch.delenv(catalog.DATA_DIRECTORY, raising=False)


def find(**config):
    return catalog.find(from_config(config))


def touch(directory, name):
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_names():
    wanted = "ml1m ml100k beauty toys games beauty_sasrec games2018 industrial yelp"
    assert set(catalog.CATALOG) == {*wanted.split(), "custom"}
    for entry in catalog.CATALOG.values():
        assert entry.preset in PRESETS


def test_ratings_come_before_sequences(tmp_path, monkeypatch):
    monkeypatch.setenv(catalog.DATA_DIRECTORY, str(tmp_path))
    sequences = touch(tmp_path, "ml-1m/sequences.txt.gz")
    titles = touch(tmp_path, "ml-1m/movies.dat")
    source = find(name="ml1m")
    assert (source.path, source.format) == (sequences, "sequences")
    assert source.titles == titles
    ratings = touch(tmp_path, "ml-1m/ratings.dat")
    source = find(name="ml1m")
    assert (source.path, source.format) == (ratings, "movielens")


def test_path_comes_before_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv(catalog.DATA_DIRECTORY, str(tmp_path / "other"))
    touch(tmp_path, "other/ml-100k/u.data")
    path = touch(tmp_path, "mine/u.data")
    # The set's own directory may be named too, and the file itself.
    assert find(name="ml100k", path=str(path.parent)).path == path
    assert find(name="ml100k", path=str(path)).path == path


def test_titles_can_be_named(tmp_path):
    path, titles = touch(tmp_path, "a.csv"), touch(tmp_path, "names.tsv")
    assert find(name="custom", path=str(path)).titles is None
    assert find(name="custom", path=str(path), titles=str(titles)).titles == titles
    with pytest.raises(FileNotFoundError, match="data.titles=.*absent"):
        find(name="custom", path=str(path), titles=str(tmp_path / "absent"))


def test_archives():
    source = find(name="ml1m")
    assert source.path is None and source.archive is None
    assert source.entry.url.endswith("/ml-1m.zip")


def test_archive_in_the_data_directory(tmp_path):
    archive = touch(tmp_path, "ml-1m.zip")
    assert find(name="ml1m", path=str(tmp_path)).archive == archive


def test_what_to_do_without_files(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        find(name="beauty", path=str(tmp_path))
    for part in ("amazon-beauty/sequential.txt", str(tmp_path), "RUCAIBox/CIKM2020"):
        assert part in str(caught.value)
    with pytest.raises(FileNotFoundError, match="JAXREC_DATA_DIR"):
        find(name="yelp")
    # A directory that was named must hold the files: nothing is fetched behind it.
    with pytest.raises(FileNotFoundError, match="ml-1m/ratings.dat"):
        find(name="ml1m", path=str(tmp_path))


def test_bad_names_and_paths(tmp_path):
    with pytest.raises(ValueError, match="data.name 'ml1mm' .* did you mean 'ml1m'"):
        catalog.entry_of("ml1mm")
    with pytest.raises(FileNotFoundError, match="absent: no such file or directory"):
        find(name="custom", path=str(tmp_path / "absent"))
    with pytest.raises(ValueError, match="needs data.path to be a file, got nothing"):
        find(name="custom")
    with pytest.raises(ValueError, match="to be a file, got the directory"):
        find(name="custom", path=str(tmp_path))
