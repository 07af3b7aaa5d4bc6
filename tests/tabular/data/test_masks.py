import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modalities.tabular.data.masks import hide, mar, mcar, mnar

X = np.random.default_rng(0).standard_normal((2000, 6)) @ np.random.default_rng(1).standard_normal((6, 6))


@given(st.integers(1, 60), st.integers(1, 20), st.floats(0, 0.99), st.integers(0, 1000))
def test_mcar_hides_exactly_the_share_and_depends_on_shape_and_seed_alone(rows, columns, rate, seed):
    hidden = mcar((rows, columns), rate, seed)
    assert hidden.sum() == int(rows * columns * rate)
    assert (hidden == mcar((rows, columns), rate, seed)).all()


@pytest.mark.parametrize("mechanism", ["mcar", "mar", "mnar"])
def test_the_same_seed_hides_the_same_cells_and_another_seed_others(mechanism):
    assert (hide(X, mechanism, 0.3, 1) == hide(X, mechanism, 0.3, 1)).all()
    assert (hide(X, mechanism, 0.3, 1) != hide(X, mechanism, 0.3, 2)).any()


def test_mar_looks_at_columns_that_stay_and_at_nothing_hidden():
    hidden = mar(X, 0.4, 0)
    touched = hidden.any(0)
    assert touched.sum() == 3
    assert hidden[:, touched].mean() == pytest.approx(0.4, abs=0.03)
    changed = np.where(touched, X + 100 * hidden, X)  # other values in the hidden cells: the same mask
    assert (mar(changed, 0.4, 0) == hidden).all()


def test_mnar_hides_large_values_at_the_asked_rate():
    hidden = mnar(X, 0.4, 0)
    assert hidden.mean(0) == pytest.approx([0.4] * 6, abs=0.04)
    assert (np.where(hidden, X, np.nan)[:, 0][hidden[:, 0]].mean()) > X[:, 0].mean() + 0.3 * X[:, 0].std()


def test_a_rate_of_one_is_refused():
    with pytest.raises(ValueError, match="rate must be in"):
        hide(X, "mcar", 1.0, 0)
