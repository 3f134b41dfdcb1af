import sys

import numpy as np
import pytest

from jaxrec.features import images
from tests.jaxrec.features import tiny_models

Image = pytest.importorskip("PIL.Image")


def picture(path, seed, mode="RGB"):
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    picture(folder / "B2.png", 0)
    picture(folder / "A.1.JPG", 1)
    picture(folder / "C.webp", 2)
    picture(folder / "D.png", 3, mode="LA")
    (folder / "notes.txt").write_text("x")
    return folder


def test_find_images(folder):
    found = images.find_images(folder)
    assert {item: path.name for item, path in found.items()} == {
        "A.1": "A.1.JPG",
        "B2": "B2.png",
        "C": "C.webp",
        "D": "D.png",
    }


def test_bad_folders(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="absent: no such folder"):
        images.find_images(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: no image"):
        images.find_images(tmp_path / "empty")
    picture(folder / "C.png", 4)
    with pytest.raises(ValueError, match="two images of item 'C': C.png and C.webp"):
        images.find_images(folder)


def test_decoded(folder):
    assert images.decoded(folder / "D.png", skip_bad=False).mode == "RGB"
    whole = (folder / "B2.png").read_bytes()
    for content in (b"", b"not an image", whole[:200], whole[:-40]):
        (folder / "B2.png").write_bytes(content)
        with pytest.raises(ValueError, match=r"B2\.png: .*cannot be decoded.*skip_bad"):
            images.decoded(folder / "B2.png", skip_bad=False)
        assert images.decoded(folder / "B2.png", skip_bad=True) is None


@pytest.mark.parametrize("kind", ["siglip", "vit"])
def test_vectors(folder, tmp_path, monkeypatch, kind):
    directory = tiny_models.image_model(tmp_path / "model", kind)
    import torch
    import transformers

    monkeypatch.setattr(images, "_BATCH", 3)
    files = list(images.find_images(folder).values())
    found = images.image_encoder(str(directory)).encode(files)
    processor = transformers.AutoImageProcessor.from_pretrained(directory)
    model = transformers.AutoModel.from_pretrained(directory).eval()
    model = model.vision_model if kind == "siglip" else model
    for vector, path in zip(found, files, strict=True):
        with Image.open(path) as image:
            pixels = processor(images=image.convert("RGB"), return_tensors="pt")
        with torch.inference_mode():
            wanted = model(**pixels).pooler_output[0].numpy()
        np.testing.assert_allclose(vector, wanted / np.linalg.norm(wanted), atol=1e-5)
    # One that cannot be decoded: an error, or no vector.
    files[1].write_bytes(b"x")
    with pytest.raises(ValueError, match=r"B2\.png: the image cannot be decoded"):
        images.image_encoder(str(directory)).encode(files)
    skipped = images.image_encoder(str(directory), skip_bad=True).encode(files)
    assert not skipped[1].any()
    np.testing.assert_allclose(skipped[[0, 2, 3]], found[[0, 2, 3]], atol=1e-6)


def test_a_model_of_texts(tmp_path):
    directory = tiny_models.text_model(tmp_path / "bert")
    with pytest.raises(ValueError, match="bert: the model cannot be loaded"):
        images.image_encoder(str(directory))


def test_without_the_libraries(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"pip install 'jaxrec\[features\]'"):
        images.image_encoder("google/siglip-large-patch16-256")
