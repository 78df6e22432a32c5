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


def gpt(vocab_size: int = VOCAB_SIZE, **kwargs: Any) -> GPT:
    torch.manual_seed(0)
    return GPT(GPTConfig(vocab_size=vocab_size, context_length=12, width=16, num_layers=2, num_heads=2, **kwargs))


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
