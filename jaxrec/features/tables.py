"""Tables of item vectors that were made elsewhere.

.npy       (items, dim) numbers. Row i is the i-th id of FILE.ids beside FILE.npy, a
           raw id per line; without such a file, the i-th item of the item file
.npz       two arrays: "item_ids" or "ids", and (items, dim) numbers
.parquet   a column of ids ("item_id", "item", "asin", ..., else the first), and one
           column of lists of numbers, or any number of columns of numbers
"""

import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxrec.data.items import ID_NAMES

_NPZ_IDS = ("item_ids", "ids")


def read_table(
    path: str | os.PathLike, item_ids: Sequence[str] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """Reads a table.

    Args:
        path: The file.
        item_ids: Raw ids of the rows of a .npy file that has none beside it.

    Returns:
        ids (items,) numpy unicode, and vectors (items, dim) float32.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: It is Parquet and pyarrow is not installed.
        ValueError: The file cannot be read, has another number of rows than ids, the
            same id twice, or an element that is no finite number; the message names
            file and row, counted from 1.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if path.suffix == ".npy":
        ids, vectors = _npy(path, item_ids)
    elif path.suffix == ".npz":
        ids, vectors = _npz(path)
    elif path.suffix == ".parquet":
        ids, vectors = _parquet(path)
    else:
        raise ValueError(f"{path}: the name does not end in .npy, .npz or .parquet")
    return _checked(path, ids, vectors)


def _checked(path: Path, ids: np.ndarray, vectors: np.ndarray):
    if vectors.dtype.kind not in "iufb":
        raise ValueError(f"{path}: elements of type {vectors.dtype} are no numbers")
    if vectors.ndim != 2 or vectors.shape[1] == 0:
        raise ValueError(f"{path}: shape {vectors.shape} is not (items, dimensions)")
    if ids.shape != (len(vectors),):
        raise ValueError(
            f"{path}: {len(vectors)} rows, but {len(ids)} ids; those of a .npy are in "
            "NAME.ids beside it, one a line, or the items of the item file"
        )
    ids = ids.astype(str)
    with np.errstate(over="ignore"):
        vectors = vectors.astype(np.float32)
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        row = int(finite.argmin())
        raise ValueError(
            f"{path}, row {row + 1} (item {str(ids[row])!r}): NaN or infinite elements"
        )
    _, firsts = np.unique(ids, return_index=True)
    if len(firsts) < len(ids):
        row = int(np.setdiff1d(np.arange(len(ids)), firsts)[0])
        raise ValueError(f"{path}, row {row + 1}: item {str(ids[row])!r} once more")
    return ids, vectors


def _npy(path: Path, item_ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    vectors = _loaded(path)
    if not isinstance(vectors, np.ndarray):
        raise ValueError(f"{path}: an archive of arrays; its name should end in .npz")
    beside = path.with_suffix(".ids")
    if beside.exists():
        item_ids = beside.read_text("utf-8").splitlines()
    elif not len(item_ids):
        raise ValueError(
            f"{path}: whose rows are these? Put the ids, one a line, into {beside}, or "
            "name the item file whose order they have"
        )
    return np.array(item_ids, str), vectors


def _npz(path: Path) -> tuple[np.ndarray, np.ndarray]:
    arrays = _loaded(path)
    if isinstance(arrays, np.ndarray):
        raise ValueError(f"{path}: a single array; its name should end in .npy")
    named = [name for name in _NPZ_IDS if name in arrays]
    if not named or len(arrays) != 2:
        raise ValueError(
            f"{path}: the arrays are {', '.join(arrays) or 'none'}; wanted are "
            f"{' or '.join(_NPZ_IDS)}, and one of vectors"
        )
    ids = arrays.pop(named[0])
    return ids, arrays.popitem()[1]


def _loaded(path: Path) -> np.ndarray | dict[str, np.ndarray]:
    try:
        with path.open("rb") as stream:
            found = np.load(stream, allow_pickle=False)
            if isinstance(found, np.ndarray):
                return found
            return {key: found[key] for key in found.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        told = "no NumPy file" if "pickle" in str(error) else error
        raise ValueError(f"{path}: not readable by NumPy ({told})") from error


def _parquet(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            f"{path}: reading Parquet needs pyarrow; pip install 'jaxrec[features]'"
        ) from error
    try:
        table = pyarrow.parquet.read_table(path)
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{path}: not a Parquet file ({error})") from error
    names = table.column_names
    if len(names) < 2:
        raise ValueError(f"{path}: a column of ids and one of vectors are wanted")
    by_name = {name.lower(): name for name in names}
    ids = next((by_name[name] for name in ID_NAMES if name in by_name), names[0])
    rest = [name for name in names if name != ids]
    for name in names:
        if table[name].null_count:
            row = table[name].is_null().to_numpy().argmax() + 1
            raise ValueError(f"{path}, row {row}: column {name!r} is empty")
    if len(rest) == 1 and _is_list(pyarrow, table[rest[0]].type):
        vectors = _from_lists(path, table[rest[0]].to_pylist())
    else:
        vectors = np.stack([table[name].to_numpy() for name in rest], axis=1)
    return np.array([str(item) for item in table[ids].to_pylist()]), vectors


def _is_list(pyarrow, kind) -> bool:
    types = pyarrow.types
    return (
        types.is_list(kind)
        or types.is_large_list(kind)
        or types.is_fixed_size_list(kind)
    )


def _from_lists(path: Path, lists: list[list]) -> np.ndarray:
    for row, elements in enumerate(lists, 1):
        if len(elements) != len(lists[0]):
            raise ValueError(
                f"{path}, row {row}: {len(elements)} dimensions, row 1 has "
                f"{len(lists[0])}"
            )
        if None in elements:
            raise ValueError(f"{path}, row {row}: an element is empty")
    return np.array(lists)
