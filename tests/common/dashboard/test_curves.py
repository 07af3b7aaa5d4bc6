import numpy as np
import pytest

from common.dashboard.curves import Curve, ordered, points_each, read_curves, rounded, shown_first


def test_metrics_are_read_by_step_and_epoch_and_learning_rates_take_the_epoch_of_the_next_row(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text(
        "epoch,lr,step,train/loss,test/nll\n,0.1,4,,\n0,,4,2.5,\n,0.2,9,,\n1,,9,nan,\n1,,12,inf,90\n2,,14,1.5,\n"
    )
    curves = read_curves(path)
    assert set(curves) == {"lr", "train/loss"}
    assert curves["train/loss"].step.tolist() == [4, 14]
    assert curves["train/loss"].epoch.tolist() == [0, 2]
    assert curves["train/loss"].value.tolist() == [2.5, 1.5]
    assert curves["lr"].epoch.tolist() == [0, 1]


def test_a_line_that_is_half_written_or_no_number_costs_no_other(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,loss\n0,1,3.5\n0,2,oops\n0,3,1,2,3,4\n0,4,2.5\n0,5")
    assert read_curves(path)["loss"].value.tolist() == [3.5, 2.5]


def test_a_file_without_steps_is_refused(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="has no column step"):
        read_curves(path)


def test_a_thinned_curve_keeps_its_ends_and_its_extremes():
    values = np.sin(np.arange(100_000) / 900)
    values[12_345], values[67_890] = 9.0, -9.0
    steps = np.arange(100_000)
    thin = Curve(steps, steps // 100, values).thinned(200)
    assert len(thin.value) <= 200
    assert (thin.value.max(), thin.value.min()) == (9.0, -9.0)
    assert (thin.step[0], thin.step[-1]) == (0, 99_999)
    assert (np.diff(thin.step) > 0).all()
    assert (thin.value == values[thin.step]).all()


def test_the_elbo_and_its_terms_come_first_and_those_of_training_stand_in_for_validation():
    metrics = {"lr-Adam", "train/loss", "train/elbo", "val/elbo", "val/kl", "val/active_units"}
    assert ordered(metrics) == ["val/elbo", "val/kl", "train/elbo", "train/loss", "lr-Adam", "val/active_units"]
    assert shown_first(metrics) == ["val/elbo", "val/kl", "train/loss"]
    assert shown_first({"b", "a"}) == ["a", "b"]


def test_all_curves_of_a_page_share_a_bound_of_points():
    assert points_each(10) == 1000
    assert points_each(400) == 300
    assert points_each(10**6) == 50


def test_numbers_have_six_digits():
    assert rounded(np.array([3.0, 0.123456789, -1234567.25])) == [3, 0.123457, -1.23457e06]
