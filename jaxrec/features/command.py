"""The command `python -m jaxrec.features`: feature tables of items, made once.

    python -m jaxrec.features --data=games2018 --out=features.npz
    python -m jaxrec.features --data=games2018 --text=BAAI/bge-large-en-v1.5 --out=...
    python -m jaxrec.features --items=items.tsv --images=photos/ \\
        --image_encoder=google/siglip-large-patch16-256 --out=...
    python -m jaxrec.features --data=games2018 --table=audio=audio.npy --out=...
    python -m jaxrec.features --like=features.npz --items=new.tsv --out=new.npz
    python -m jaxrec.features --like=runs/nested --items=new.tsv --out=new.npz

What was encoded is kept under the cache directory (JAXREC_CACHE_DIR), so that the same
command again, after it was killed too, encodes only what is left.
"""

import argparse
import difflib
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from jaxrec.core.cli import readable_errors, set_up_logging
from jaxrec.core.text_table import aligned
from jaxrec.data import catalog, load
from jaxrec.features import build, encoders, images, run, store
from jaxrec.features.built_in import TEXT_DIM
from jaxrec.features.texts import GENERATED, item_file, read_texts, texts_of, without

BUILT_IN, NONE = "built-in", "none"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program.

    Args:
        argv: Arguments, None for those of the command line.

    Returns:
        Exit status: 0, or 2 for an error of the user.
    """
    options = _parser().parse_args(argv)
    with readable_errors() as outcome:
        set_up_logging(debug=False)
        _run(options)
    return outcome.status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m jaxrec.features",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--data", default="", help="name of the data set, see README.md")
    add("--path", default="", help="its directory, as data.path of a config")
    add("--items", default="", help="item file, instead of the data set's own")
    add("--out", required=True, help="file to write")
    add(
        "--text",
        help=f"encoder of texts: {BUILT_IN!r} (the default), {NONE!r}, the name of one "
        "of the sentence-transformers, or a local directory of a model",
    )
    add(
        "--text_dim",
        type=int,
        help=f"dimensions of the built-in encoder (default {TEXT_DIM})",
    )
    add(
        "--text_whitened",
        action="store_true",
        default=None,
        help="let all dimensions of the built-in encoder weigh the same",
    )
    add("--images", default="", help="folder of images named by raw item id")
    add("--image_encoder", help="model of transformers, by name or directory")
    add("--skip_bad", action="store_true", help="leave out images that are damaged")
    add(
        "--table",
        action="append",
        default=[],
        metavar="MODALITY=FILE",
        help="vectors made elsewhere (.npy, .npz, .parquet); may be repeated",
    )
    add(
        "--like",
        default="",
        help="file, or directory of a run, whose encoders are to be used again",
    )
    return parser


def _run(options: argparse.Namespace) -> None:
    _check(options)
    texts = _texts(options)
    if options.text not in (None, NONE) and not texts:
        raise ValueError(f"--text={options.text}: there are no texts; name --items")
    files = images.find_images(options.images) if options.images else {}
    old = _old(options.like) if options.like else None
    makers = _makers(options, texts, files, old)
    if not makers:
        reason = without(options.data) if options.data else "no data set is named"
        raise ValueError(
            f"there is nothing to make features of: {reason}; name an item file "
            "(--items), images or tables"
        )
    parts, seconds = {}, {}
    for name, make in makers.items():
        begin = time.monotonic()
        if (part := make()) is not None:
            parts[name], seconds[name] = part, time.monotonic() - begin
    if not parts:
        raise ValueError("--like wants new items: --items, --images or --table")
    dims = old and {name: table.shape[1] for name, table in old.tables.items()}
    features = build.joined(parts, texts, dims)
    store.save(options.out, features)
    print(_report(features, parts, seconds))
    size = Path(options.out).stat().st_size / 1e6
    use = f"a run takes it with --config.features.path={options.out}"
    if options.like:
        use = "rec.add_items takes in its item_ids and tables"
    print(f"{options.out}: {len(features.item_ids):,} items, {size:.1f} MB; {use}")


def _makers(
    options: argparse.Namespace,
    texts: Mapping[str, str],
    files: Mapping[str, Path],
    old: store.Features | None,
) -> dict[str, Callable[[], build.Part | None]]:
    """By modality what makes it, None where a new item has nothing to encode."""
    skip_bad = options.skip_bad
    makers = {}
    if old is not None:
        for name, arrays in old.encoders.items():
            makers[name] = partial(build.again, name, arrays, texts, files, skip_bad)
    elif options.text not in (None, BUILT_IN, NONE):
        makers["text"] = lambda: build.model_texts(
            texts, encoders.text_encoder(options.text)
        )
    elif options.text != NONE and texts:
        dim = TEXT_DIM if options.text_dim is None else options.text_dim
        whitened = bool(options.text_whitened)
        makers["text"] = partial(build.built_in_texts, texts, dim, whitened)
    if options.image_encoder:
        makers["image"] = lambda: build.model_images(
            files, images.image_encoder(options.image_encoder, skip_bad), skip_bad
        )
    for name, path in _tables(options):
        makers[name] = partial(build.table, path, texts)
    return makers


def _old(like: str) -> store.Features:
    return run.of_workdir(like) if Path(like).is_dir() else store.load(like)


def _check(options: argparse.Namespace) -> None:
    """Refuses what would have no effect or cannot be done."""
    tables = [name for name, _ in _tables(options)]
    settings = {
        "--text": options.text,
        "--text_dim": options.text_dim,
        "--text_whitened": options.text_whitened,
        "--image_encoder": options.image_encoder,
    }
    given = [name for name, value in settings.items() if value is not None]
    near = difflib.get_close_matches(options.text or "", (BUILT_IN, NONE), cutoff=0.8)
    if near and options.text not in near:
        raise ValueError(f"--text={options.text}: did you mean {near[0]!r}?")
    if options.like and given:
        raise ValueError(f"{given[0]} has no effect with --like, which says it all")
    if not options.like and bool(options.images) != bool(options.image_encoder):
        raise ValueError("--images and --image_encoder belong together")
    if options.path and (options.items or not options.data):
        raise ValueError("--path has no effect with --items or without --data")
    if options.skip_bad and not options.images:
        raise ValueError("--skip_bad has no effect without --images")
    for name in ("--text_dim", "--text_whitened"):
        if name in given and options.text not in (None, BUILT_IN):
            raise ValueError(f"{name} has no effect with --text={options.text}")
    taken = ["image"] * bool(options.images) + ["text"] * (options.text is not None)
    for name in tables:
        if name in taken:
            raise ValueError(f"there are two tables {name!r}")
        taken.append(name)


def _texts(options: argparse.Namespace) -> dict[str, str]:
    """Raw item id -> text, as far as there are any."""
    if options.data and options.data not in GENERATED:
        catalog.entry_of(options.data)  # a misspelt name is told, needed or not
    if options.items:
        return read_texts(options.items)
    data = {"name": options.data, "path": options.path}
    if not options.data or (options.data == "custom" and not options.path):
        return {}
    if (path := item_file(data)) is not None:
        return read_texts(path)
    sequences = load(data).sequences
    return {} if sequences.titles is None else texts_of(data, sequences)


def _tables(options: argparse.Namespace) -> list[tuple[str, str]]:
    pairs = [given.partition("=") for given in options.table]
    for name, mark, path in pairs:
        if not (name and mark and path):
            raise ValueError(f"--table={name}{mark}{path}: MODALITY=FILE is wanted")
    return [(name, path) for name, _, path in pairs]


def _report(
    features: store.Features,
    parts: Mapping[str, build.Part],
    seconds: Mapping[str, float],
) -> str:
    """A line per modality, in aligned columns."""
    rows = [("modality", "items", "dims", "missing", "seconds", "encoder")]
    for name, missing in features.missing().items():
        items, dims = features.tables[name].shape
        took = f"{seconds[name]:.1f}" if name in seconds else ""
        source = parts[name].source if name in parts else "none: nothing to encode"
        rows.append((name, f"{items:,}", str(dims), f"{missing:,}", took, source))
    return aligned(rows, left=(0, 5))
