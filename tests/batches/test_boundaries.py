"""Boundary outputs against a plain loop over rows, wherever rows come from; and packed attention."""

import pickle
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from corpora import EOS, corpora, store_of
from windrow import Batch, Loader, Mixture, TokenStore, Windows
from windrow.batches.attention import block_mask, dense_mask
from windrow.testing import assert_resumes
from windrow.windows.windows import POLICIES, Policy

NAMES = ("document_ids", "position_ids", "cu_seqlens", "max_seqlen")
LENGTHS = [1, 3, 11, 2, 30, 5, 5, 1, 17, 8, 9, 4, 26, 2, 2]


def oracle(batch: Batch, document_of: Any) -> tuple[list[list[int]], list[list[int]], list[int]]:
    """``(document_ids, position_ids, cu_seqlens)`` by a loop over the places: an id tells its place in the store."""
    documents, positions, edges = [], [], [0]
    for row in np.asarray(batch.inputs).tolist():
        documents.append([-1 if token == EOS else document_of(token) for token in row])
        positions.append([])
        for _, run in groupby(documents[-1]):
            length = len(list(run))
            positions[-1] += range(length)
            edges.append(edges[-1] + length)
    return documents, positions, edges


def assert_true_outputs(batch: Batch, document_of: Any) -> None:
    documents, positions, edges = oracle(batch, document_of)
    assert batch.document_ids.tolist() == documents
    assert batch.position_ids.tolist() == positions
    assert batch.cu_seqlens[: len(edges)].tolist() == edges
    assert set(batch.cu_seqlens[len(edges) :].tolist()) <= {edges[-1]}
    assert batch.max_seqlen == max(b - a for a, b in pairwise(edges))
    assert edges[-1] == batch.inputs.size


def windows_of(store: Any, max_length: int, policy: Policy) -> Windows:
    return Windows(store, max_length, policy=policy, **({"tail": "pad"} if policy == "concat" else {}))


@given(corpora(), st.sampled_from(POLICIES), st.integers(1, 4), st.integers(1, 3))
def test_outputs_are_those_of_a_plain_loop(corpus: Any, policy: Policy, batch_size: int, world: int) -> None:
    store, lengths, max_length = corpus
    document_of = np.repeat(np.arange(len(lengths)), lengths).tolist().__getitem__
    windows = windows_of(store, max_length, policy)
    for rank in range(world):
        sizes: dict[str, Any] = {"dp_rank": rank, "dp_world_size": world, "drop_last": False}
        shapes = set()
        for batch in Loader(windows, batch_size, outputs=NAMES, **sizes):
            assert_true_outputs(batch, document_of)
            shapes.add((len(batch.inputs), batch.cu_seqlens.shape, batch.cu_seqlens.dtype))
        assert len(shapes) == len({rows for rows, *_ in shapes}), "batches of one size have outputs of one size"


@given(corpora(), st.integers(1, 4), st.data())
def test_outputs_hold_in_an_evaluation_and_with_phase(corpus: Any, batch_size: int, data: Any) -> None:
    store, lengths, max_length = corpus
    document_of = np.repeat(np.arange(len(lengths)), lengths).tolist().__getitem__
    stride = data.draw(st.integers(1, max_length))
    if sum(lengths) < max_length + stride + 1:
        return
    for batch in Loader.evaluation(Windows(store, max_length, stride), batch_size, outputs=NAMES):
        assert_true_outputs(batch, document_of)
    for batch in Loader(Windows(store, max_length, stride, phase="epoch"), 1, outputs=NAMES):
        assert_true_outputs(batch, document_of)


def mixture() -> Mixture:
    members = {name: (Windows(store_of(LENGTHS, 1000 * i), 6, policy=name), 1.0) for i, name in enumerate(POLICIES)}
    return Mixture(members)


def test_outputs_hold_in_a_mixture_by_each_members_own_numbers() -> None:
    loader = Loader(mixture(), 16, outputs=NAMES, epochs=None)
    places = np.repeat(np.arange(len(LENGTHS)), LENGTHS).tolist()
    for step in (0, 1, 5000):
        assert_true_outputs(loader[step], lambda token: places[token % 1000])


def test_outputs_change_neither_samples_nor_recipe_and_targets_masked_do() -> None:
    plain, asked = Loader(mixture(), 8), Loader(mixture(), 8, outputs=NAMES)
    assert asked.recipe == plain.recipe
    assert np.array_equal(asked[3].inputs, plain[3].inputs)
    assert np.array_equal(asked[3].targets, plain[3].targets)
    masked = Loader(mixture(), 8, mask_targets="document_edges")
    assert '"mask_targets":"document_edges"' in masked.recipe
    with pytest.raises(ValueError, match="mask_targets: saved 'nothing', here 'document_edges'"):
        masked.load_state_dict(plain.state_dict())


def test_a_loader_with_outputs_resumes() -> None:
    assert_resumes(lambda: Loader(mixture(), 8, outputs=NAMES, mask_targets="document_edges", epochs=None), 8)


