"""The table of targets: newest rows, verdicts on the right side."""

import json

from benchmarks import report

ROW = {
    "target": "P1",
    "shape": "ml1m",
    "reached": 5.0,
    "p10": 4.5,
    "p90": 5.5,
    "cpu_ratio": 6.25,
    "date": "2026-01-02T00:00:00+00:00",
    "platform": "cpu",
    "device": "cpu",
    "cpu": "Some CPU",
    "cores": 2,
    "quick": False,
}


def write(folder, *changes):
    rows = [{**ROW, **change} for change in changes]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "a.jsonl").write_text(text)


def test_the_newest_row_of_each_case_counts(tmp_path):
    other = {"shape": "ml1m-s", "reached": 9.0}
    older = {"reached": 1.0, "date": "2026-01-01T00:00:00+00:00"}
    write(tmp_path, {}, older, other, {"target": None}, {"quick": True})
    assert [row["reached"] for row in report.rows(tmp_path)] == [5.0, 9.0]
    assert len(report.rows(tmp_path, quick=True)) == 3


def test_rows_are_in_the_order_of_the_targets(tmp_path):
    write(tmp_path, {"target": "G1"}, {"target": "P6"}, {"target": "P1"})
    assert [row["target"] for row in report.rows(tmp_path)] == ["P1", "P6", "G1"]


def test_verdicts():
    def verdict(**changes):
        row = {**ROW, **changes}
        return report.TARGETS[row["target"]].verdict(row)

    # More is better: must 4, aim 6.
    assert [verdict(reached=x) for x in (3.9, 4, 6)] == ["missed", "must", "aim"]
    # Less is better: must 0.1, aim 0.02.
    scratch = [verdict(target="P1m", reached=x) for x in (0.2, 0.1, 0.02)]
    assert scratch == ["missed", "must", "aim"]
    # No aim: must 1.2, for one query in a million items.
    top = {"target": "P5", "items": 1_000_000, "batch": 1}
    assert [verdict(**top, reached=x) for x in (1.1, 1.2)] == ["missed", "must"]
    # Another case, another device, no target at all.
    assert (
        verdict(shape="ml1m-s") == verdict(platform="gpu") == verdict(target="E1") == ""
    )


def test_table(tmp_path):
    write(tmp_path, {})
    lines = report.table(report.rows(tmp_path)).splitlines()
    assert len(lines) == 3
    assert len({line.count("|") for line in lines}) == 1
    cells = [cell.strip() for cell in lines[2].split("|")[1:-1]]
    assert cells == [
        *("P1", "train step / published PyTorch", "shape ml1m", "4", "6"),
        *("5 (4.5 to 5.5)", "must", "6.25 in CPU time", "Some CPU, 2 cores"),
        "2026-01-02",
    ]
