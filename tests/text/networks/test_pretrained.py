"""Networks from pretrained models: tiny ones with random weights, saved to a folder as transformers does."""

import logging
import math
import shutil

import pytest
import torch
from tokenizers import Tokenizer as Backend
from tokenizers import models
from tokenizers.pre_tokenizers import ByteLevel
from torch.distributions import Normal
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)
from transformers.utils.logging import disable_progress_bar

from common.batch import Batch
from common.conditions.attributes import Categorical
from common.conditions.condition import Source
from common.training.checkpoint import description
from common.training.module import ConditionalELBO
from modalities.text import StyleEncoder, TextStyleCVAE
from modalities.text.condition import SentenceReader
from modalities.text.likelihood import TokenSequence
from modalities.text.networks.architectures import Compact, DecoderSizes
from modalities.text.networks.context import KeyValueCache
from modalities.text.networks.pretrained import Pretrained
from modalities.text.tokenizer import Tokenizer

TEXTS = ["In the beginning was the word.", "And God saw the light, that it was good.", "Go out from here!", "He wept."]
LENGTH = 24
SIZES = DecoderSizes(length=LENGTH, vectors=2, vector_dim=3, condition_dim=5, source_dim=7)

disable_progress_bar()
logging.getLogger("transformers").setLevel(logging.ERROR)


def small(config, **others):
    """32 wide, 2 layers; no dropout."""
    return config(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=64, **others)


MODELS = {
    "bert": lambda size: BertModel(
        small(BertConfig, vocab_size=size, intermediate_size=64, hidden_dropout_prob=0, attention_probs_dropout_prob=0)
    ),
    "gpt2": lambda size: GPT2LMHeadModel(
        small(GPT2Config, vocab_size=size, bos_token_id=0, eos_token_id=0, embd_pdrop=0, attn_pdrop=0, resid_pdrop=0)
    ),
    # Two heads of keys and values for four of queries, of a size that is not width / heads.
    "llama": lambda size: LlamaForCausalLM(
        small(LlamaConfig, vocab_size=size, intermediate_size=64, num_key_value_heads=2, head_dim=12)
    ),
}


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(TEXTS, 300)


@pytest.fixture
def folder(tmp_path, tokenizer):
    """A folder for each model, with the tokenizer that belongs to it."""
    for name, build in MODELS.items():
        model = build(len(tokenizer))
        with torch.no_grad():  # far enough from zero for differences to show
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        model.save_pretrained(tmp_path / name)
        own = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend, pad_token="<pad>", eos_token="</s>")
        own.save_pretrained(tmp_path / name)
    return tmp_path


@pytest.fixture(params=["gpt2", "llama"])
def architecture(request, folder):
    return Pretrained(str(folder / "bert"), str(folder / request.param))


def cvae(architecture, tokenizer, **arguments):
    attributes = {"style": Categorical(["old", "new"])}
    return TextStyleCVAE(StyleEncoder(attributes, tokenizer, dim=8), tokenizer, LENGTH, 4, 2, architecture=architecture,
                         **arguments)  # fmt: skip


def sentences(tokenizer):
    return Batch(tokenizer.rows(TEXTS), {"style": torch.tensor([0, 0, 1, 1])})


def knowledge(rows=4, source=False, tokenizer=None):
    """Arguments of `context`."""
    known = {"z": torch.randn(rows, 2, 3), "c": torch.randn(rows, 5)}
    if source:
        tokens = tokenizer.rows(TEXTS[:rows]).long()
        known["source"] = Source(torch.randn(*tokens.shape, 7), tokens)
    return known


@torch.no_grad()
def test_padding_changes_no_log_probability(architecture, tokenizer):
    model = cvae(architecture, tokenizer).eval()
    batch = sentences(tokenizer)
    c, z = model.embed(batch), torch.randn(3, 4, 4)
    wide = tokenizer.rows(TEXTS, LENGTH)
    torch.testing.assert_close(model.decode(z, c).log_prob(batch.x), model.decode(z, c).log_prob(wide))
    torch.testing.assert_close(model.encode(batch.x, c).mean, model.encode(wide, c).mean)
    alone = model.decode(z[:, 3:], model.embed(batch[slice(3, 4)])).log_prob(tokenizer.rows(TEXTS[3:]))
    torch.testing.assert_close(model.decode(z, c).log_prob(batch.x)[:, 3:], alone)