@given(corpora(), st.sampled_from(POLICIES))
def test_document_edges_masks_exactly_the_targets_in_another_document(corpus: Any, policy: Policy) -> None:
    store, _, max_length = corpus
    windows = windows_of(store, max_length, policy)
    n = windows.num_samples
    before, batch = Loader(windows, n)[0], Loader(windows, n, mask_targets="document_edges")[0]
    counted = before.targets != -100
    crossing = np.zeros_like(counted)
    crossing[counted] = store.document_at(before.targets[counted]) != store.document_at(before.inputs[counted])
    assert np.array_equal(batch.targets, np.where(crossing, -100, before.targets))
    assert batch.num_targets == np.count_nonzero(counted & ~crossing)


def test_an_excluded_row_keeps_its_documents_and_a_row_without_data_has_none() -> None:
    loader = Loader(Windows(store_of(LENGTHS), 6, policy="pack"), 64, outputs=["document_ids"], drop_last=False)
    expected = loader[0].document_ids
    loader.exclude(documents=[4])
    assert np.array_equal(loader[0].document_ids, expected)
    assert loader[0].num_targets < 64 * 6
    last = Loader(Windows(store_of(LENGTHS), 6), 30, dp_rank=1, dp_world_size=2, drop_last=False, outputs=NAMES)[0]
    assert last.num_targets == 0
    assert set(last.document_ids.ravel().tolist()) == {-1}
    assert last.max_seqlen == 6


# -- asking for outputs --------------------------------------------------------------------------------------------


def loader_of(**kwargs: Any) -> Loader:
    return Loader(Windows(store_of(LENGTHS), 6, policy="pack"), 4, **kwargs)


def test_a_batch_unpacks_to_inputs_and_targets_whatever_was_asked_for() -> None:
    batch = loader_of(outputs=NAMES)[0]
    inputs, targets = batch
    assert inputs is batch.inputs
    assert targets is batch.targets
    assert len(batch) == 2


def test_an_output_that_was_not_asked_for_says_how_to_ask() -> None:
    with pytest.raises(AttributeError, match=r'Loader\(\.\.\., outputs=\("cu_seqlens",\)\)'):
        _ = loader_of(outputs=("document_ids",))[0].cu_seqlens


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"outputs": ("seqlens",)}, "outputs has 'seqlens', and a loader can give block_mask, cu_seqlens"),
        ({"outputs": ("block_mask",)}, "a torch mask, and this loader gives NumPy arrays"),
        ({"mask_targets": "edges"}, "mask_targets is 'edges', and it is None or 'document_edges'"),
    ],
)
def test_what_cannot_be_given_is_refused(kwargs: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loader_of(**kwargs)


def test_a_batch_with_outputs_moves_and_can_be_pickled() -> None:
    batch = loader_of(outputs=(*NAMES, "block_mask", "dense_mask"), device="cpu")[0]
    moved = batch.to("meta")
    assert moved.document_ids.device.type == moved.dense_mask.device.type == "meta"
    assert moved.max_seqlen == batch.max_seqlen
    again = pickle.loads(pickle.dumps(batch))
    assert torch.equal(again.dense_mask, batch.dense_mask)
    assert torch.equal(again.block_mask.kv_num_blocks, batch.block_mask.kv_num_blocks)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_outputs_come_through_a_dataloader(num_workers: int) -> None:
    plain = loader_of(outputs=NAMES)
    for batch, expected in zip(loader_of(outputs=NAMES).dataloader(num_workers), plain, strict=True):
        assert isinstance(batch.cu_seqlens, Tensor)
        assert all(np.array_equal(getattr(batch, name), getattr(expected, name)) for name in NAMES)


def test_masks_come_through_a_worker() -> None:
    asked: dict[str, Any] = {"outputs": ("block_mask", "dense_mask"), "device": "cpu"}
    for batch, expected in zip(loader_of(**asked).dataloader(1), loader_of(**asked), strict=True):
        assert torch.equal(batch.dense_mask, expected.dense_mask)
        assert torch.equal(batch.block_mask.kv_indices, expected.block_mask.kv_indices)


# -- attention -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 5, 128, 300, 512])
def test_the_masks_are_those_of_the_definition(length: int) -> None:
    generator = torch.Generator().manual_seed(length)
    often = torch.tensor([[0.03], [0.002], [0.0]])
    documents = (torch.rand(3, length, generator=generator) < often).long().cumsum(1) - 1
    q, k = torch.arange(length)[:, None], torch.arange(length)[None, :]
    expected = torch.stack([(q >= k) & (row[q] == row[k]) for row in documents])
    assert torch.equal(dense_mask(documents)[:, 0], expected)
    theirs = create_block_mask(lambda b, h, q, k: expected[b, q, k], 3, None, length, length, device="cpu")
    ours = block_mask(documents)
    for name in ("kv_num_blocks", "kv_indices", "full_kv_num_blocks", "full_kv_indices", "q_num_blocks", "q_indices"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name)), name
    assert ours.seq_lengths == theirs.seq_lengths


