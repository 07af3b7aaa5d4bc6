"""CVAEImputer as scikit-learn's users know imputers: scikit-learn's own tests, on arrays and on frames."""

import numpy as np
import pandas as pd
import pytest
from sklearn.impute import SimpleImputer
from sklearn.impute.tests import test_common as common
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks as checks
from sklearn.utils._param_validation import InvalidParameterError

from modalities.tabular import CVAEImputer

QUICK = {"members": 1, "max_steps": 5, "proposals": 10, "draws": 10, "hidden": 8, "latent_dim": 1, "random_state": 0}


def cases():
    """Every test of scikit-learn that is for all imputers, with its further parameters."""
    result = []
    for name, test in vars(common).items():
        if not name.startswith("test_") or "sparse" in name:
            continue
        marks = [mark for mark in test.pytestmark if mark.name == "parametrize" and mark.args[0] != "imputer"]
        options = [{}]
        for mark in marks:
            options = [{**known, mark.args[0]: value} for known in options for value in mark.args[1]]
        result += [pytest.param(test, chosen, id=f"{name}-{'-'.join(map(str, chosen.values()))}") for chosen in options]
    return result


def test_scikit_learn_has_tests_for_all_imputers():
    assert len(cases()) >= 10  # each of which asserts for itself, below


@pytest.mark.filterwarnings("ignore:Skipping features")
@pytest.mark.parametrize(("test", "options"), cases())
def test_it_passes_the_tests_that_scikit_learn_has_for_all_imputers(test, options):
    test(imputer=CVAEImputer(**QUICK), **options)


class OnFrames(CVAEImputer):
    """The imputer whose arrays are frames, for checks that make arrays."""

    def fit(self, X, y=None):
        return super().fit(pd.DataFrame(np.asarray(X)).add_prefix("c"))

    def transform(self, X):
        return super().transform(pd.DataFrame(np.asarray(X)).add_prefix("c")).to_numpy()


ON_FRAMES = [
    "check_dict_unchanged", "check_estimators_overwrite_params", "check_estimators_pickle", "check_fit_idempotent",
    "check_fit2d_1feature", "check_fit_check_is_fitted", "check_methods_sample_order_invariance",
    "check_methods_subset_invariance", "check_n_features_in", "check_readonly_memmap_input",
    "check_transformer_general",
]  # fmt: skip


@pytest.mark.parametrize("name", [name for name in ON_FRAMES if hasattr(checks, name)])
def test_it_passes_the_checks_of_estimators_on_frames(name):
    getattr(checks, name)("OnFrames", OnFrames(**QUICK))


TABLE = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 3)) @ np.ones((3, 3)), columns=["a", "b", "c"])
HOLES = TABLE.mask(np.random.default_rng(1).random(TABLE.shape) < 0.2)
EMPTY = HOLES.assign(d=np.nan)[["a", "d", "b", "c"]]


@pytest.mark.parametrize("add_indicator", [False, True])
@pytest.mark.parametrize("keep_empty_features", [False, True])
@pytest.mark.parametrize("frame", [False, True])
def test_names_shape_warning_and_indicators_are_those_of_simple_imputer(frame, keep_empty_features, add_indicator):
    options = {"keep_empty_features": keep_empty_features, "add_indicator": add_indicator}
    x = EMPTY if frame else EMPTY.to_numpy()
    mine, simple = CVAEImputer(**QUICK, **options).fit(x), SimpleImputer(**options).fit(x)
    assert list(mine.get_feature_names_out()) == list(simple.get_feature_names_out())
    if keep_empty_features:
        filled, expected = mine.transform(x), simple.transform(x)
        assert (np.asarray(filled)[:, 1] == 0).all()
    else:
        with pytest.warns(UserWarning, match="Skipping features without any observed values"):
            expected = simple.transform(x)
        with pytest.warns(UserWarning, match=r"Skipping features without any observed values: \['(d|x1)'\]"):
            filled = mine.transform(x)
    assert filled.shape == expected.shape
    if add_indicator:
        assert (np.asarray(filled, dtype=float)[:, -3:] == expected[:, -3:]).all()
    if frame:
        assert list(filled.columns) == list(mine.get_feature_names_out())
    completed = mine.complete(x)
    assert completed.point.shape == (40, 4 if keep_empty_features else 3)
    assert not np.isnan(completed.point).any()


@pytest.mark.filterwarnings("ignore:Skipping features")
def test_a_table_without_any_cell_comes_back_without_columns_or_as_zeros():
    x = np.full((3, 2), np.nan)
    assert CVAEImputer(**QUICK).fit_transform(x).shape == (3, 0)
    assert (CVAEImputer(**QUICK, keep_empty_features=True).fit_transform(x) == 0).all()


@pytest.mark.filterwarnings("ignore:Skipping features")
def test_a_fold_of_a_cross_validation_in_which_a_column_is_empty_does_not_stop_it():
    x, y = HOLES.to_numpy().copy(), np.arange(40) % 2
    x[:20, 1] = np.nan
    pipeline = make_pipeline(CVAEImputer(**QUICK), LogisticRegression())
    assert np.isfinite(cross_val_score(pipeline, x, y, cv=KFold(2), error_score="raise")).all()


@pytest.fixture(scope="module")
def expected():
    return CVAEImputer(**QUICK).fit_transform(HOLES)


@pytest.mark.parametrize("marker", [-1, None, pd.NA, "?"])
def test_any_marker_of_missing_cells_gives_the_same_imputation(marker, expected):
    marked = HOLES.astype(object).where(HOLES.notna(), marker)
    if isinstance(marker, int):
        marked = marked.astype(float)
    for x in (marked, marked.to_numpy()):
        filled = CVAEImputer(**QUICK, missing_values=marker).fit_transform(x)
        assert type(filled) is type(x)
        assert (np.asarray(filled, dtype=float) == expected.to_numpy()).all()


