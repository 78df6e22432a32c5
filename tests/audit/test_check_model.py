"""check_model: a sound loop passes, and each mistake that it looks for is found."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from windrow import Loader, Mixture, TokenStore, Windows, check_model
from windrow.errors import WindrowError
from windrow.gpt import GPT, GPTConfig

VOCAB_SIZE = 300


def loader_of(ids: Any = range(VOCAB_SIZE), max_length: int = 12) -> Loader:
    return Loader(Windows(TokenStore.from_ids(list(ids), eos_id=0), max_length), 2)


def gpt(vocab_size: int = VOCAB_SIZE, context_length: int = 12, **kwargs: Any) -> GPT:
    torch.manual_seed(0)
    sizes = {"vocab_size": vocab_size, "context_length": context_length, "width": 16, "num_layers": 2, "num_heads": 2}
    return GPT(GPTConfig(**sizes, **kwargs))


def shifting(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """What a model that takes ``labels`` and shifts them does."""
    logits = model(inputs)[:, :-1]
    return F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), reduction="sum")


def summed(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten(), reduction="sum")


def test_a_sound_model_and_loop_pass_and_are_left_as_they_were() -> None:
    model = gpt(dropout=0.5).train()
    model.blocks[0].eval()
    weights, random = [p.clone() for p in model.parameters()], torch.get_rng_state()
    store = TokenStore.from_ids(list(range(200)), eos_id=0)
    check_model(model, loader_of())
    check_model(model, loader_of(), lambda m, x, y: m.loss_sum(x, y))
    check_model(model, Loader(Mixture({"a": (Windows(store, 12, policy="pack"), 1)}), 2), summed)
    assert model.training
    assert not model.blocks[0].training
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(a, b) and b.grad is None for a, b in zip(weights, model.parameters(), strict=True))


def test_a_model_that_returns_an_object_with_logits_is_read() -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = gpt()

        def forward(self, ids: Tensor) -> Any:
            return SimpleNamespace(logits=self.inner(ids))

    check_model(Wrapped(), loader_of())


def test_an_id_beyond_the_embedding_is_found_before_a_gpu_asserts() -> None:
    with pytest.raises(WindrowError, match=r"ids up to 299, and its token embedding has rows for 0 to 255"):
        check_model(gpt(256), loader_of())


def test_the_largest_id_may_be_that_of_padding() -> None:
    padded = Loader(Windows(TokenStore.from_ids([1, 2, 3, 4, 5], eos_id=400), 3, tail="pad"), 1)
    with pytest.raises(WindrowError, match="ids up to 400"):
        check_model(gpt(), padded)


def test_targets_shifted_twice_are_found() -> None:
    with pytest.raises(WindrowError, match=r"does not depend on input 6, .*: targets are shifted twice"):
        check_model(gpt(), loader_of(), shifting)


def test_targets_shifted_twice_inside_the_model_are_found() -> None:
    class Late(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = gpt()

        def forward(self, ids: Tensor) -> Tensor:
            return torch.roll(self.inner(ids), 1, dims=1)

    with pytest.raises(WindrowError, match="targets are shifted twice"):
        check_model(Late(), loader_of())


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda m, x, y: summed(m, x, x), "does not depend on the target at place 6"),
        (lambda m, x, y: summed(m, x, torch.roll(y, 1, 1)), "depends on input 7, which is that target"),
    ],
)
def test_targets_not_shifted_at_all_are_found(loss: Any, message: str) -> None:
    with pytest.raises(WindrowError, match=message):
        check_model(gpt(), loader_of(), loss)


def test_attention_that_is_not_causal_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real = F.scaled_dot_product_attention

    def sees_all(*args: Any, **kwargs: Any) -> Any:
        return real(*args, **{**kwargs, "is_causal": False})

    monkeypatch.setattr(F, "scaled_dot_product_attention", sees_all)
    with pytest.raises(WindrowError, match="the model sees what it shall predict"):
        check_model(gpt(), loader_of())


def test_a_mean_over_zero_targets_is_found() -> None:
    with pytest.raises(WindrowError, match="a mean over zero targets"):
        check_model(gpt(), loader_of(), lambda m, x, y: F.cross_entropy(m(x).flatten(0, 1), y.flatten()))


class HuggingFace(nn.Module):
    """What models of Hugging Face do with ``labels``: shift them, and take the mean; unless it is one that does not."""

    def __init__(self, context_length: int = 13, shift: int = 1) -> None:
        super().__init__()
        self.positions = nn.Embedding(context_length, 1)
        self.inner, self.shift = gpt(context_length=20), shift

    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> Any:
        logits = self.inner(input_ids) + self.positions(torch.arange(input_ids.shape[1]))
        if labels is None:
            return SimpleNamespace(logits=logits)
        predicted = logits[:, : logits.shape[1] - self.shift]
        loss = F.cross_entropy(predicted.flatten(0, 1), labels[:, self.shift :].flatten())
        return SimpleNamespace(logits=logits, loss=loss)


def test_a_model_that_shifts_labels_itself_is_given_labels_that_are_not_shifted() -> None:
    check_model(HuggingFace(), loader_of())


def test_targets_as_labels_of_a_model_that_shifts_them_itself_are_found() -> None:
    with pytest.raises(WindrowError, match=r"targets are shifted twice.*it takes batch.as_hf\(\)"):
        check_model(HuggingFace(), loader_of(), lambda m, x, y: m(input_ids=x, labels=y).loss)


def test_a_model_that_takes_labels_and_does_not_shift_them_is_found() -> None:
    with pytest.raises(WindrowError, match="depends on input 7, which is that target"):
        check_model(HuggingFace(shift=0), loader_of())


def test_a_model_that_shifts_labels_itself_needs_a_position_more() -> None:
    with pytest.raises(WindrowError, match=r"holds 12 positions, .* given 13: .*Use Windows\(..., max_length=11\)"):
        check_model(HuggingFace(12), loader_of())
    check_model(HuggingFace(12), loader_of(), lambda m, x, y: summed(lambda ids: m(ids).logits, x, y))
    check_model(HuggingFace(12), loader_of(max_length=11))


def test_windows_longer_than_the_model_are_found() -> None:
    with pytest.raises(WindrowError, match=r"holds 16 positions, and it would be given 20. Use .*max_length=16"):
        check_model(HuggingFace(16), loader_of(max_length=20), lambda m, x, y: summed(lambda ids: m(ids).logits, x, y))
