"""The small GPT: shapes, causality, the loss against an oracle too simple to be wrong, learning, sampling."""

import math
import re

import pytest
import torch
from torch import Tensor, nn

from conftest import reference_values
from windrow.gpt import GPT, GPTConfig, TokenPositionEmbedding

TINY = GPTConfig(vocab_size=50, context_length=16, width=16, num_layers=2, num_heads=2)
# The first textbook batch of "the-verdict.txt": max_length 4, stride 4, batch_size 8, no shuffle.
BATCH_OF_8 = [
    [40, 367, 2885, 1464],
    [1807, 3619, 402, 271],
    [10899, 2138, 257, 7026],
    [15632, 438, 2016, 257],
    [922, 5891, 1576, 438],
    [568, 340, 373, 645],
    [1049, 5975, 284, 502],
    [284, 3285, 326, 11],
]


def tiny_gpt(seed: int = 0, config: GPTConfig = TINY) -> GPT:
    torch.manual_seed(seed)
    return GPT(config)


def random_ids(*shape: int, seed: int = 1, vocab_size: int = 50) -> Tensor:
    return torch.randint(vocab_size, shape, generator=torch.Generator().manual_seed(seed))


def brute_force_loss_sum(logits: Tensor, targets: Tensor) -> float:
    """Minus the log of the probability of each target that is not -100, one at a time."""
    total = 0.0
    for row in range(targets.shape[0]):
        for place in range(targets.shape[1]):
            if targets[row, place] != -100:
                scores = [math.exp(score) for score in logits[row, place].tolist()]
                total -= math.log(scores[int(targets[row, place])] / sum(scores))
    return total


# The embedding


def test_the_embedding_of_the_golden_batch_has_the_golden_shape() -> None:
    embedded = TokenPositionEmbedding()(torch.tensor(BATCH_OF_8))
    assert embedded.shape == (8, 4, 256)
    assert embedded.dtype == torch.float32


def test_the_batch_in_this_file_is_the_one_of_the_golden_file() -> None:
    golden = reference_values()["textbook_batch_of_8"]
    assert golden["inputs"] == BATCH_OF_8
    assert golden["input_embeddings_shape_at_output_dim_256"] == [8, 4, 256]


def test_the_embedding_is_the_sum_of_the_two_layers_that_a_book_writes_by_hand() -> None:
    torch.manual_seed(123)
    tokens, positions = nn.Embedding(50257, 256), nn.Embedding(4, 256)
    torch.manual_seed(123)
    ours = TokenPositionEmbedding(50257, 256, context_length=4)
    ids = torch.tensor(BATCH_OF_8)
    assert torch.equal(ours(ids), tokens(ids) + positions(torch.arange(4)))


def test_the_same_token_has_another_vector_at_another_place() -> None:
    embedded = TokenPositionEmbedding(10, 8, 4)(torch.tensor([[3, 3]]))
    assert not torch.equal(embedded[0, 0], embedded[0, 1])


