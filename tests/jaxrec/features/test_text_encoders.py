import sys

import numpy as np
import pytest

from jaxrec.features import encoders
from tests.jaxrec.features import tiny_models

TEXTS = ["title: fire emblem", "garden", "title: star quest " + "star " * 20]


def states(directory, text):
    """Last hidden states of one text, alone, cut where the model must."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    model = transformers.AutoModel.from_pretrained(directory).eval()
    tokens = tokenizer(text, truncation=True, max_length=12, return_tensors="pt")
    with torch.inference_mode():
        return model(**tokens).last_hidden_state[0].numpy().astype(np.float64)


@pytest.mark.parametrize("name", ["plain", "tiny-bge-en"])
def test_a_directory(tmp_path, monkeypatch, name):
    directory = tiny_models.text_model(tmp_path / name)
    monkeypatch.setattr(encoders, "_BATCH", 2)
    encoder = encoders.text_encoder(str(directory))
    found = encoder.encode(TEXTS)
    for vector, text in zip(found, TEXTS, strict=True):
        alone = states(directory, text)
        wanted = alone[0] if "bge" in name else alone.mean(axis=0)
        np.testing.assert_allclose(vector, wanted / np.linalg.norm(wanted), atol=1e-5)
    assert found.dtype == np.float32


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_directory_of_sentence_transformers(tmp_path):
    library = pytest.importorskip("sentence_transformers")
    plain = tiny_models.text_model(tmp_path / "plain")
    parts = pytest.importorskip("sentence_transformers.models")
    body = parts.Transformer(str(plain), max_seq_length=12)
    pooling = parts.Pooling(16, pooling_mode="max")
    directory = tmp_path / "with modules"
    library.SentenceTransformer(modules=[body, pooling]).save(str(directory))
    found = encoders.text_encoder(str(directory)).encode(TEXTS)
    for vector, text in zip(found, TEXTS, strict=True):
        wanted = states(plain, text).max(axis=0)
        np.testing.assert_allclose(vector, wanted / np.linalg.norm(wanted), atol=1e-5)


def test_the_key_goes_by_the_files(tmp_path):
    directory = tmp_path / "model"
    directory.mkdir()
    (directory / "config.json").write_text("{}")
    before = encoders.key_of("text", "model", directory)
    assert encoders.key_of("text", "moved", directory) == before
    assert encoders.key_of("image", "model", directory) != before
    (directory / "config.json").write_text("{ }")
    assert encoders.key_of("text", "model", directory) != before
    assert encoders.key_of("text", "a", None) != encoders.key_of("text", "b", None)


def test_directories_and_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    assert encoders.local_directory("here") == tmp_path / "here"
    for name in ("bge", "BAAI/bge-large-en-v1.5"):
        assert encoders.local_directory(name) is None
    for name in ("/absent/model", "./absent", "~/absent", "a/b/c"):
        with pytest.raises(FileNotFoundError, match="no such directory of a model"):
            encoders.local_directory(name)


def test_a_directory_without_a_model(tmp_path):
    pytest.importorskip("transformers")
    with pytest.raises(ValueError, match=f"{tmp_path}: the model cannot be loaded"):
        encoders.text_encoder(str(tmp_path))


def test_without_the_libraries(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    for name in (str(tmp_path), "BAAI/bge-large-en-v1.5"):
        with pytest.raises(ImportError, match=r"pip install 'jaxrec\[features\]'"):
            encoders.text_encoder(name)