@torch.no_grad()
def test_without_a_memory_it_is_the_pretrained_model_itself(architecture, tokenizer):
    decoder = architecture.decoder(tokenizer, SIZES).eval()
    tokens, context = tokenizer.rows(TEXTS).long(), decoder.context(**knowledge())
    context.prefix = [(keys[:, :, :0], values[:, :, :0]) for keys, values in context.prefix]
    logits = AutoModelForCausalLM.from_pretrained(architecture.decoder_model)(tokens).logits
    logits[..., tokenizer.special] = float("-inf")  # no sentence holds them
    words = [token for token in range(len(tokenizer)) if token not in tokenizer.special]
    own = logits.log_softmax(-1)[..., words]
    torch.testing.assert_close(decoder(tokens, context)[..., words], own, atol=1e-5, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("source", [False, True])
def test_cached_decoding_equals_full_decoding(architecture, tokenizer, source):
    decoder = architecture.decoder(tokenizer, SIZES).eval()
    tokens = tokenizer.rows(TEXTS).long()
    context = decoder.context(**knowledge(source=source, tokenizer=tokenizer))
    full = decoder(tokens, context)
    assert full.shape == (*tokens.shape, len(tokenizer))
    assert full.dtype == torch.float32
    torch.testing.assert_close(full.logsumexp(-1), torch.zeros(tokens.shape))
    cache = KeyValueCache()
    steps = [decoder(tokens[:, :3], context, cache)]
    steps += [decoder(tokens[:, t : t + 1], context, cache) for t in range(3, tokens.shape[1])]
    torch.testing.assert_close(torch.cat(steps, 1), full, atol=1e-5, rtol=1e-4)
    assert cache.layers[0][0].shape[2] == tokens.shape[1]  # no prefix among them


@torch.no_grad()
def test_a_cache_follows_the_rows_that_a_search_keeps(architecture, tokenizer):
    decoder = architecture.decoder(tokenizer, SIZES).eval()
    tokens, order = tokenizer.rows(TEXTS).long(), torch.tensor([2, 2, 0])
    context, cache = decoder.context(**knowledge()), KeyValueCache()
    decoder(tokens[:, :4], context, cache)
    cache.select(order)
    step = decoder(tokens[order, 4:5], context[order], cache)
    torch.testing.assert_close(step, decoder(tokens[order, :5], context[order])[:, 4:], atol=1e-5, rtol=1e-4)
    wide = TokenSequence(decoder, context, (4,), tokenizer)
    assert torch.equal(wide.beam(1), wide.mode)


def test_latent_condition_and_source_reach_every_token(architecture, tokenizer):
    decoder = architecture.decoder(tokenizer, SIZES)
    tokens, known = tokenizer.rows(TEXTS).long(), knowledge(source=True, tokenizer=tokenizer)
    source = known["source"]
    reached = [value.requires_grad_() for value in (known["z"], known["c"], source.states)]
    before = decoder(tokens, decoder.context(**known))
    gradients = torch.autograd.grad(before[:, -1, 5].sum(), reached)
    real = source.tokens != tokenizer.pad
    assert all(gradient.flatten(1).any(1).all() for gradient in gradients)
    assert torch.equal(gradients[2].any(-1), real)
    with torch.no_grad():
        moved = {"z": known["z"] + 1.0, "c": known["c"] + 1.0, "source": Source(source.states + 1.0, source.tokens)}
        for name, value in moved.items():
            after = decoder(tokens, decoder.context(**{**known, name: value}))
            assert (after - before).abs().amax((1, 2)).gt(1e-3).all(), name
        without = decoder(tokens, decoder.context(None, known["c"]))
        assert not torch.allclose(without, before)


@torch.no_grad()
def test_padding_of_a_source_changes_nothing(architecture, tokenizer):
    decoder = architecture.decoder(tokenizer, SIZES).eval()
    tokens, known = tokenizer.rows(TEXTS).long(), knowledge(source=True, tokenizer=tokenizer)
    before = decoder(tokens, decoder.context(**known))
    source = known["source"]
    padded = torch.nn.functional.pad(source.tokens, (0, 5), value=tokenizer.pad)
    longer = {"source": Source(torch.cat([source.states, torch.randn(4, 5, 7)], 1), padded)}
    torch.testing.assert_close(decoder(tokens, decoder.context(**known | longer)), before, atol=1e-5, rtol=1e-4)
    # A source of padding alone is none, and shifts no position.
    source.tokens.fill_(tokenizer.pad)
    without = decoder(tokens, decoder.context(known["z"], known["c"]))
    torch.testing.assert_close(decoder(tokens, decoder.context(**known)), without, atol=1e-5, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("compact", [True, False])
def test_importance_samples_share_the_source(architecture, tokenizer, compact):
    decoder = (Compact(width=32, dropout=0.0) if compact else architecture).decoder(tokenizer, SIZES).eval()
    known = knowledge(source=True, tokenizer=tokenizer)
    z, tokens = torch.randn(3, 4, 2, 3), tokenizer.rows(TEXTS).long()
    each = [decoder(tokens, decoder.context(**known | {"z": sample})) for sample in z]
    together = decoder.context(z.flatten(0, 1), known["c"].repeat(3, 1), known["source"])
    torch.testing.assert_close(decoder(tokens.repeat(3, 1), together), torch.cat(each), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_translation_is_scored_with_several_importance_samples(architecture, tokenizer):
    reader = SentenceReader(width=16, heads=2, layers=1)
    condition = StyleEncoder({"style": Categorical(["old", "new"])}, tokenizer, 8, source=reader, length=LENGTH)
    model = TextStyleCVAE(condition, tokenizer, LENGTH, 4, architecture=architecture).eval()
    batch = sentences(tokenizer)
    batch.condition["source"] = batch.x.flip(0)
    samples = model.draws(batch, 3, seed=0)
    alone = torch.stack([model.decode(z, samples.condition).log_prob(batch.x) for z in samples.z])
    weights = alone + Normal(0.0, 1.0).log_prob(samples.z).sum(-1) - samples.posterior.log_prob(samples.z)
    found = model.log_likelihood(batch, 3)
    torch.testing.assert_close(found, weights.logsumexp(0) - math.log(3), atol=1e-3, rtol=1e-5)
    words = len(tokenizer) - len(tokenizer.special)  # at random weights, about as likely as any other sentence
    assert (-found / model.lengths(batch.x)).tolist() == pytest.approx([math.log(words)] * 4, rel=0.3)
    other = batch.replace(condition={**batch.condition, "source": batch.x})
    assert (model.log_likelihood(other, 3) - found).abs().min() > 1e-3  # the source counts
    labels, opposite = {"style": batch.condition["style"]}, {"style": 1 - batch.condition["style"]}
    translated = model.transfer(Batch(batch.x, labels), opposite)
    assert translated.shape == (4, LENGTH)
    assert torch.equal(translated, model.sample({**opposite, "source": batch.x}, temperature=0.0, draw=False)[0])


def test_it_learns(architecture, tokenizer):
    model = cvae(architecture, tokenizer).train()
    batch, losses = sentences(tokenizer), []
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(15):
        loss = -model.elbo(batch).elbo.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
    idle = [name for name, value in model.named_parameters() if value.requires_grad and value.grad is None]
    assert idle == []  # distributed training refuses them


def test_frozen_models_train_what_is_added_to_them(folder, tokenizer):
    model = cvae(Pretrained(str(folder / "bert"), str(folder / "gpt2"), freeze=True), tokenizer)
    model.elbo(sentences(tokenizer)).elbo.sum().backward()
    trained = {name for name, value in model.named_parameters() if value.grad is not None}
    assert not [name for name in trained if ".model." in name]
    assert {"decoder.latent_prefix.weight", "decoder.slots", "encoder.condition.weight"} <= trained


@torch.no_grad()
def test_a_checkpoint_alone_rebuilds_the_model(architecture, folder, tokenizer, tmp_path):
    model = cvae(architecture, tokenizer).eval()
    path = tmp_path / "model.ckpt"
    torch.save({"state_dict": model.state_dict(), **description(model)}, path)
    for name in MODELS:
        shutil.rmtree(folder / name)
    again = ConditionalELBO.load_from_checkpoint(path)
    assert isinstance(again, TextStyleCVAE)
    batch = sentences(tokenizer)
    torch.testing.assert_close(again.log_likelihood(batch, 5), model.log_likelihood(batch, 5), atol=0, rtol=0)
    written = again.sample({"style": torch.tensor([0])}, 3)
    assert written.shape == (3, 1, LENGTH)
    assert all(isinstance(text, str) for text in again.texts(written[:, 0]))
    torch.save({"state_dict": again.state_dict(), **description(again)}, path)  # and so does one of the rebuilt model
    assert ConditionalELBO.load_from_checkpoint(path)


def test_every_model_of_an_architecture_starts_from_the_pretrained_weights(architecture, tokenizer):
    first, second = (architecture.decoder(tokenizer, SIZES).model.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    random = Pretrained(architecture.encoder_model, architecture.decoder_model, weights=False)
    other = random.decoder(tokenizer, SIZES).model.state_dict()
    assert other.keys() == first.keys()
    assert not any(torch.equal(first[name], other[name]) for name in first if name.endswith("proj.weight"))


def test_dropout_of_the_pretrained_models_is_on_in_training(architecture, tokenizer):
    assert all(module.training for module in cvae(architecture, tokenizer).modules())


@torch.no_grad()
@pytest.mark.parametrize("name", ["bert", "llama"])  # the second does not tie its output layer to the embeddings
def test_another_tokenizer_finds_the_embeddings_of_its_tokens(folder, tokenizer, name):
    """The model's own vocabulary has bytes alone; the suite's has longer tokens, in another order."""
    alphabet = sorted(ByteLevel.alphabet())
    backend = Backend(models.BPE(vocab={"<end>": 0, **{token: i + 1 for i, token in enumerate(alphabet)}}, merges=[]))
    backend.pre_tokenizer = ByteLevel(add_prefix_space=False)
    own = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>")
    shutil.rmtree(folder / name)
    original = MODELS[name](257)
    original.save_pretrained(folder / name)
    own.save_pretrained(folder / name)
    architecture = Pretrained(str(folder / name), str(folder / name))
    if name == "bert":
        model = architecture.encoder(tokenizer, LENGTH, 5).model
    else:
        model = architecture.decoder(tokenizer, SIZES).model
    pairs = [(original.get_input_embeddings().weight, model.get_input_embeddings().weight)]
    if name == "llama":
        pairs.append((original.lm_head.weight, model.lm_head.weight))
    ids = own.get_vocab()
    for before, after in pairs:
        assert after.shape == (len(tokenizer), 32)
        torch.testing.assert_close(after[tokenizer.backend.token_to_id("w")], before[ids["w"]])
        torch.testing.assert_close(
            after[tokenizer.backend.token_to_id("Ġthe")], before[[ids[x] for x in "Ġthe"]].mean(0)
        )
        torch.testing.assert_close(after[tokenizer.eos], before[0])
        torch.testing.assert_close(after[tokenizer.mask], before.mean(0))


@torch.no_grad()
def test_a_bidirectional_model_becomes_causal_as_a_decoder(folder, tokenizer):
    decoder = Pretrained(str(folder / "bert"), str(folder / "bert")).decoder(tokenizer, SIZES).eval()
    tokens, context = tokenizer.rows(TEXTS).long(), decoder.context(**knowledge())
    changed = tokens.clone()
    changed[:, 5:] = tokenizer.mask
    torch.testing.assert_close(decoder(changed, context)[:, :5], decoder(tokens, context)[:, :5])


def test_models_that_do_not_fit_are_refused_with_a_remedy(folder, tokenizer):
    absent = str(folder / "absent")
    with pytest.raises(ValueError, match=r"encoder_model .*absent cannot be loaded: give a folder"):
        Pretrained(absent, absent).encoder(tokenizer, LENGTH, 5)
    with pytest.raises(ValueError, match=r"decoder_model .*absent cannot be loaded: give a folder"):
        Pretrained(absent, absent).decoder(tokenizer, SIZES)
    architecture = Pretrained(str(folder / "bert"), str(folder / "gpt2"))
    with pytest.raises(ValueError, match=r"gpt2 has 64 positions, 65 are needed: shorten `length`"):
        architecture.decoder(tokenizer, DecoderSizes(65, 2, 3, 5, 0))
    with pytest.raises(ValueError, match=r"bert has 64 positions, 65 are needed"):
        architecture.encoder(tokenizer, 64, 5)


def test_a_tokenizer_that_cannot_be_loaded_stops_instead_of_mixing_the_embeddings_up(folder, tokenizer):
    architecture = Pretrained(str(folder / "bert"), str(folder / "llama"))
    (folder / "bert" / "tokenizer.json").write_text("{broken")
    (folder / "llama" / "tokenizer.json").unlink()  # its configuration is left
    with pytest.raises(ValueError, match=r"no tokenizer at .*bert: give a folder.* \(Expecting property name"):
        architecture.encoder(tokenizer, LENGTH, 5)
    with pytest.raises(ValueError, match=r"no tokenizer at .*llama: give a folder"):
        architecture.decoder(tokenizer, SIZES)


def test_a_model_without_a_tokenizer_has_embeddings_for_as_many_tokens_as_the_data(folder, tokenizer):
    for name in MODELS:
        for file in (folder / name).glob("tokenizer*"):
            file.unlink()
    architecture = Pretrained(str(folder / "bert"), str(folder / "gpt2"))
    with pytest.warns(UserWarning, match="bert holds no tokenizer: its embeddings are taken for those of the data's"):
        encoder = architecture.encoder(tokenizer, LENGTH, 5)
    assert torch.equal(encoder.table, BertModel.from_pretrained(folder / "bert").get_input_embeddings().weight)
    fewer = Tokenizer.train(TEXTS, len(tokenizer) - 2)
    with pytest.raises(
        ValueError, match=rf"gpt2 holds no tokenizer, and its {len(tokenizer)} embeddings are not those "
    ):
        architecture.decoder(fewer, SIZES)


def test_a_folder_without_a_tokenizer_gives_none(folder):
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (folder / "bert" / file).unlink()
    for name in ("bert", "absent", "absent.json"):
        with pytest.raises(ValueError, match=rf"no tokenizer at .*{name}: give a folder"):
            Tokenizer.pretrained(folder / name)


def test_a_pretrained_encoder_computes_its_layers_again_and_the_gradients_are_the_same(architecture, tokenizer):
    found = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model = cvae(architecture, tokenizer, checkpointing=checkpointing).train()
        for part in model.encoder.model.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.2
        calls = []
        model.encoder.model.encoder.layer[0].intermediate.register_forward_hook(lambda *_, seen=calls: seen.append(1))
        torch.manual_seed(1)
        loss = -model.draws(sentences(tokenizer)).terms().elbo.mean()
        loss.backward()
        assert len(calls) == (2 if checkpointing else 1)
        found.append((loss.item(), {n: w.grad for n, w in model.named_parameters() if w.grad is not None}))
    assert found[0][0] == found[1][0]
    for name, gradient in found[0][1].items():
        torch.testing.assert_close(found[1][1][name], gradient, rtol=1e-6, atol=1e-7, msg=name)