def test_a_marker_that_is_a_category_is_never_imputed():
    table = HOLES.assign(g=pd.Categorical(np.where(TABLE["a"] > 0, "high", "?")))
    filled = CVAEImputer(**QUICK, missing_values="?").fit_transform(table.assign(a=1.0, b=TABLE["b"], c=2.0))
    assert set(filled["g"]) == {"high"}


def test_an_empty_cell_beside_another_marker_is_named():
    with pytest.raises(ValueError, match=r"Input X contains NaN in row 3, column b, but missing_values is -1"):
        CVAEImputer(**QUICK, missing_values=-1).fit(TABLE.mask((TABLE.index == 2)[:, None] & (TABLE.columns == "b")))


def test_frames_and_arrays_are_read_by_position_with_the_warnings_of_scikit_learn():
    of_frame, of_array = CVAEImputer(**QUICK).fit(HOLES), CVAEImputer(**QUICK).fit(HOLES.to_numpy())
    with pytest.warns(UserWarning, match="X does not have valid feature names, but CVAEImputer was fitted with"):
        array = of_frame.transform(HOLES.to_numpy())
    with pytest.warns(UserWarning, match="X has feature names, but CVAEImputer was fitted without"):
        frame = of_array.transform(HOLES)
    assert isinstance(array, np.ndarray)
    assert list(frame.columns) == ["a", "b", "c"]
    assert np.array_equal(array, frame.to_numpy())


@pytest.mark.parametrize(
    "options",
    [
        {"members": 0}, {"latent_dim": 0}, {"hidden": 0}, {"samples": 0}, {"max_steps": -1}, {"learning_rate": 0},
        {"batch_size": 0}, {"patience": 0}, {"held_out": 1.0}, {"proposals": 0}, {"draws": 1}, {"unseen": "drop"},
        {"add_indicator": "yes"}, {"keep_empty_features": 2}, {"missing_values": [1]}, {"random_state": "a"},
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_refused_by_name(options):
    (name,) = options
    with pytest.raises(InvalidParameterError, match=f"The '{name}' parameter of CVAEImputer must be"):
        CVAEImputer(**QUICK | options).fit(HOLES)


@pytest.mark.parametrize("x", [HOLES, HOLES.to_numpy()])
@pytest.mark.parametrize(("low", "high"), [(0.2, 0.5), ([-0.1, 0.2, 0.0], [0.1, np.inf, 0.3])])
def test_imputations_and_intervals_stay_within_the_bounds(x, low, high):
    imputer = CVAEImputer(**QUICK, min_value=low, max_value=high).fit(x)
    holes = HOLES.isna().to_numpy()
    completed = imputer.complete(x)
    for part in (imputer.transform(x), *imputer.impute(x, 3), completed.point, completed.low, completed.high):
        assert ((np.asarray(part) >= low) & (np.asarray(part) <= high))[holes].all()
    assert completed.point[~holes] == pytest.approx(TABLE.to_numpy()[~holes], rel=1e-5, abs=1e-5)  # observed ones stay


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_value": 2, "max_value": 1}, "min_value >= max_value"),
        ({"max_value": [1, 2]}, r"'max_value' should be of shape \(3,\)"),
        ({"columns": ["z"]}, "columns names 'z', which X lacks; it has a, b, c"),
        ({"columns": [3]}, "columns names 3"),
    ],
)
def test_bounds_and_columns_that_do_not_fit_the_table_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        CVAEImputer(**QUICK, **options).fit(HOLES)


@pytest.mark.parametrize(("x", "columns"), [(HOLES, ["b"]), (HOLES, [1]), (HOLES.to_numpy(), [1])])
def test_only_the_chosen_columns_are_filled_and_the_others_predict(x, columns):
    every = CVAEImputer(**QUICK).fit(x)
    imputer = CVAEImputer(**QUICK, columns=columns).fit(x)
    filled, completed = np.asarray(imputer.transform(x)), imputer.complete(x).point
    assert filled[:, 1] == pytest.approx(np.asarray(every.transform(x))[:, 1], rel=1e-4, abs=1e-4)
    assert np.array_equal(filled[:, [0, 2]], HOLES[["a", "c"]].to_numpy(), equal_nan=True)
    assert np.array_equal(np.isnan(completed), np.isnan(filled))


def test_a_category_that_fit_did_not_see_is_an_error_or_stays_and_says_nothing():
    table = HOLES.assign(g=np.where(TABLE["a"] > 0, "high", "low"))
    strange = table.assign(g=["new", *table["g"][1:]])
    with pytest.raises(ValueError, match=r"row 1, column g: 'new' was not seen in training; the values are high, low"):
        CVAEImputer(**QUICK).fit(table).transform(strange)
    imputer = CVAEImputer(**QUICK, unseen="missing").fit(table)
    with pytest.warns(UserWarning, match=r"row 1, column g: 'new' was not seen in training"):
        filled = imputer.transform(strange)
    assert filled["g"][0] == "new"
    nothing = imputer.transform(table.assign(g=[None, *table["g"][1:]]))
    assert filled[["a", "b", "c"]].equals(nothing[["a", "b", "c"]])


def test_set_output_wraps_an_array_with_the_names_that_come_out():
    imputer = CVAEImputer(**QUICK, add_indicator=True).set_output(transform="pandas").fit(HOLES.to_numpy())
    names = ["x0", "x1", "x2", "missingindicator_x0", "missingindicator_x1", "missingindicator_x2"]
    assert list(imputer.transform(HOLES.to_numpy()).columns) == names
