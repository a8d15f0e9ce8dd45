"""Classifiers of texts and of tokens: what they read, how they pool, what they ask."""

import pytest
import torch
from refusals import assert_refused
from small_model import ALL, NAMES, N, ids, model

from flash_tutorial import ModelConfig, SequenceClassifier, TokenClassifier, count_parameters
from flash_tutorial.encoders import POOLINGS, Pooling

T, TAIL = 14, 5  # three chunks and a half, and padding
architectures = pytest.mark.parametrize("architecture", ALL, ids=NAMES)


def classifier(architecture="flash", pooling="mean", **options):
    """With parameters of order one, the score of attention's pooling among them."""
    body = model(architecture, **{"causal": False} | options)
    built = SequenceClassifier(body, 3, pooling=pooling).double().eval()
    with torch.no_grad():
        built.decide.weight.normal_(generator=torch.Generator().manual_seed(3))
        if pooling == "attention":
            built.pooling.score.weight.normal_(generator=torch.Generator().manual_seed(4))
    return built


def features(B=2, D=6):
    return torch.randn(B, T, D, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


# ---------------------------------------------------------------- padding


@pytest.mark.parametrize("padding", ["right", "left"])
@pytest.mark.parametrize("pooling", POOLINGS)
@architectures
def test_a_padded_text_is_decided_as_it_is_alone(architecture, pooling, padding):
    built = classifier(architecture, pooling)
    text = ids(2, T)
    filler = ids(2, TAIL, seed=5)
    valid = torch.ones(2, T, dtype=torch.bool)
    both = [(text, filler), (valid, torch.zeros(2, TAIL, dtype=torch.bool))]
    if padding == "left":
        both = [pair[::-1] for pair in both]
    padded, mask = (torch.cat(pair, 1) for pair in both)
    alone = built(text)
    assert alone.std() > 0.1
    torch.testing.assert_close(built(padded, mask, padding=padding), alone)


@architectures
def test_a_token_is_decided_as_it_is_without_padding(architecture):
    built = TokenClassifier(model(architecture, causal=False), 3).double().eval()
    text = ids(2, T)
    padded = torch.cat([text, ids(2, TAIL, seed=5)], 1)
    mask = (torch.arange(T + TAIL) < T).expand(2, -1)
    torch.testing.assert_close(built(padded, mask)[:, :T], built(text))


# ---------------------------------------------------------------- pooling


def test_attention_is_a_mean_with_the_weights_of_a_softmax():
    x, mask = features(), torch.arange(T) < torch.tensor([[T], [9]])
    pooling = Pooling("attention", 6).double()
    with torch.no_grad():
        pooling.score.weight.normal_(generator=torch.Generator().manual_seed(1))
        found = pooling(x, mask)
    for row, n in enumerate((T, 9)):
        scores = [float(x[row, t] @ pooling.score.weight[0]) for t in range(n)]
        weights = torch.tensor(scores, dtype=torch.float64).exp()
        mean = sum(w * x[row, t] for t, w in enumerate(weights)) / weights.sum()
        torch.testing.assert_close(found[row], mean.detach())


def test_attention_starts_as_the_mean():
    x, mask = features(), torch.arange(T) < torch.tensor([[T], [9]])
    found = Pooling("attention", 6).double()(x, mask)
    torch.testing.assert_close(found, Pooling("mean", 6)(x, mask))


def test_first_is_the_first_valid_token_on_either_side():
    x = features()
    mask = torch.zeros(2, T, dtype=torch.bool)
    mask[0, :4] = mask[1, 6:] = True
    torch.testing.assert_close(Pooling("first", 6)(x, mask), torch.stack([x[0, 0], x[1, 6]]))


@pytest.mark.parametrize("kind", POOLINGS)
def test_a_row_without_a_token_is_zero_and_has_no_nan(kind):
    x = features().requires_grad_()
    x.data[1] = torch.nan
    mask = torch.tensor([[True], [False]]).expand(2, T)
    found = Pooling(kind, 6).double()(x, mask)
    assert found[1].abs().max() == 0
    found.sum().backward()
    assert x.grad.isfinite().all()


# ---------------------------------------------------------------- losses


def test_the_loss_is_the_mean_surprise_of_the_labels_asked():
    built = classifier()
    text, labels = ids(3, T), torch.tensor([2, -100, 0])
    surprise = -built(text).log_softmax(-1)
    expected = (surprise[0, 2] + surprise[2, 0]) / 2
    torch.testing.assert_close(built.loss(text, labels), expected)


def test_the_loss_of_tokens_is_over_those_asked():
    built = TokenClassifier(model(causal=False), 3).double().eval()
    labels = torch.full((2, T), -100)
    labels[0, 3], labels[1, 11] = 2, 1
    surprise = -built(ids(2, T)).log_softmax(-1)
    expected = (surprise[0, 3, 2] + surprise[1, 11, 1]) / 2
    torch.testing.assert_close(built.loss(ids(2, T), labels), expected)


def test_no_label_of_padding_is_asked():
    built = TokenClassifier(model(causal=False), 3).double().eval()
    mask = torch.arange(T) < torch.tensor([[T], [3]])
    labels = torch.ones(2, T, dtype=torch.long)
    asked = labels.masked_fill(~mask, -100)
    loss = built.loss(ids(2, T), labels, mask)
    torch.testing.assert_close(loss, built.loss(ids(2, T), asked, mask))


@pytest.mark.parametrize("pooling", POOLINGS)
def test_autocast_pools_as_well(pooling):
    built = classifier("flash", pooling).float()
    mask = torch.arange(T) < torch.tensor([[T], [3]])
    with torch.autocast("cpu", torch.bfloat16):
        half = built(ids(2, T), mask)
    torch.testing.assert_close(half.float(), built(ids(2, T), mask), rtol=0.1, atol=0.1)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", [SequenceClassifier, TokenClassifier])
def test_all_that_is_trained_has_a_gradient(kind, tied):
    """DDP waits for each of them."""
    built = kind(ModelConfig.small_encoder(dim=16, depth=1, vocab_size=N, tied=tied), 3)
    labels = torch.tensor([0, 1]) if kind is SequenceClassifier else ids(2, T) % 3
    built.loss(ids(2, T), labels).backward()
    left = [name for name, p in built.named_parameters() if p.requires_grad and p.grad is None]
    assert left == []


def test_a_trained_body_is_trained_on():
    body = model(causal=False)
    built = SequenceClassifier(body, 3)
    before = body.embedding.weight.clone()
    optimizer = torch.optim.SGD(built.parameters(), lr=1.0)
    built.double().loss(ids(2, T), torch.tensor([0, 1])).backward()
    optimizer.step()
    assert (body.embedding.weight - before).abs().max() > 0


@pytest.mark.quick
def test_it_learns_which_texts_hold_a_token():
    torch.manual_seed(0)
    built = SequenceClassifier(ModelConfig.small_encoder(dim=16, depth=1, vocab_size=N), 2)
    optimizer = torch.optim.AdamW(built.parameters(), lr=1e-2)
    for step in range(60):
        text = ids(32, T, seed=step)
        labels = (text == 3).any(1).long()
        optimizer.zero_grad()
        built.loss(text, labels).backward()
        optimizer.step()
    text = ids(200, T, seed=1000)
    right = built(text).argmax(1) == (text == 3).any(1)
    assert right.float().mean() > 0.9


# ---------------------------------------------------------------- the configuration, and what is refused


@pytest.mark.parametrize("kind", [SequenceClassifier, TokenClassifier])
def test_a_new_body_that_reads_one_side_is_warned_of(kind, recwarn):
    kind(ModelConfig.small_encoder(dim=16, depth=1), 2)
    kind(model(), 2)  # trained before: who has it knows
    assert not recwarn
    with pytest.warns(UserWarning, match="causal=True.*reads both sides"):
        kind(ModelConfig(dim=16, depth=1), 2)


@pytest.mark.parametrize("architecture", ["flash_quad", "transformer++"])
def test_small_encoders_weigh_alike(architecture):
    of = [
        count_parameters(SequenceClassifier(ModelConfig.small_encoder(name), 10))
        for name in (architecture, "flash")
    ]
    assert abs(of[0] / of[1] - 1) < 0.05


def test_other_options_of_a_small_encoder():
    config = ModelConfig.small_encoder(dim=32, chunk_size=16, dropout=0.1)
    assert (config.dim, config.chunk_size, config.dropout, config.causal) == (32, 16, 0.1, False)
    hybrid = ModelConfig.small_encoder(units=["flash", "transformer++"], dim=32, heads=2)
    assert hybrid.kinds == ["flash", "transformer++"] and not hybrid.causal


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda: SequenceClassifier(3, 2), "body=3: expected a ModelConfig"),
        (lambda: SequenceClassifier(ModelConfig(), 1), "classes=1: expected .* 2"),
        (lambda: SequenceClassifier(ModelConfig(), 2, pooling="max"), "pooling='max'.*attention"),
        (lambda: SequenceClassifier(ModelConfig(), 2, pooling="first"), "causal.*'mean'"),
        (lambda: classifier().loss(ids(), torch.tensor([0])), r"\(1,\).*expected \(2,\) integers"),
        (lambda: classifier().loss(ids(), torch.tensor([0, 3])), "labels hold 3: .* 0 to 2"),
        (lambda: classifier().loss(ids(), torch.tensor([0.0, 1.0])), "float32: expected"),
        (lambda: TokenClassifier(ModelConfig(), 2).loss(ids(), torch.tensor([0, 1])), r"\(2, 14\)"),
    ],
)
def test_what_cannot_be_is_refused(call, said):
    assert_refused(said, call)


def test_weights_come_back():
    built = classifier(pooling="attention")
    again = SequenceClassifier(model(causal=False, seed=1), 3, pooling="attention").double().eval()
    again.load_state_dict(built.state_dict())
    torch.testing.assert_close(again(ids()), built(ids()))
