"""Options of the best trial as a configuration."""

from common.sweeps.best import nested


def test_dotted_options_are_nested_and_a_class_keeps_its_arguments():
    options = {"model.prior.init_args.layers": 2, "model.prior": "FlowPrior", "model.latent_dim": 8, "averaging": 0.9}
    assert nested(options) == {
        "averaging": 0.9,
        "model": {"latent_dim": 8, "prior": {"class_path": "FlowPrior", "init_args": {"layers": 2}}},
    }
