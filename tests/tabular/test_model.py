import pytest
import torch

from common.conditions.attributes import OBSERVED
from common.training.module import ConditionalELBO
from modalities.tabular.files import TableFormat, as_frame
from modalities.tabular.imputation.sampling import impute_blocks, impute_rows, masked_log_likelihood, with_intervals
from modalities.tabular.networks.factor_analysis import FactorAnalysis
from tests.tabular.models import CELLS, COLUMNS, NAN, TABLE, conditional, half_hidden, miwae

BOTH = pytest.mark.parametrize("make", [conditional, miwae])


@BOTH
def test_hidden_cells_change_nothing(make):
    model, batch = make(), half_hidden()
    observed = batch.condition[OBSERVED]
    mask = ~observed.isnan()
    found = []
    for hidden in (0.0, 1e3, NAN):
        shown = batch.replace(x=torch.where(mask, batch.x, hidden), mask=mask)
        torch.manual_seed(1)
        parts = [model.draws(shown, 2, seed=0).log_weights(), model.log_likelihood(shown, 10)]
        parts.append(model.impute(shown, 3, draw=True))
        found.append([part.detach() for part in parts])
    for other in found[1:]:
        for first, second in zip(found[0], other, strict=True):
            assert torch.equal(first, second)


@BOTH
def test_imputation_repeats_observed_cells_and_fills_the_others(make):
    model, batch = make(), half_hidden()
    observed = batch.condition[OBSERVED]
    mask = ~observed.isnan()
    imputation = impute_rows([model], observed, num_draws=4)
    filled = [imputation.point, *imputation.draws, *model.impute(batch.replace(mask=mask), 2)]
    for rows in filled:
        assert torch.equal(rows[mask], batch.x[mask])
        assert rows.isfinite().all()
    assert (imputation.confidence[mask] == 1).all()


@BOTH
def test_intervals_of_blocks_are_those_of_all_draws_of_which_few_are_kept(make, monkeypatch):
    model, observed = make(), half_hidden().condition[OBSERVED]
    monkeypatch.setattr("modalities.tabular.imputation.sampling.CELLS", 6 * model.likelihood.size * 20)
    blocks = list(impute_blocks([model], observed, 20, 50, 0))
    assert [len(block.point) for block in blocks] == [6, 6, 6, 2]
    whole = impute_rows([model], observed, 20, 50, 0)
    imputation, low, high = with_intervals(blocks, 0.8, model.columns, 1.5, kept=3)
    assert torch.equal(imputation.draws, whole.draws[:3])
    assert torch.equal(imputation.point, whole.point)
    for end, expected in zip((low, high), whole.interval(0.8, model.columns, 1.5), strict=True):
        assert torch.equal(end, expected)


def test_the_elbo_of_the_conditional_model_counts_hidden_cells_alone():
    model, batch = conditional(), half_hidden()
    everything = batch.replace(condition={OBSERVED: batch.x})
    assert model.draws(everything, 1, seed=0).log_likelihood.abs().max() == 0
    terms = model.draws(batch, 1, seed=0)
    values = model.decode(terms.z, model.embed(batch)).base_dist.log_prob(batch.x)
    assert (values[0][~batch.condition[OBSERVED].isnan()] == 0).all()


@BOTH
def test_the_condition_keeps_the_observed_cells_themselves_where_they_are_shown(make):
    model, batch = make(), half_hidden()
    observed = batch.condition[OBSERVED]
    c, nothing = model.embed(batch), model.condition({})
    assert len(c) == 20
    assert c.source is None
    if make is conditional:
        assert c.vector.shape == (20, 16)
        assert c.observed.dtype == observed.dtype == torch.float32
        assert c.observed.isnan().float().mean().item() == pytest.approx(0.5, abs=0.01)
        assert torch.equal(c.observed.nan_to_num(nan=-99.0), observed.nan_to_num(nan=-99.0))  # bit by bit
        assert nothing.observed.shape == (1, len(COLUMNS))
        assert nothing.observed.isnan().all()
    else:
        assert c.vector.shape == (20, 0)
        assert c.observed is None
        assert nothing.observed is None


def test_the_decoder_remembers_what_is_observed_beside_z():
    """Skip memory: z alike, another observed cell moves the prediction of hidden ones; MIWAE has no such path."""
    row = CELLS[:1].masked_fill(torch.arange(len(COLUMNS)) > 0, NAN)
    z = torch.zeros(1, 3)
    for model, remembers in ((conditional(), True), (miwae(), False)):
        predicted = [model.decode(z, model.condition({OBSERVED: cells})).mean[0, 1:] for cells in (row, row + 1)]
        assert torch.equal(*predicted) != remembers


