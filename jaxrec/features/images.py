"""Images of items, and encoders of images that were trained elsewhere.

A folder holds one image per item, named by the item's raw id: B00001.jpg. Encoders are
those that transformers loads by a name or from a directory, such as
google/siglip-large-patch16-256.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import logging

from jaxrec.features.encoders import (
    Encoder,
    key_of,
    load,
    local_directory,
    needed,
    unit,
)

KIND = "image model"
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
_BATCH = 32


def find_images(folder: str | os.PathLike) -> dict[str, Path]:
    """Raw item id -> file, in the order of the ids.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: There are no images in it, or two of one item.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder of images")
    images: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SUFFIXES:
            continue
        if path.stem in images:
            raise ValueError(
                f"{folder}: two images of item {path.stem!r}: "
                f"{images[path.stem].name} and {path.name}"
            )
        images[path.stem] = path
    if not images:
        raise ValueError(
            f"{folder}: no image (ITEM followed by one of {', '.join(SUFFIXES)})"
        )
    return images


def image_encoder(name: str, skip_bad: bool = False) -> Encoder:
    """Loads an encoder of image files.

    Args:
        name: Name of a model, or its directory.
        skip_bad: Whether an image that cannot be decoded has a vector of zeros and is
            warned of, rather than an error.

    Raises:
        FileNotFoundError: `name` looks like a directory that is not there.
        ImportError: A library is not installed; the message names the extra.
        ValueError: The model cannot be loaded or is none of images. The encoder
            raises it as well, for an image that cannot be decoded.
    """
    directory = local_directory(name)
    try:
        import torch
        from PIL import Image
        from transformers import AutoImageProcessor, AutoModel
    except ImportError as error:
        raise needed("transformers, torch and pillow", error) from error
    place = str(directory or name)
    processor = load(name, lambda: AutoImageProcessor.from_pretrained(place))
    model = load(name, lambda: AutoModel.from_pretrained(place)).eval()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device)

    def embed(images: list) -> np.ndarray:
        pixels = processor(images=images, return_tensors="pt")["pixel_values"]
        pixels = pixels.to(device)
        if hasattr(model, "get_image_features"):  # of text and images, such as SigLIP
            found = model.get_image_features(pixel_values=pixels)
        else:
            found = model(pixel_values=pixels)
        vectors = getattr(found, "pooler_output", found)
        if not isinstance(vectors, torch.Tensor):
            raise ValueError(f"{name}: the model gives no vector per image")
        return vectors.float().cpu().numpy()

    def encode(paths: Sequence[Path]) -> np.ndarray:
        batches = []
        for begin in range(0, len(paths), _BATCH):
            images = [decoded(path, skip_bad) for path in paths[begin : begin + _BATCH]]
            # Something for the model to look at; its vector is thrown away.
            shown = [image or Image.new("RGB", (8, 8)) for image in images]
            with torch.inference_mode():
                vectors = unit(embed(shown))
            vectors[[image is None for image in images]] = 0
            batches.append(vectors)
        return np.concatenate(batches)

    return Encoder(name, key_of(KIND, name, directory), encode)


def decoded(path: Path, skip_bad: bool):
    """An image in RGB; None for one that cannot be decoded, if such are skipped.

    Raises:
        ValueError: It cannot be decoded and such are not skipped.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if not skip_bad:
            raise ValueError(
                f"{path}: the image cannot be decoded ({error}); --skip_bad leaves "
                "such images out"
            ) from error
        logging.warning("%s cannot be decoded (%s) and is left out.", path, error)
        return None
