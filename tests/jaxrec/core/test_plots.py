"""The learning curve: what is drawn, checked on the figure, and the file."""

import subprocess
import sys

import pytest

from jaxrec.core import plots
from jaxrec.core.metrics import MetricWriter

METRICS = ("ndcg@10", "recall@10")
LABEL = "training loss (nats per target)"


def write(workdir, rows):
    writer = MetricWriter(workdir, tensorboard=False)
    for step, kind, values in rows:
        writer.write(step, kind, values)
    writer.close()


@pytest.fixture
def run(tmp_path):
    rows = [(step, "train", {"loss": 6 - step / 100}) for step in range(10, 60, 10)]
    values = {20: 0.1, 40: 0.3, 50: float("nan")}
    rows += [
        (step, "valid", {"ndcg@10": value, "recall@10": 2 * value, "time/s": 1.0})
        for step, value in values.items()
    ]
    write(tmp_path, sorted(rows, key=lambda row: row[0]))
    return tmp_path


def drawn(figure):
    """Lines by label, with their points."""
    return {
        line.get_label(): list(zip(*line.get_data(), strict=True))
        for axes in figure.axes
        for line in axes.get_lines()
        if not line.get_label().startswith("_")
    }


def test_what_is_drawn(run, monkeypatch):
    figures = []
    make = plots._figure
    monkeypatch.setattr(
        plots, "_figure", lambda *args: figures.append(make(*args)) or figures[0]
    )
    assert plots.plot_learning_curve(run, METRICS, LABEL) == run / "learning_curve.png"
    (figure,) = figures
    lines = drawn(figure)
    assert list(lines) == [
        "training loss",
        "validation ndcg@10",
        "validation recall@10",
        "best ndcg@10: 0.3000 at step 40",
    ]
    assert lines["training loss"][:2] == [(10, 6 - 10 / 100), (20, 6 - 20 / 100)]
    assert lines["validation recall@10"][:2] == [(20, 0.2), (40, 0.6)]
    assert lines["best ndcg@10: 0.3000 at step 40"] == [(40, 0.3)]
    left, right = figure.axes
    assert left.get_xlabel() == "training step"
    assert left.get_ylabel() == "training loss (nats per target)"
    assert right.get_ylabel() == "validation metric (0 to 1)"


def test_the_file_is_a_picture(run):
    path = plots.plot_learning_curve(run, METRICS, LABEL)
    assert path.read_bytes().startswith(b"\x89PNG\r\n")
    assert path.stat().st_size > 10_000
    assert sorted(p.name for p in run.iterdir()) == [
        "learning_curve.png",
        "metrics.jsonl",
    ]


def test_metrics_of_another_name_are_drawn_too(tmp_path):
    write(tmp_path, [(1, "valid", {"accuracy": 0.5, "time/seconds": 3.0})])
    rows = plots.read_metrics(tmp_path)
    figure = plots._figure([], rows, ("ndcg@10",), "loss")
    assert list(drawn(figure)) == [
        "validation accuracy",
        "best accuracy: 0.5000 at step 1",
    ]


@pytest.mark.parametrize(
    "rows",
    [
        [(1, "train", {"loss": 2.0})],
        [(1, "valid", {"ndcg@10": float("nan")})],
        [(1, "train", {"loss": float("nan")}), (1, "valid", {})],
    ],
)
def test_a_run_that_has_hardly_begun(tmp_path, rows):
    write(tmp_path, rows)
    assert plots.plot_learning_curve(tmp_path, METRICS, LABEL).exists()


def test_nothing_measured_nothing_drawn(tmp_path):
    assert plots.plot_learning_curve(tmp_path, METRICS, LABEL) is None
    write(tmp_path, [(1, "test", {"ndcg@10": 0.5})])
    assert plots.plot_learning_curve(tmp_path, METRICS, LABEL) is None
    assert not (tmp_path / "learning_curve.png").exists()


def test_a_directory_that_cannot_be_written_stops_no_run(run, monkeypatch, caplog):
    import matplotlib.figure

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", full)
    assert plots.plot_learning_curve(run, METRICS, LABEL) is None
    assert "learning_curve.png: [Errno 28] No space left" in caplog.text


def test_no_global_state_of_pyplot(run):
    program = (
        "import sys; from jaxrec.core.plots import plot_learning_curve; "
        f"plot_learning_curve({str(run)!r}, {METRICS}, {LABEL!r}); "
        "print('matplotlib.pyplot' in sys.modules)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout == "False\n", done.stderr