def test_before_training_the_prior_is_the_exact_posterior_of_factor_analysis():
    model, batch = conditional(), half_hidden()
    values, known = model.features(CELLS)
    solution = FactorAnalysis.fit(values, known, 3)
    values, known = model.features(batch.condition[OBSERVED])
    mean, covariance = solution.posterior(values.double(), known)
    prior = model.prior(model.embed(batch)).base_dist
    assert torch.allclose(prior.loc.double(), mean, atol=1e-3)
    assert torch.allclose(prior.scale.double(), covariance.diagonal(dim1=1, dim2=2).sqrt(), atol=1e-3)


def test_a_row_with_nothing_observed_has_the_standard_normal_as_prior():
    prior = conditional().prior(conditional().condition({})).base_dist
    assert prior.loc.abs().max() < 1e-5
    assert torch.allclose(prior.scale, torch.ones(1, 3), atol=1e-5)


def test_importance_sampling_of_the_two_models_agrees_with_factor_analysis_on_gaussian_columns():
    """Linear Gaussian columns without networks: log p(hidden | observed) is known in closed form."""
    from common.objectives.objectives import ELBO
    from modalities.tabular import ObservedCellsEncoder, TabularCVAE
    from modalities.tabular.columns import Column

    columns = [Column(str(n), "continuous", "gaussian") for n in range(5)]
    x = torch.randn(200, 2) @ torch.randn(2, 5) + 0.5 * torch.randn(200, 5)
    everything = torch.ones_like(x, dtype=torch.bool)
    solution = FactorAnalysis.fit(x, everything, 2)
    batch = half_hidden()[slice(0, 10)]
    observed = torch.where(torch.arange(5) < 3, x[:10], NAN)
    batch = batch.replace(x=x[:10], condition={OBSERVED: observed}, mask=torch.ones(10, 5, dtype=torch.bool))
    known = ~observed.isnan()
    exact = solution.log_likelihood(x[:10], everything[:10]) - solution.log_likelihood(x[:10], known)
    for show in (False, True):
        model = TabularCVAE(ObservedCellsEncoder(columns, 8, show), columns, 2, 8, objective=ELBO()).eval()
        model.take(solution)
        for network in (model.encoder.network, model.decoder.network):
            torch.nn.init.zeros_(network.layers[-1].weight)
        found = masked_log_likelihood(model, batch, 5000).double()
        if (
            show
        ):  # p(z | observed) is cut down to its diagonal: a lower predictive likelihood on average, not an equal one
            assert (found.mean() - exact.mean()).abs() < 0.3
        else:
            assert found.tolist() == pytest.approx(exact.tolist(), abs=0.1)


def test_a_batch_is_scored_alike_whole_and_in_parts():
    model, batch = conditional(), half_hidden()
    whole = model.log_likelihood(batch, 20)
    parts = torch.cat([model.log_likelihood(batch[slice(i, i + 5)], 20) for i in range(0, 20, 5)])
    assert torch.allclose(whole, parts, atol=1e-4)


@BOTH
def test_the_checkpoint_alone_rebuilds_the_model(make, tmp_path):
    model, batch = make(), half_hidden()
    checkpoint = {"state_dict": model.state_dict()}
    model.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, tmp_path / "model.ckpt")
    again = ConditionalELBO.load_from_checkpoint(tmp_path / "model.ckpt")
    assert again.columns == COLUMNS
    assert torch.equal(again.log_likelihood(batch, 5), model.log_likelihood(batch, 5))
    observed = batch.condition[OBSERVED]
    assert torch.equal(impute_rows([again], observed).draws, impute_rows([model], observed).draws)


def test_generated_rows_repeat_what_a_person_asks_for_and_are_written_as_a_table(tmp_path):
    model = conditional()
    rows = model.sample(model.condition.parse({"group": "east", "visits": "3"}), 5, draw=True)[:, 0]
    frame = as_frame(model, rows)
    assert (frame["group"] == "east").all()
    assert (frame["visits"] == 3).all()
    assert list(frame.columns) == list(TABLE.columns)
    TableFormat().write(model, rows, tmp_path / "rows.csv")
    assert torch.allclose(TableFormat().read(model, tmp_path / "rows.csv"), rows, rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match="'west' was not seen"):
        model.condition.parse({"group": "west"})


@BOTH
def test_training_improves_the_bound_on_rows_it_has_seen(make):
    model = make().train()
    batch = half_hidden(200)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    before = model.draws(batch, 5, seed=0).terms().elbo.mean().item()
    for _ in range(60):
        optimizer.zero_grad()
        (-model.draws(batch, 1).terms().elbo.mean()).backward()
        optimizer.step()
    assert model.draws(batch, 5, seed=0).terms().elbo.mean().item() > before + 0.3
