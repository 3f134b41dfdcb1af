"""An encoder without a config of its own: a task trains and ranks it by its name."""

from tiny_runs import WORLD, check_workdir, tiny

from jaxrec.tasks import masked_item


def test_a_run_of_a_model_whose_outputs_are_narrower_than_its_blocks(tmp_path):
    config = tiny(config="bert4rec", **WORLD)
    sizes = {"dim": 8, "dim_embedding": 4, "blocks": 1, "heads": 2, "causal": False}
    with config.unlocked():
        config.model = {"name": "albert", **sizes}
    check_workdir(tmp_path, masked_item.run(config, tmp_path), "albert")
