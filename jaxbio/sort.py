"""Sorts the spikes of a recording of many electrodes: who fired when.

    python -m jaxbio.sort recording.npy --rate=30000 --positions=probe.csv --out=sorted
    python -m jaxbio.sort recording.dat --dtype=int16 --rate=30000 \\
        --positions=probe.csv --out=sorted

The traces are (samples, channels), in a .npy file, or raw samples in which channels
follow each other; they are read piece by piece. Positions are the electrodes', a row
each, in micrometres. Written are

    sorted/sorting.npz    samples and labels of the spikes, amplitudes, templates, the
                          channel of each unit
    sorted/units.csv      per unit its spikes, rate and quality
    sorted/*.png          templates, raster, auto-correlograms, quality
    sorted/phy/           what phy's template viewer opens
"""

import argparse
import dataclasses
import sys
from pathlib import Path

from jaxrec.core.verbs import verb


def _declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recording", help=".npy file, or raw samples with --dtype")
    parser.add_argument("--rate", type=float, required=True, help="samples per second")
    parser.add_argument("--positions", required=True, help="CSV file of two columns")
    parser.add_argument("--out", required=True, help="directory to write")
    parser.add_argument("--dtype", default="", help="of raw samples, such as int16")
    parser.add_argument("--model", default="spikes", help="name, or directory of a run")
    parser.add_argument("--seed", type=int, default=0)


def _run(options: argparse.Namespace) -> None:
    import jax
    import numpy as np

    from jaxbio.clustering.points.read import read_points
    from jaxbio.clustering.spikes import figures, phy, sort
    from jaxbio.clustering.spikes.learned import learned
    from jaxbio.clustering.spikes.recording import Recording
    from jaxrec.core.compiled import keep_compiled_programs

    positions = read_points(options.positions)
    traces = _traces(options.recording, options.dtype, len(positions))
    recording = Recording(traces, options.rate, positions)
    keep_compiled_programs()
    found = sort.sort(recording, learned(options.model), jax.random.key(options.seed))
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        out / "sorting.npz",
        **{
            name: getattr(found, name)
            for name in ("samples", "labels", "amplitudes", "templates", "channels")
        },
    )
    (out / "units.csv").write_text(_units(found))
    print(f"{len(found.samples):,} spikes of {len(found.templates)} units, in {out}")
    if len(found.templates):
        figures.save(found, out)
        raw = options.recording if options.dtype else ""
        phy.export(found, out / "phy", raw, options.dtype or "int16")


def _units(found) -> str:
    """A line per unit: its channel, and how far it can be trusted."""
    names = [field.name for field in dataclasses.fields(found.quality)]
    lines = [",".join(["unit", "channel", *names])]
    for unit, channel in enumerate(found.channels):
        values = [f"{getattr(found.quality, name)[unit]:.6g}" for name in names]
        lines.append(",".join([str(unit), str(channel), *values]))
    return "\n".join(lines) + "\n"


def _traces(path: str, dtype: str, channels: int):
    """Traces (samples, channels) as a memory map."""
    import numpy as np

    if not Path(path).is_file():
        raise FileNotFoundError(f"recording: there is no file {path}")
    if not dtype:
        if not path.endswith(".npy"):
            raise ValueError(f"{path}: no .npy file; of raw samples tell the --dtype")
        return np.load(path, mmap_mode="r", allow_pickle=False)
    try:
        kind = np.dtype(dtype)
    except TypeError:
        raise ValueError(f"--dtype={dtype}: unknown to NumPy") from None
    size = Path(path).stat().st_size
    if not size or size % (kind.itemsize * channels):
        raise ValueError(
            f"{path}: {size:,} bytes are no whole number of samples of {channels} "
            f"channels (as many as there are positions) of {kind}"
        )
    return np.memmap(path, kind, "r").reshape(-1, channels)


main = verb("jaxbio.sort", __doc__, _declare, _run)


if __name__ == "__main__":
    sys.exit(main())
