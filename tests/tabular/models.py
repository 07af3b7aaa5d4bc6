"""Small tables and models that several tests share."""

import torch

from common.batch import Batch
from common.conditions.attributes import OBSERVED
from common.distributions.priors import ConditionalNormal
from common.objectives.objectives import IWAE
from modalities.tabular import ObservedCellsEncoder, TabularCVAE
from modalities.tabular.columns import encode_table
from modalities.tabular.data.masks import mcar
from modalities.tabular.data.tables import synthetic
from modalities.tabular.schema import fit_columns

TABLE = synthetic(300)
COLUMNS = fit_columns(TABLE)
CELLS = torch.from_numpy(encode_table(TABLE, COLUMNS))
NAN = float("nan")


def conditional(**options):
    """A model with a learned prior, at its linear start."""
    torch.manual_seed(0)
    prior = ConditionalNormal(16)
    model = TabularCVAE(ObservedCellsEncoder(COLUMNS, 16), COLUMNS, latent_dim=3, hidden=32, prior=prior, **options)
    model.start(CELLS)
    return model.eval()


def miwae(**options):
    """A model with nothing given, at its linear start."""
    torch.manual_seed(0)
    condition = ObservedCellsEncoder(COLUMNS, show=False)
    model = TabularCVAE(condition, COLUMNS, latent_dim=3, hidden=32, objective=IWAE(num_samples=5), **options)
    model.start(CELLS)
    return model.eval()


def half_hidden(rows=20, seed=0):
    """Rows of the table with half of their cells observed, as a test batch."""
    hidden = torch.from_numpy(mcar((rows, len(COLUMNS)), 0.5, seed))
    x = CELLS[:rows]
    return Batch(x, {OBSERVED: x.masked_fill(hidden, NAN)}, torch.ones_like(hidden), torch.arange(rows))
