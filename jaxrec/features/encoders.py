"""Encoders of texts that were trained elsewhere.

A name is one of the sentence-transformers, such as BAAI/bge-large-en-v1.5; a directory
holds such a model or a plain one of Hugging Face, whose last hidden states are pooled
here: the first token's for a BGE (as its authors say), else the mean over tokens.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.data.cache import content_hash

KIND = "text model"
_BATCH = 32
_LONGEST = 512  # tokens, where a model does not say


@dataclasses.dataclass(frozen=True)
class Encoder:
    """A trained encoder.

    Attributes:
        name: The name or directory it was loaded by.
        key: Tells it from every other encoder, as far as the name can.
        encode: Some items to (n, dim) float32 vectors of length 1.
    """

    name: str
    key: str
    encode: Callable[[Sequence[Any]], np.ndarray]


def text_encoder(name: str) -> Encoder:
    """Loads an encoder of texts.

    Raises:
        FileNotFoundError: `name` looks like a directory that is not there.
        ImportError: A library is not installed; the message names the extra.
        ValueError: The model cannot be loaded.
    """
    directory = local_directory(name)
    if directory is None or (directory / "modules.json").exists():
        encode = _sentence_transformer(str(directory or name))
    else:
        encode = _plain_transformer(directory)
    return Encoder(name, key_of(KIND, name, directory), encode)


def local_directory(name: str) -> Path | None:
    """The directory that `name` is, None if it is the name of a model.

    Raises:
        FileNotFoundError: It can only be a directory, and is none.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path.resolve()
    # Names of models are of the form NAME or OWNER/NAME.
    if path.is_absolute() or name.startswith(".") or len(path.parts) > 2:
        raise FileNotFoundError(f"{name}: no such directory of a model")
    return None


def key_of(kind: str, name: str, directory: Path | None) -> str:
    """A key for the encoder: by its files if it is in a directory, else by its name."""
    if directory is None:
        return hashlib.sha256(f"{kind}\n{name}".encode()).hexdigest()
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    parts = [part for file in files for part in (file.name, file)]
    return content_hash(kind, *parts)


def needed(library: str, error: ImportError) -> ImportError:
    """What to tell a user who lacks a library."""
    return ImportError(
        f"this encoder needs {library} ({error}); pip install 'jaxrec[features]'"
    )


def load(name: str, loader: Callable[[], Any]) -> Any:
    """Calls what loads a model or a part of it; failures are told in one line."""
    try:
        return loader()
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{name}: the model cannot be loaded ({reason})") from error


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows at length 1; zeros stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths, lengths, 1)).astype(np.float32)


def _sentence_transformer(name: str) -> Callable[[Sequence[str]], np.ndarray]:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise needed("sentence-transformers", error) from error
    model = load(name, lambda: SentenceTransformer(name))

    def encode(texts: Sequence[str]) -> np.ndarray:
        return unit(
            model.encode(list(texts), batch_size=_BATCH, show_progress_bar=False)
        )

    return encode


def _plain_transformer(directory: Path) -> Callable[[Sequence[str]], np.ndarray]:
    try:
        import torch
        from transformers import AutoModel, AutoTokenizer
    except ImportError as error:
        raise needed("transformers and torch", error) from error
    name = str(directory)
    tokenizer = load(name, lambda: AutoTokenizer.from_pretrained(name))
    model = load(name, lambda: AutoModel.from_pretrained(name)).eval()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device)
    longest = getattr(model.config, "max_position_embeddings", _LONGEST)
    longest = min(tokenizer.model_max_length, longest)
    first_token = "bge" in directory.name.lower()

    def pooled(texts: Sequence[str]) -> np.ndarray:
        tokens = tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=longest,
            return_tensors="pt",
        ).to(device)
        states = model(**tokens).last_hidden_state.float()
        if first_token:
            return states[:, 0].cpu().numpy()
        mask = tokens["attention_mask"][..., None]
        return ((states * mask).sum(1) / mask.sum(1)).cpu().numpy()

    def encode(texts: Sequence[str]) -> np.ndarray:
        with torch.inference_mode():
            batches = [
                pooled(texts[begin : begin + _BATCH])
                for begin in range(0, len(texts), _BATCH)
            ]
        return unit(np.concatenate(batches))

    return encode