class Attention(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)

    def forward(self, x: Tensor, batch: Any) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, 2, 8)).permute(2, 0, 3, 1, 4)
        if self.kind == "alone":
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        elif self.kind == "dense":
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=batch.dense_mask)
        else:
            y = self.by_cu_seqlens(q, k, v, batch.cu_seqlens.tolist())
        return self.out(y.transpose(1, 2).flatten(2))

    def by_cu_seqlens(self, q: Tensor, k: Tensor, v: Tensor, edges: list[int]) -> Tensor:
        """What a kernel for sequences of varying length does with them."""
        flat = [t.transpose(1, 2).flatten(0, 1) for t in (q, k, v)]  # (B * L, H, C / H)
        parts = [
            F.scaled_dot_product_attention(*(t[a:b].transpose(0, 1) for t in flat), is_causal=True).transpose(0, 1)
            for a, b in pairwise(edges)
            if a < b
        ]
        return torch.cat(parts).unflatten(0, (len(q), -1)).transpose(1, 2)


class Transformer(nn.Module):
    def __init__(self, kind: str, vocab_size: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.token, self.place = nn.Embedding(vocab_size, 16), nn.Embedding(64, 16)
        self.blocks = nn.ModuleList(Attention(kind) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(16) for _ in range(2))
        self.head = nn.Linear(16, vocab_size)
        self.double()

    def forward(self, inputs: Tensor, positions: Tensor, batch: Any = None) -> Tensor:
        x = self.token(inputs) + self.place(positions)
        for block, norm in zip(self.blocks, self.norms, strict=True):
            x = x + block(norm(x), batch)
        return torch.as_tensor(self.head(x))


def gradients(model: nn.Module, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(model.parameters())))


@pytest.mark.parametrize("kind", ["dense", "cu_seqlens"])
@pytest.mark.parametrize("policy", ["pack", "pad", "concat"])
def test_packed_attention_equals_separate_documents(policy: Policy, kind: str) -> None:
    """Logits and gradients of a transformer, float64, 1e-9: documents in a row know nothing of each other."""
    lengths = [n for n in LENGTHS if n <= 17]  # each document whole in a row, but for concat
    vocab_size = sum(lengths) + 1
    ids = np.arange(sum(lengths))
    store = TokenStore.from_ids(ids, eos_id=len(ids), document_ends=np.cumsum(lengths))
    windows = windows_of(store, 17, policy)
    outputs = (*NAMES, "dense_mask")
    loader = Loader(windows, windows.num_samples, outputs=outputs, mask_targets="document_edges", device="cpu")
    batch = loader[0]
    packed, alone = Transformer(kind, vocab_size), Transformer("alone", vocab_size)
    logits = packed(batch.inputs, batch.position_ids, batch)
    loss = F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), reduction="sum")
    loss_alone = torch.zeros((), dtype=torch.float64)
    for row in range(len(batch.inputs)):
        for document in batch.document_ids[row].unique().tolist():
            here = batch.document_ids[row] == document
            inputs, targets = batch.inputs[row][here][None], batch.targets[row][here]
            separate = alone(inputs, torch.arange(inputs.shape[1])[None])[0]
            assert (separate - logits[row][here]).abs().max() < 1e-9
            loss_alone = loss_alone + F.cross_entropy(separate, targets, reduction="sum")
    assert (loss - loss_alone).abs() < 1e-9
    for ours, theirs in zip(gradients(packed, loss), gradients(alone, loss_alone), strict=True):
        assert (ours - theirs).abs().max() < 1e-9


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_attention_with_the_block_mask_equals_the_dense_mask() -> None:
    loader = Loader(
        Windows(store_of(LENGTHS), 20, policy="pack"), 4, outputs=("block_mask", "dense_mask"), device="cpu"
    )
    batch = loader[0]
    torch.manual_seed(1)
    q, k, v = torch.randn(3, 4, 2, 20, 8, dtype=torch.float64)
    flex: Any = flex_attention(q, k, v, block_mask=batch.block_mask)
    dense = F.scaled_dot_product_attention(q, k, v, attn_mask=batch.dense_mask)
    assert (flex - dense).abs().max() < 1e-12


def test_without_the_mask_the_documents_of_a_row_do_leak() -> None:
    """The guard seen to fail: plain causal attention over packed rows is something else."""
    batch = Loader(Windows(store_of(LENGTHS[:4]), 17, policy="pack"), 1, outputs=("position_ids",), device="cpu")[0]
    model = Transformer("alone", EOS + 1)
    whole = model(batch.inputs, batch.position_ids)
    changed = batch.inputs.clone()
    changed[0, 0] += 1
    assert (model(changed, batch.position_ids) - whole)[0, -1].abs().max() > 1e-6


@settings(max_examples=20)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=40), st.integers(1, 20))
def test_the_most_documents_in_a_window_is_counted_exactly(lengths: list[int], max_length: int) -> None:
    if sum(lengths) <= max_length:
        return
    windows = Windows(store_of(lengths), max_length, 1)
    documents = windows.documents(np.arange(windows.num_samples))[:, :-1]
    assert windows.max_documents >= max(len(set(row)) for row in documents.tolist())
