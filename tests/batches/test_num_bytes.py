"""Whose row it is, and how many bytes its targets stand for: against a plain loop, however the batches are made."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from token_helpers import ANY_TEXT, Words, hf_file
from windrow import Batch, Loader, Mixture, TokenStore, Windows, load_tokenizer
from windrow.errors import StoreError, TokenizerError
from windrow.windows.windows import POLICIES, Policy

NAMES = ("member_ids", "num_bytes")
TEXTS = ["天地玄黄 👩‍👩‍👧", "naïve café", "The hay was cut. " * 9, "", "a", "\r\n\x00 ½ Ⅳ"]


def store_of(texts: list[str], name: Any = "gpt2") -> TokenStore:
    tokenizer = load_tokenizer(name)
    rows = [[*tokenizer.encode(text), tokenizer.eos_id] for text in texts]
    ends = np.cumsum([len(row) for row in rows])
    return TokenStore.from_ids(np.concatenate(rows), tokenizer=tokenizer, document_ends=ends)


def mixture(policy: Policy = "pack", length: int = 7) -> Mixture:
    there, back = store_of(TEXTS), store_of(TEXTS[:0:-1])
    members = {"b": (Windows(there, length, policy=policy), 2), "a": (Windows(back, length, policy=policy), 1)}
    return Mixture(members, epoch_samples=23)


def expected(batch: Batch, loader: Loader, first: int) -> list[tuple[int, int]]:
    """Member and bytes of each row, by a loop; rows of the step begin at position ``first``."""
    samples, found = {s.position: s for s in loader.samples_at(first, len(batch.inputs))}, []
    for row, targets in enumerate(np.asarray(batch.targets).tolist()):
        name = samples[first + row].member
        if first + row >= loader.epoch_samples:
            found.append((-1, 0))
            continue
        tokenizer: Any = loader.members[name].store.tokenizer
        counting = [t for t in targets if t not in (-100, tokenizer.eos_id)]
        found.append((list(loader.members).index(name), len(tokenizer.decode_bytes(counting))))
    return found


def given_by(batch: Batch) -> list[tuple[int, int]]:
    return list(zip(batch.member_ids.tolist(), batch.num_bytes.tolist(), strict=True))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("device", [None, "cpu"])
def test_members_and_bytes_are_those_of_a_plain_loop_on_any_ranks(policy: Policy, device: str | None) -> None:
    for world in (1, 3):
        sizes: dict[str, Any] = {"dp_world_size": world, "drop_last": False, "device": device}
        loaders = [Loader(mixture(policy), 4, dp_rank=rank, outputs=NAMES, **sizes) for rank in range(world)]
        for rank, loader in enumerate(loaders):
            for step, batch in enumerate(loader):
                assert given_by(batch) == expected(batch, loader, (step * world + rank) * 4)
                assert given_by(loader[step]) == given_by(batch)
                kinds = {str(getattr(batch, name).dtype).removeprefix("torch.") for name in NAMES}
                assert kinds == {"int64"}


def test_what_is_masked_excluded_or_special_has_no_bytes() -> None:
    loader = Loader(mixture("concat"), 23, outputs=NAMES, mask_targets="document_edges", shuffle=False)
    loader.exclude(documents=[2], member="b")
    batch = next(iter(loader))
    assert given_by(batch) == expected(batch, loader, 0)
    assert 0 in batch.num_bytes[batch.member_ids == 1].tolist()


@pytest.mark.parametrize("num_workers", [0, 2])
def test_workers_and_tokens_on_the_device_give_the_same(num_workers: int) -> None:
    plain = Loader(mixture(), 4, outputs=NAMES, device="cpu", drop_last=False)
    working = Loader(mixture(), 4, outputs=NAMES, device="cpu", drop_last=False).dataloader(num_workers)
    assert [given_by(batch) for batch in working] == [given_by(batch) for batch in plain]
    windows = Windows(store_of(TEXTS), 5)
    for dtype in ("int64", "uint16"):
        there, here = (
            Loader(windows, 2, outputs=NAMES, device="cpu", dtype=dtype, resident=resident)
            for resident in (True, False)
        )
        assert [given_by(batch) for batch in there] == [given_by(batch) for batch in here]


@given(st.lists(ANY_TEXT, min_size=1, max_size=4).filter(any), st.integers(1, 9), st.sampled_from(["gpt2", "bytes"]))
def test_an_evaluation_counts_every_byte_of_the_text_but_those_of_the_first_token(
    texts: list[str], length: int, name: str
) -> None:
    store, total = store_of(texts, name), 0
    length = min(length, store.num_tokens - 1)
    for batch in Loader.evaluation(Windows(store, length, max(1, length // 2)), 3, outputs="num_bytes"):
        total += int(batch.num_bytes.sum())
    first = b"" if not texts[0] else load_tokenizer(name).decode_bytes(store.tokens(0, 1))
    assert total + len(first) == sum(len(text.encode()) for text in texts)


def test_a_tokenizer_json_counts_parts_of_characters_too(tmp_path: Path) -> None:
    store = store_of(TEXTS, hf_file(tmp_path, more=["<think>"]))
    (batch,) = Loader.evaluation(Windows(store, store.num_tokens - 1), 1, outputs=("num_bytes",))
    assert batch.num_bytes.tolist() == [sum(len(text.encode()) for text in TEXTS) - 1]


def test_a_tokenizer_that_does_not_tell_its_bytes_is_named_when_the_loader_is_made() -> None:
    words = TokenStore.from_ids([1, 2, 3, 4], tokenizer=Words())
    with pytest.raises(TokenizerError, match="'Words' does not say which bytes an id stands for"):
        Loader(Windows(words, 2), 1, outputs=("num_bytes",))
    with pytest.raises(StoreError, match="nothing says what these ids mean"):
        Loader(Windows(TokenStore.from_ids([1, 2, 3]), 2), 1, outputs=("num_bytes",))
    others = {name: (Windows(TokenStore.from_ids([1, 2, 3], tokenizer=name), 2), 1) for name in ("gpt2", "bytes")}
    with pytest.raises(ValueError, match="made by 2 tokenizers"):
        Loader(Mixture(others), 1, outputs=("num_bytes",))
    assert Loader(Windows(words, 2), 1, outputs=("member_ids",))[0].member_ids.tolist() == [0]


@pytest.mark.parametrize("device", [None, "cpu"])
def test_an_id_that_the_tokenizer_does_not_have_is_named(device: str | None) -> None:
    store = TokenStore.from_ids(np.full(9, 60_000), tokenizer="bytes")
    with pytest.raises(TokenizerError, match="a target is 60000, no id of the tokenizer"):
        Loader(Windows(store, 4), 1, outputs=("num_bytes",), device=device)[0]