def test_a_row_may_be_as_long_as_the_context_and_not_longer() -> None:
    embedding = TokenPositionEmbedding(10, 8, context_length=4)
    assert embedding(torch.zeros(2, 4, dtype=torch.int64)).shape == (2, 4, 8)
    with pytest.raises(ValueError, match=r"5 tokens, and context_length is 4.*max_length <= 4.*>= 5"):
        embedding(torch.zeros(2, 5, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"shape \(4,\), not \(B, L\)"):
        embedding(torch.zeros(4, dtype=torch.int64))


# The model


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_logits_have_a_score_per_row_place_and_token(dtype: torch.dtype) -> None:
    assert tiny_gpt()(random_ids(3, 7).to(dtype)).shape == (3, 7, 50)


def test_changing_a_token_changes_no_logits_before_it_and_all_from_it_on() -> None:
    model, ids = tiny_gpt().eval(), random_ids(1, 12)
    before = model(ids)
    for place in range(12):
        changed = ids.clone()
        changed[0, place] = (ids[0, place] + 1) % 50
        after = model(changed)
        assert torch.equal(after[:, :place], before[:, :place])
        assert (after[:, place:] != before[:, place:]).any(dim=2).all()


def test_rows_of_a_batch_do_not_see_each_other() -> None:
    model, ids = tiny_gpt().eval(), random_ids(3, 8)
    alone = torch.cat([model(row[None]) for row in ids])
    torch.testing.assert_close(model(ids), alone)


def test_the_head_is_the_token_table() -> None:
    model = tiny_gpt()
    names = [name for name, parameter in model.named_parameters() if 50 in parameter.shape]
    assert names == ["embedding.token.weight"]
    assert "embedding.token.weight" in model.state_dict()


def test_the_first_guess_is_close_to_even() -> None:
    mean = tiny_gpt().loss_sum(random_ids(8, 16), random_ids(8, 16, seed=2)).item() / 128
    assert mean == pytest.approx(math.log(50), rel=0.02)


def test_weights_start_at_the_spread_of_gpt2() -> None:
    model = tiny_gpt(config=GPTConfig(vocab_size=2000, width=128, num_layers=8, num_heads=4))
    spread = {name: parameter.std().item() for name, parameter in model.named_parameters()}
    assert spread["embedding.token.weight"] == pytest.approx(0.02, rel=0.05)
    assert spread["blocks.3.mlp.expansion.weight"] == pytest.approx(0.02, rel=0.05)
    for part in ("attention", "mlp"):  # 2 * 8 branches add up on the residual path
        assert spread[f"blocks.7.{part}.projection.weight"] == pytest.approx(0.02 / 4, rel=0.05)
    assert spread["blocks.0.mlp.projection.bias"] == 0


def test_dropout_acts_while_training_only() -> None:
    model = tiny_gpt(config=GPTConfig(50, 16, width=16, num_heads=2, dropout=0.5))
    ids = random_ids(2, 8)
    assert not torch.equal(model(ids), model(ids))
    model.eval()
    assert torch.equal(model(ids), model(ids))


# The loss


def test_the_loss_is_the_brute_force_sum_over_the_targets_that_count() -> None:
    model, inputs, targets = tiny_gpt(), random_ids(5, 16), random_ids(5, 16, seed=2)
    targets[0, 3:] = targets[2] = -100
    expected = brute_force_loss_sum(model(inputs), targets)
    assert model.loss_sum(inputs, targets).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (4, 16), (13, 10), (9, 16)])  # around the rows taken at a time
def test_loss_and_gradients_are_those_of_cross_entropy(shape: tuple[int, int]) -> None:
    model, inputs, targets = tiny_gpt().double(), random_ids(*shape), random_ids(*shape, seed=2)
    targets[random_ids(*shape, seed=3, vocab_size=4) == 0] = -100
    expected = nn.functional.cross_entropy(model(inputs).flatten(0, 1), targets.flatten(), reduction="sum")
    expected_gradients = torch.autograd.grad(3 * expected, list(model.parameters()))
    loss = model.loss_sum(inputs, targets)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(3 * loss, list(model.parameters())), expected_gradients)


def test_losses_of_parts_add_up_to_the_loss_of_the_whole() -> None:
    model, inputs, targets = tiny_gpt().eval(), random_ids(6, 16), random_ids(6, 16, seed=2)
    parts = sum(model.loss_sum(inputs[i : i + 2], targets[i : i + 2]) for i in (0, 2, 4))
    torch.testing.assert_close(parts, model.loss_sum(inputs, targets))


def test_a_batch_without_a_target_that_counts_has_loss_0_and_gradients_0() -> None:
    model = tiny_gpt()
    loss = model.loss_sum(random_ids(2, 8), torch.full((2, 8), -100))
    loss.backward()
    assert loss.item() == 0
    assert all((parameter.grad == 0).all() for parameter in model.parameters() if parameter.grad is not None)
    assert model.embedding.token.weight.grad is not None


def test_the_loss_is_the_same_with_and_without_gradients() -> None:
    model, inputs, targets = tiny_gpt(), random_ids(2, 8), random_ids(2, 8, seed=2)
    with torch.no_grad():
        quiet = model.loss_sum(inputs, targets)
    assert not quiet.requires_grad
    assert quiet.item() == model.loss_sum(inputs, targets).item()


