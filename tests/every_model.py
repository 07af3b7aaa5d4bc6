"""A small model of every modality and prior, with random weights."""

from common.conditions.attributes import Categorical, Continuous
from common.distributions.flows import FlowPrior
from common.distributions.likelihoods import DiscretizedLogistic
from common.distributions.priors import VampPrior
from modalities.audio.networks.prior import SequencePrior
from modalities.image import AttributeEncoder, ImageCVAE, ObservedPixelsEncoder
from modalities.image.networks import MLP, ResidualConv
from modalities.text import StyleEncoder, TextStyleCVAE
from modalities.text.condition import SentenceReader
from modalities.text.networks.architectures import Compact
from modalities.text.tokenizer import Tokenizer
from tests.audio.models import perturb, small_model
from tests.tabular.models import conditional

TONES = {"style": Categorical(["plain", "old"])}
TEXTS = ["in the beginning", "and the earth was without form", "let there be light"]
SIZES = {"width": 16, "heads": 2, "encoder_layers": 1, "decoder_layers": 1}


def image(prior=None, encoder=AttributeEncoder, **options):
    """Small pictures with a category and a number as conditions, random weights everywhere."""
    attributes = {"kind": Categorical(["a", "b", "c"]), "age": Continuous(30.0, 10.0, 1.0, 90.0)}
    sizes = {"latent_dim": 4, "architecture": MLP([16]), "shape": (1, 8, 8)}
    condition = encoder(attributes, dim=4, **({} if encoder is AttributeEncoder else {"shape": (1, 8, 8)}))
    return perturb(ImageCVAE(condition, prior=prior or FlowPrior(2, 8), **(sizes | options)))


def text(encoder=StyleEncoder, condition=None, architecture=None, **options):
    """Sentences of at most 12 tokens."""
    tokenizer = Tokenizer.train(TEXTS, 270)
    style = encoder(TONES, tokenizer, dim=4, length=12, **(condition or {}))
    architecture = Compact(**SIZES, **(architecture or {}))
    return perturb(TextStyleCVAE(style, tokenizer, 12, 6, vectors=3, architecture=architecture, **options), 0.1)


MODELS = {
    "pictures": image,
    "pictures, mixture": lambda: image(VampPrior(5)),
    "pictures, convolutions": lambda: image(
        architecture=ResidualConv([4, 8], [0, 1], 16), likelihood=DiscretizedLogistic(8)
    ),
    "pictures, observed pixels": lambda: image(encoder=ObservedPixelsEncoder),
    "text": text,
    "text, language model": lambda: text(latent=False),
    "text, copied words": lambda: text(stride=4, architecture={"copy_latent": True, "latent_layers": 1}),
    "text, source and exemplar": lambda: text(
        condition={"source": SentenceReader(8, 2, 1), "exemplar": SentenceReader(8, 2, 1)}
    ),
    "audio": lambda: perturb(small_model(prior=SequencePrior(4, 8, 2, 8))),
    "table": conditional,
}
