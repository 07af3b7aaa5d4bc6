import torch

from modalities.text.data.style_words import style_tokens


def test_style_tokens_are_those_of_a_ratio_of_smoothed_frequencies():
    x = torch.tensor([[4, 5, 5, 2]] * 9 + [[4, 6, 6, 2]] * 9)
    labels = {"style": (torch.tensor([0] * 9 + [1] * 9), 2)}
    # Token 5: (18 + 1) / (27 + 8) against 1 / (27 + 8).
    assert style_tokens(x, labels, 8, ratio=18.9, keep=[2]) == [5, 6]
    assert style_tokens(x, labels, 8, ratio=19.1, keep=[2]) == []
    assert style_tokens(x, labels, 8, ratio=3.0, keep=[2, 5]) == [6]
    unknown = {"style": (torch.full((18,), -1), 2)}
    assert style_tokens(x, unknown, 8, ratio=1.5, keep=[2]) == []
