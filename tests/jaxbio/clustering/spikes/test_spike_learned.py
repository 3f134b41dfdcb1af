"""A trained process as the clusterer of the sorter."""

import pytest

from jaxbio.clustering.spikes import interface
from jaxbio.clustering.spikes.learned import learned


def test_a_model_of_points_is_no_clusterer_of_spikes():
    with pytest.raises(ValueError, match="'crp2d-tau4' is of points, not of spikes"):
        learned("crp2d-tau4")


def test_a_sorter_wants_one_clusterer():
    with pytest.raises(ValueError, match="want either model, .* got model='' and"):
        interface._chosen("", "")
    with pytest.raises(ValueError, match="got model='a' and clusterer='b:c'"):
        interface._chosen("a", "b:c")
