"""A sorting as the files that phy's template viewer opens."""

import os
from pathlib import Path

import numpy as np

from jaxbio.clustering.spikes.result import Sorting

_CODE_LINES = (
    "dat_path = {path!r}",
    "n_channels_dat = {channels}",
    "dtype = {dtype!r}",
    "offset = 0",
    "sample_rate = {rate!r}",
    "hp_filtered = False",
)


def export(
    sorting: Sorting,
    folder: str | os.PathLike[str],
    raw: str | os.PathLike[str] = "",
    dtype: str = "int16",
) -> Path:
    """Writes a sorting for phy.

    Args:
        sorting: What to write.
        folder: Is made.
        raw: The recording's file of raw samples, in which channels follow each other
            sample by sample, if the traces are to be seen too.
        dtype: Of its samples.

    Returns:
        The file to open: ``params.py``.

    Raises:
        FileNotFoundError: There is no such raw file.
        ValueError: There is no unit.
    """
    if len(sorting.templates) == 0:
        raise ValueError("the sorting has no unit: there is nothing for phy to open")
    if raw and not Path(raw).exists():
        raise FileNotFoundError(f"{raw}: no such file of raw samples")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    channels = len(sorting.positions)
    arrays = {
        "spike_times": sorting.samples.astype(np.int64),
        "spike_clusters": sorting.labels.astype(np.int32),
        "spike_templates": sorting.labels.astype(np.int32),
        "amplitudes": sorting.amplitudes.astype(np.float64),
        "templates": sorting.templates.astype(np.float32),
        "similar_templates": _cosines(sorting.templates),
        "channel_map": np.arange(channels, dtype=np.int32),
        "channel_positions": np.asarray(sorting.positions, np.float64),
        # Templates are of scaled traces, and no whitening is to be undone.
        "whitening_mat": np.eye(channels),
        "whitening_mat_inv": np.eye(channels),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    quality = sorting.quality
    rows = ["cluster_id\tdepth_sd\tnorm_sd\trefractory\tpresence"]
    rows += [
        f"{unit}\t{quality.depth[unit]:.2f}\t{quality.norm[unit]:.2f}"
        f"\t{quality.refractory[unit]:.4f}\t{quality.presence[unit]:.1f}"
        for unit in range(len(sorting.templates))
    ]
    (folder / "cluster_quality.tsv").write_text("\n".join(rows) + "\n")
    path = str(Path(raw).resolve()) if raw else ""
    text = "\n".join(_CODE_LINES).format(
        path=path, channels=channels, dtype=dtype, rate=float(sorting.rate)
    )
    (folder / "params.py").write_text(text + "\n")
    return folder / "params.py"


def _cosines(templates: np.ndarray) -> np.ndarray:
    flat = templates.reshape(len(templates), -1)
    lengths = np.linalg.norm(flat, axis=1, keepdims=True)
    unit = flat / np.where(lengths, lengths, 1)
    return (unit @ unit.T).astype(np.float32)
