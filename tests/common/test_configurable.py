import copy
import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from common.conditions.attributes import Categorical, Continuous
from common.conditions.condition import Condition
from common.configurable import Configurable, from_config, import_class, to_config
from common.distributions.likelihoods import DiscretizedLogistic, Gaussian
from common.distributions.priors import ConditionalNormal, VampPrior
from common.objectives.objectives import ELBO, IWAE, BetaTC
from common.objectives.schedules import Cyclical, Linear
from modalities.image import ImageCVAE
from modalities.image.condition import AttributeEncoder
from modalities.image.networks import MLP


def attributes():
    return {"digit": Categorical(["zero", "one"]), "slant": Continuous(0.5, 2.0, -3.0, 3.0)}


def image_model():
    return ImageCVAE(
        AttributeEncoder(attributes(), dim=4, dropout=0.1, use=["digit"]),
        shape=(1, 4, 4),
        latent_dim=2,
        architecture=MLP(hidden=(8,)),
        likelihood=Gaussian(0.5),
        prior=VampPrior(components=3),
        objective=ELBO(beta=Linear(0, 1, 100), free_bits=0.1),
    )


OBJECTS = {
    "objective": lambda: ELBO(beta=Cyclical(0, 1, period=50, cycles=2), capacity=Linear(0, 5, 10), num_samples=3),
    "importance weighted": lambda: IWAE(num_samples=10),
    "total correlation": lambda: BetaTC(beta=Linear(1, 6, 10)),
    "attributes": attributes,
    "encoder": lambda: AttributeEncoder(attributes(), dim=4, field_dropout=0.2),
    "likelihood": lambda: DiscretizedLogistic(16, "shared", initial=0.2),
    "prior": lambda: ConditionalNormal(hidden=7),
    "model": image_model,
}


@pytest.fixture(params=OBJECTS)
def thing(request):
    return OBJECTS[request.param]()


def weights(module):
    return {name: tensor.shape for name, tensor in module.state_dict().items()}


def assert_same(first, second):
    assert type(first) is type(second)
    assert to_config(first) == to_config(second)
    if isinstance(first, torch.nn.Module):
        assert weights(first) == weights(second)
    else:
        assert first == second


def test_configurations_rebuild_what_they_describe(thing):
    assert_same(from_config(to_config(thing)), thing)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_copies_can_be_rebuilt_too(thing, duplicate):
    assert_same(duplicate(thing), thing)
    assert_same(from_config(to_config(duplicate(thing))), thing)


def test_a_configuration_loads_with_weights_only(thing):
    file = io.BytesIO()
    torch.save(to_config(thing), file)
    file.seek(0)
    assert_same(from_config(torch.load(file, weights_only=True)), thing)


def test_a_rebuilt_model_takes_the_weights_of_the_first():
    first = image_model()
    second = from_config(to_config(first))
    second.load_state_dict(first.state_dict())
    x, c = torch.rand(2, 1, 4, 4), Condition(torch.randn(2, 4))
    assert torch.equal(first.encode(x, c).mean, second.encode(x, c).mean)
    assert second.objective == first.objective


def test_configurations_are_plain_data_with_class_paths():
    assert to_config(ELBO(beta=Linear(0, 1, 10))) == {
        "class_path": "common.objectives.objectives.ELBO",
        "init_args": {
            "beta": {
                "class_path": "common.objectives.schedules.Linear",
                "init_args": {"start": 0, "end": 1, "steps": 10},
            }
        },
    }


def test_what_does_not_shape_the_network_is_no_part_of_a_models_configuration():
    model = ImageCVAE(AttributeEncoder(attributes(), dim=4), shape=(1, 4, 4), optimizer=torch.optim.SGD, compile=False)
    assert to_config(model)["init_args"].keys() == {"condition", "shape"}


def test_paths_and_tuples_become_texts_and_lists():
    assert to_config({"a": Path("x/y"), "b": (1, 2)}) == {"a": "x/y", "b": [1, 2]}


@pytest.mark.parametrize(
    "values", [[np.float64(1.5), 2.5], [True, np.float64("nan")], [np.str_("cat"), "dog"]], ids=["float", "nan", "str"]
)
def test_numpy_numbers_and_texts_become_plain_ones(values):
    file = io.BytesIO()
    torch.save(to_config(values), file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    assert [str(value) for value in loaded] == [str(value) for value in values]
    assert all(type(value) in (bool, float, str) for value in loaded)


class Named(Configurable):
    def __init__(self, first, *rest, **options):
        self.first, self.rest, self.options = first, rest, options


class Passing(Named):
    """Hands its arguments on, as users' models do."""

    def __init__(self, **options):
        super().__init__("given", **options)


def test_keyword_arguments_that_are_handed_on_come_back():
    again = from_config(to_config(Passing(size=3, name="x")))
    assert again.options == {"size": 3, "name": "x"}


@pytest.mark.parametrize("path", ["os.system", "builtins.dict", "builtins.eval", "torch.nn.Linear"])
def test_only_configurable_classes_are_built(path):
    with pytest.raises(TypeError, match=r"no class|not a Configurable"):
        from_config({"class_path": path, "init_args": {}})


@pytest.mark.parametrize(
    "path", ["common.no_such_module.Class", "common.objectives.objectives.NoSuchClass", "Class", ""]
)
def test_a_class_that_cannot_be_found_is_named(path):
    with pytest.raises(ImportError, match=f"cannot import {path}"):
        import_class(path)


@pytest.mark.parametrize("value", [object(), torch.nn.Linear(1, 1), lambda: 1, {1, 2}])
def test_objects_that_are_no_configuration_are_refused(value):
    with pytest.raises(TypeError, match=r"derive it from common\.configurable\.Configurable"):
        to_config({"nested": [value]})


def test_wrong_arguments_fail_as_they_would_anywhere():
    with pytest.raises(TypeError, match="no_such_argument"):
        ELBO(no_such_argument=1)