def test_a_tiny_batch_is_learnt_by_heart() -> None:
    model, tokens = tiny_gpt(), random_ids(2, 9)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(150):
        loss = model.loss_sum(tokens[:, :-1], tokens[:, 1:]) / 16
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    assert torch.equal(model.generate(tokens[:, :1], 8, temperature=0), tokens)


# Sampling


def test_the_same_generator_state_gives_the_same_tokens() -> None:
    model, ids = tiny_gpt(), random_ids(2, 3)
    runs = [
        model.generate(ids, 20, temperature=0.8, top_k=10, generator=torch.Generator().manual_seed(seed))
        for seed in (5, 5, 6)
    ]
    assert runs[0].shape == (2, 23)
    assert torch.equal(runs[0][:, :3], ids)
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_generation_goes_on_past_the_context_and_leaves_the_mode_as_it_was() -> None:
    model = tiny_gpt(config=GPTConfig(50, 16, width=16, num_heads=2, dropout=0.5))
    assert model.generate(random_ids(1, 15), 10).shape == (1, 25)
    assert model.training
    model.eval().generate(random_ids(1, 2).int(), 1)
    assert not model.training


def test_top_1_and_temperature_0_take_the_likeliest_token() -> None:
    model, ids = tiny_gpt(), random_ids(3, 4)
    likeliest = model.generate(ids, 6, temperature=0)
    assert torch.equal(likeliest[:, 4], model(ids)[:, -1].argmax(1))
    assert torch.equal(model.generate(ids, 6, top_k=1), likeliest)


def test_top_k_draws_from_the_k_likeliest_and_from_each_of_them() -> None:
    model, ids = tiny_gpt(), random_ids(1, 4)
    generator = torch.Generator().manual_seed(0)
    drawn = model.generate(ids.repeat(400, 1), 1, top_k=3, generator=generator)[:, -1]
    assert set(drawn.tolist()) == set(model(ids)[0, -1].topk(3).indices.tolist())
    assert model.generate(ids, 1, top_k=1000).shape == (1, 5)


# Bad input


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"vocab_size": 0}, "vocab_size is 0"),
        ({"num_layers": 0}, "num_layers is 0"),
        (
            {"width": 100, "num_heads": 3},
            "width 100 does not divide into num_heads 3 equal parts: use width 102",
        ),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_a_size_out_of_its_range_is_an_error_that_names_it(sizes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        GPTConfig(**sizes)


def test_only_allowed_ids_are_drawn_in_their_own_shares() -> None:
    model, ids, allowed = tiny_gpt().eval(), random_ids(1, 4), torch.tensor([3, 17, 41])
    drawn = model.generate(ids.repeat(2000, 1), 1, generator=torch.Generator().manual_seed(0), allowed=allowed)[:, -1]
    expected = torch.softmax(model(ids)[0, -1, allowed], 0)
    shares = torch.stack([(drawn == each).float().mean() for each in allowed])
    assert torch.allclose(shares, expected, atol=0.05)
    assert shares.sum() == 1
    best = allowed[model(ids)[0, -1, allowed].argmax()]
    assert model.generate(ids, 1, temperature=0, allowed=allowed)[0, -1] == best


def test_a_model_whose_outputs_are_not_finite_draws_nothing() -> None:
    model = tiny_gpt()
    nn.init.constant_(model.norm.bias, float("nan"))
    with pytest.raises(ValueError, match="not all finite"):
        model.generate(random_ids(1, 4), 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ids": torch.zeros(1, 0, dtype=torch.int64)}, r"shape (1, 0)"),
        ({"ids": torch.zeros(3, dtype=torch.int64)}, r"shape (3,)"),
        ({"num_new_tokens": -1}, "num_new_tokens is -1"),
        ({"temperature": -0.5}, "temperature is -0.5"),
        ({"top_k": 0}, "top_k is 0"),
    ],
)
def test_generate_refuses_what_it_cannot_go_on_from(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        tiny_gpt().generate(**{"ids": random_ids(1, 2), "num_new_tokens": 1, **arguments})
