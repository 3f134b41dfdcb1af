"""The sorter for SpikeInterface: its recordings in, its sortings out.

`register` makes ``spikeinterface.sorters.run_sorter("jaxbio", recording, ...)`` find
it. The clusterer is a trained model, by name or directory. Any other is named as
``module:function`` and called as `sort` says: SpikeInterface hands parameters over
through JSON.
"""

import dataclasses
import functools
import importlib
import importlib.metadata
from typing import Any

import jax
import numpy as np

from jaxbio.clustering.spikes import sort
from jaxbio.clustering.spikes.candidates import Cluster
from jaxbio.clustering.spikes.learned import learned
from jaxbio.clustering.spikes.result import Sorting
from jaxrec.core.config import dataclass_from

NAME = "jaxbio"


def from_spikeinterface(recording: Any) -> "Wrapped":
    """A recording of SpikeInterface as one that can be sorted.

    Args:
        recording: A `BaseRecording` of one segment, with locations.

    Raises:
        ValueError: It has more segments, or no locations.
    """
    if recording.get_num_segments() != 1:
        raise ValueError(
            f"the recording has {recording.get_num_segments()} segments; sort one at a "
            "time (spikeinterface's concatenate_recordings makes one of them)"
        )
    try:
        positions = np.asarray(recording.get_channel_locations(), float)
    except Exception as error:  # SpikeInterface raises a bare Exception here
        raise ValueError(
            "the recording has no electrode locations; attach a probe to it "
            f"(recording.set_probe): {error}"
        ) from error
    return Wrapped(recording, positions[:, :2])


@dataclasses.dataclass(frozen=True, eq=False)
class Wrapped:
    """A `BaseRecording` with the names of `recording.Traces`."""

    recording: Any
    positions: np.ndarray

    @property
    def samples(self) -> int:
        return self.recording.get_num_samples(segment_index=0)

    @property
    def rate(self) -> float:
        return float(self.recording.get_sampling_frequency())

    def get_traces(self, start: int, stop: int) -> np.ndarray:
        return self.recording.get_traces(
            segment_index=0, start_frame=start, end_frame=stop
        )


def to_spikeinterface(found: Sorting) -> Any:
    """A result as a `NumpySorting`.

    Raises:
        ImportError: SpikeInterface is not installed.
    """
    core = _spikeinterface("core")
    return core.NumpySorting.from_samples_and_labels(
        [found.samples],
        [found.labels],
        found.rate,
        unit_ids=np.arange(len(found.templates)),
    )


def clusterer(name: str) -> Cluster:
    """The function that ``module:function`` names.

    Raises:
        ValueError: It is not such a name, or there is no such function.
    """
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"clusterer {name!r} is no module:function that can be imported ({error})"
        ) from error
    return found


def register() -> type:
    """Adds the sorter to those that SpikeInterface knows; returns its class.

    Raises:
        ImportError: SpikeInterface is not installed.
    """
    known = _spikeinterface("sorters.sorterlist")
    sorter = _sorter_class()
    if NAME not in known.sorter_dict:
        known.sorter_full_list.append(sorter)
        known.sorter_dict[NAME] = sorter
    return sorter


@functools.cache
def _sorter_class() -> type:
    base = _spikeinterface("sorters.internal.si_based").ComponentsBasedSorter

    class JaxbioSorter(base):
        """Template matching around a clusterer."""

        sorter_name = NAME
        handle_multi_segment = False
        _default_params = {"model": "spikes", "clusterer": "", "seed": 0, "config": {}}
        _params_description = {
            "model": "Name of a shipped model, or directory of a run",
            "clusterer": "In its place, module:function, from whitened snippets and a "
            "key to labels",
            "seed": "Seed of the random numbers",
            "config": "Fields of jaxbio.clustering.spikes.sort.Config, by name",
        }

        @classmethod
        def get_sorter_version(cls):
            try:
                return importlib.metadata.version("jaxrec")
            except importlib.metadata.PackageNotFoundError:
                return "not installed"  # run from a source tree

        @classmethod
        def _run_from_folder(cls, sorter_output_folder, params, verbose):
            recording = cls.load_recording_from_folder(
                sorter_output_folder.parent, with_warnings=False
            )
            found = sort.sort(
                from_spikeinterface(recording),
                clusterer(params["clusterer"])
                if params["clusterer"]
                else learned(params["model"]),
                jax.random.key(params["seed"]),
                dataclass_from(sort.Config, params["config"], "config"),
            )
            to_spikeinterface(found).save(folder=sorter_output_folder / "sorting")

    return JaxbioSorter


def _spikeinterface(module: str) -> Any:
    try:
        return importlib.import_module(f"spikeinterface.{module}")
    except ImportError as error:
        raise ImportError(
            f"spikeinterface is not installed ({error}); pip install 'jaxrec[spikes]'"
        ) from error
