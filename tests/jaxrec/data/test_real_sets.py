"""The real data sets, where JAXREC_DATA_DIR has them."""

import time

import numpy as np
import pytest

import jaxrec.data
import jaxrec.data.titles
from jaxrec.data import catalog, formats, tables
from jaxrec.data.options import from_config
from jaxrec.data.preprocess import all_repeats, preprocess
from jaxrec.data.splits import leave_one_out

# Users, items, events; users long enough for a target; a title.
STATISTICS = {
    "ml1m": (6040, 3416, 999_611, 6040, ("2858", "American Beauty (1999)")),
    "ml100k": (943, 1682, 100_000, 943, ("1", "Toy Story (1995)")),
    "beauty": (
        22_363,
        12_101,
        198_502,
        22_363,
        ("1", "nail lacquer simmer and shimmer"),
    ),
    "toys": (
        19_412,
        11_924,
        167_597,
        19_412,
        ("2", "title gloom categories toys games"),
    ),
    "games": (31_013, 23_715, 287_107, 30_901, None),
    "beauty_sasrec": (52_204, 57_289, 394_908, 50_498, None),
    "games2018": (
        50_546,
        16_859,
        440_264,
        50_546,
        ("0", "Fire Emblem: The Sacred Stones"),
    ),
    "industrial": (
        3285,
        3541,
        22_743,
        3285,
        ("271", "Uranium Ore"),
    ),
    "yelp": (30_431, 20_033, 316_354, 30_431, ("2", "Sal's Pizza")),
}


def source(name):
    directory = catalog.data_directory()
    if directory is None:
        pytest.skip(f"{catalog.DATA_DIRECTORY} is not set")
    options = from_config({"name": name}, catalog.entry_of(name).preset)
    try:
        found = catalog.find(options)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    if found.path is None:
        pytest.skip(f"{name} is not under {directory}")
    return found, options


def read(name):
    found, options = source(name)
    titles = None
    if found.titles:
        titles = jaxrec.data.titles.read_titles(found.titles)
    raw = tables.group(formats.read(found.path, found.format), name, titles)
    return raw, preprocess(raw, options)


@pytest.mark.parametrize("name", STATISTICS)
def test_statistics(name):
    users, items, events, targets, title = STATISTICS[name]
    _, sequences = read(name)
    if name == "ml1m" and sequences.times is not None:
        assert sequences.report["events_read"] == 1_000_209
    assert (sequences.users, sequences.items, sequences.events) == (
        users,
        items,
        events,
    )
    assert len(leave_one_out(sequences).test) == targets
    assert sequences.values.min() == 1 and sequences.values.max() == items
    if title is None:
        assert sequences.titles is None
    else:
        assert sequences.titles[sequences.item_ids == title[0]].tolist() == [title[1]]


def test_yelp_repeats_stay_unless_asked():
    raw, sequences = read("yelp")
    user = np.repeat(np.arange(raw.users), raw.lengths)
    assert all_repeats(user, raw.values).sum() == 11_830
    assert sequences.report["dropped_repeat"] == 0


def test_format_is_detected_for_every_set():
    for name in STATISTICS:
        found, _ = source(name)
        assert formats.detect(found.path) == found.format


def test_ml100k_order_of_time_stamps():
    """What float32 time stamps (64 s apart in 1998) would do, and do not do here."""
    raw, sequences = read("ml100k")
    times, offsets = sequences.times, sequences.offsets
    assert times.dtype == np.int64
    assert (times.min(), times.max()) == (874_724_710, 893_286_638)
    user = np.repeat(np.arange(sequences.users), sequences.lengths)
    within = user[1:] == user[:-1]
    assert (np.diff(times)[within] >= 0).all()

    rounded = times.astype(np.float32)
    merged = within & (times[1:] != times[:-1]) & (rounded[1:] == rounded[:-1])
    assert merged.sum() == 18_474

    # A stable sort by rounded times gives most users another context. (The last
    # items agree in number with a peer that rounds; its 77 is from an unstable sort.)
    raw_user = np.repeat(np.arange(raw.users), raw.lengths)
    by_rounded = raw.values[np.lexsort([raw.times.astype(np.float32), raw_user])]
    by_exact = raw.values[np.lexsort([raw.times, raw_user])]
    np.testing.assert_array_equal(sequences.values, by_exact)
    changed = [
        not np.array_equal(by_rounded[end - 50 : end], sequences.values[end - 50 : end])
        if end - begin >= 50
        else not np.array_equal(by_rounded[begin:end], sequences.values[begin:end])
        for begin, end in zip(offsets[:-1], offsets[1:], strict=True)
    ]
    assert sum(changed) == 899

    last = offsets[1:] - 1
    unique = last[times[last] != times[last - 1]]
    assert len(unique) == 528
    assert (by_rounded[unique] != sequences.values[unique]).sum() == 78
    assert (by_exact[unique] != sequences.values[unique]).sum() == 0


def test_ml100k_equal_times_keep_the_order_of_the_file():
    found, _ = source("ml100k")
    _, sequences = read("ml100k")
    table = formats.read(found.path, "u.data")
    lines = np.flatnonzero(table.user == 196)
    wanted = sorted(lines.tolist(), key=lambda line: (int(table.time[line]), line))
    (user,) = np.flatnonzero(sequences.user_ids == "196")
    got = sequences.item_ids[sequences.history(user)].astype(int).tolist()
    assert got == table.item[wanted].tolist()


def test_ml100k_negatives_and_threshold():
    raw, _ = read("ml100k")
    assert (raw.ratings <= 2).sum() == 17_480
    positives = preprocess(raw, from_config({"name": "ml100k", "min_rating": 4}))
    assert positives.events == 55_375
    assert positives.report["dropped_low_rating"] == 100_000 - 55_375


def test_five_core_of_ml100k_is_a_fixed_point():
    raw, _ = read("ml100k")
    options = from_config({"name": "ml100k", "preset": "five_core", "min_rating": 4})
    kept = preprocess(raw, options)
    assert np.bincount(kept.values)[1:].min() >= 5
    assert kept.lengths.min() >= 5
    assert preprocess(kept, options).values is kept.values


def test_second_load_of_ml1m_takes_well_under_a_second(tmp_path):
    source("ml1m")
    config = {"name": "ml1m", "cache": str(tmp_path)}
    first = jaxrec.data.load(config)
    begin = time.process_time()
    second = jaxrec.data.load(config)
    seconds = time.process_time() - begin
    np.testing.assert_array_equal(first.sequences.values, second.sequences.values)
    assert seconds < 0.5
