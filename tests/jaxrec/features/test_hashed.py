import numpy as np
import pytest

from jaxrec.data import catalog
from jaxrec.features import grams, hashed, texts

TEXTS = [
    "Title: Star Quest II\nBrand: Orion",
    "Title: Star Quest III\nBrand: Orion",
    "Title: Garden Simulator\nBrand: Leaf",
    "Title: Garden Builder Deluxe\nBrand: Leaf",
    "",
    "Title: Star Garden",
    "Title: Controller for two players",
    "Title: Controllers, wireless",
]


def dense_rows(corpus):
    """The weighted rows of the corpus in float64, a column per bucket in use."""
    counts = np.zeros((len(corpus), grams.BUCKETS))
    for row, text in enumerate(corpus):
        _, buckets, found = grams.count([grams.normalised(text)])
        counts[row, buckets] = found
    having = (counts > 0).sum(axis=0)
    counts, having = counts[:, having > 1], having[having > 1]
    tf = np.where(counts > 0, 1 + np.log(np.maximum(counts, 1)), 0)
    rows = tf * np.log((1 + len(corpus)) / (1 + having))
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths == 0, 1, lengths)


@pytest.mark.parametrize("whitened", [False, True])
def test_vectors_are_those_of_a_dense_decomposition(whitened):
    rows = dense_rows(TEXTS)
    left, singular, right = np.linalg.svd(rows, full_matrices=False)
    encoder = hashed.fit(TEXTS, 4, whitened)
    np.testing.assert_allclose(encoder.singular, singular[:4], rtol=1e-5)
    wanted = rows @ right[:4].T / (singular[:4] if whitened else 1)
    lengths = np.linalg.norm(wanted, axis=1, keepdims=True)
    wanted /= np.where(lengths < 1e-9, 1, lengths)
    found = encoder.encode(TEXTS)
    assert found.shape == (8, 4) and found.dtype == np.float32
    # Signs of singular vectors are a matter of convention; angles are not.
    np.testing.assert_allclose(found @ found.T, wanted @ wanted.T, atol=2e-3)
    np.testing.assert_allclose(
        np.linalg.norm(found, axis=1), [1, 1, 1, 1, 0, 1, 1, 1], rtol=1e-5
    )


@pytest.mark.parametrize("whitened", [False, True])
def test_new_texts_are_encoded_like_the_old_ones(whitened):
    encoder = hashed.fit(TEXTS, 5, whitened)
    together = encoder.encode(TEXTS)
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(alone, together, atol=1e-5)
    new, nothing = encoder.encode(["Star Quest IV", "zzz qqq"])
    assert set(np.argsort(together @ new)[-2:].tolist()) == {0, 1}
    assert not nothing.any()


@pytest.mark.parametrize("whitened", [False, True])
def test_kept_and_read_again(whitened):
    encoder = hashed.fit(TEXTS, 3, whitened)
    again = hashed.from_arrays(encoder.arrays())
    assert again.texts == encoder.texts
    np.testing.assert_array_equal(
        again.encode(["Star garden"]), encoder.encode(["Star garden"])
    )


def test_files_of_before_there_was_whitening():
    arrays = hashed.fit(TEXTS, 3).arrays()
    del arrays["whitened"]
    assert not hashed.from_arrays(arrays).whitened


def test_the_same_again_and_more_dimensions_than_texts():
    first, second = hashed.fit(TEXTS, 6), hashed.fit(TEXTS, 6)
    np.testing.assert_array_equal(first.left, second.left)
    for whitened in (False, True):
        wide = hashed.fit(TEXTS, 20, whitened)
        assert not wide.singular[8:].any()
        found = wide.encode(TEXTS)
        assert found.shape == (8, 20) and not found[:, 8:].any()


def test_what_cannot_be_fitted():
    with pytest.raises(ValueError, match="1 dimension or more, got 0"):
        hashed.fit(TEXTS, 0)
    for corpus in ([], ["", ""], ["abc", "xyz"], ["same", "same"]):
        with pytest.raises(ValueError, match=f"on {len(corpus)} texts of which no two"):
            hashed.fit(corpus, 2)


def test_kept_arrays_that_do_not_fit():
    arrays = hashed.fit(TEXTS, 3).arrays()
    with pytest.raises(ValueError, match="version 0, this program's is"):
        hashed.from_arrays(arrays | {"version": np.array(0)})
    with pytest.raises(ValueError, match="lacks left, singular"):
        hashed.from_arrays({key: arrays[key] for key in ("version", "texts")})
    with pytest.raises(ValueError, match=r"8 texts, 2 singular values and .*\(8, 3\)"):
        hashed.from_arrays(arrays | {"singular": arrays["singular"][:2]})


def test_titles_of_games_find_their_series():
    if catalog.data_directory() is None:
        pytest.skip(f"{catalog.DATA_DIRECTORY} is not set")
    try:
        path = texts.item_file({"name": "games2018"})
    except FileNotFoundError as error:
        pytest.skip(str(error))
    found = list(texts.read_texts(path).values())
    series = ("Fire Emblem", "Gears of War", "Sonic", "Final Fantasy")
    corpus = found[:1500] + [t for t in found[1500:] if any(s in t for s in series)]
    vectors = hashed.fit(corpus, 64).encode(corpus)
    for name in series:
        members = [at for at, text in enumerate(corpus) if name in text]
        cosines = vectors[members] @ vectors.T
        cosines[np.arange(len(members)), members] = -1
        hits = [name in corpus[at] for at in cosines.argmax(axis=1)]
        assert len(members) > 5 and np.mean(hits) >= 0.9, (name, hits)
