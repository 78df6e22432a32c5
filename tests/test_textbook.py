"""The textbook doors against the plain classes that books and courses write: same batches, a fraction of the memory."""

import hashlib
import itertools
import pickle
import random
import subprocess
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiktoken
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, random_split

from conftest import SHARED, STORY, reference_values, shared_text
from windrow import load_tokenizer, textbook
from windrow.errors import NotEnoughTokensError, SourceError
from windrow.textbook import (
    GPT2DataConfig,
    GPTDatasetV1,
    LMSequenceDataset,
    create_dataloader,
    create_dataloader_v1,
    create_dataset,
    drawn_batches,
    load_tokens,
    make_dataloader,
    train_valid_split,
)

# Python 3.12 and later warn when a process with threads forks, as every DataLoader with workers makes it do.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")

GOLDEN = reference_values()
OF_STORY = reference_values("story_v1")


class Letters:
    """A tokenizer whose ids are the code points, so that a test can choose every id."""

    def encode(self, text: str, *, allowed_special: object = ()) -> list[int]:
        return [ord(letter) for letter in text]


class PlainGPTDatasetV1(Dataset[tuple[Tensor, Tensor]]):
    """The oracle: a loop over the ids, a list of tensors."""

    def __init__(self, txt: str, tokenizer: Any, max_length: int, stride: int) -> None:
        ids = tokenizer.encode(txt, allowed_special={"<|endoftext|>"})
        starts = range(0, len(ids) - max_length, stride)
        self.input_ids = [torch.tensor(ids[start : start + max_length]) for start in starts]
        self.target_ids = [torch.tensor(ids[start + 1 : start + max_length + 1]) for start in starts]

    def __len__(self) -> int:
        return len(self.input_ids)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.input_ids[index], self.target_ids[index]


def letters(num_tokens: int, seed: int = 0) -> str:
    return "".join(map(chr, random.Random(seed).choices(range(33, 1000), k=num_tokens)))


def listed(rows: Iterable[Tensor]) -> list[list[int]]:
    return [row.tolist() for row in rows]


def two_epochs(loader: DataLoader[tuple[Tensor, Tensor]]) -> list[list[list[list[int]]]]:
    return [[inputs.tolist(), targets.tolist()] for _ in range(2) for inputs, targets in loader]


class Counted:
    """A tokenizer of texts that are numbers: so many ids."""

    def encode(self, text: str, *, allowed_special: object = ()) -> list[int]:
        return list(range(int(text)))


def opening() -> str:
    """The first 33 tokens of the text that the book reads, as its batch of 8 holds them."""
    golden = GOLDEN["textbook_batch_of_8"]
    return load_tokenizer("gpt2").decode([*itertools.chain(*golden["inputs"]), golden["targets"][-1][-1]])


def expect_gap_warning(max_length: int, stride: int) -> AbstractContextManager[object]:
    return pytest.warns(UserWarning, match="never trained on") if stride > max_length else nullcontext()


# Golden values


def golden_windows() -> Iterator[Any]:
    for name, golden in {**GOLDEN["texts"], "story": OF_STORY}.items():
        for windows in golden["windows"]:
            yield pytest.param(name, windows, id=f"{name}-{windows['max_length']}-{windows['stride']}")


@pytest.mark.parametrize(("name", "golden"), list(golden_windows()))
def test_counts_and_contents_are_those_of_the_golden_file(name: str, golden: dict[str, Any]) -> None:
    text = STORY if name == "story" else shared_text(name)
    with expect_gap_warning(golden["max_length"], golden["stride"]):
        dataset = GPTDatasetV1(text, load_tokenizer("gpt2"), golden["max_length"], golden["stride"])
    assert len(dataset) == len(dataset.input_ids) == golden["num_windows"]
    hashes = hashlib.sha256(), hashlib.sha256()
    for batch in create_dataloader(dataset, batch_size=1024, shuffle=False, drop_last=False):
        for digest, rows in zip(hashes, batch, strict=True):
            digest.update(rows.numpy().astype("<u2").tobytes())
    assert hashes[0].hexdigest() == golden["inputs_sha256_u16"]
    assert hashes[1].hexdigest() == golden["targets_sha256_u16"]


@pytest.mark.parametrize(("name", "golden"), list(golden_windows()))
def test_counts_are_those_of_the_golden_file_for_as_many_ids(name: str, golden: dict[str, Any]) -> None:
    num_tokens = (OF_STORY if name == "story" else GOLDEN["texts"][name])["num_tokens"]
    with expect_gap_warning(golden["max_length"], golden["stride"]):
        dataset = GPTDatasetV1(str(num_tokens), Counted(), golden["max_length"], golden["stride"])
    assert len(dataset) == golden["num_windows"]


def test_the_first_batches_are_those_that_the_book_prints() -> None:
    golden = GOLDEN["textbook_first_batches"]
    loader = create_dataloader_v1(opening(), 1, max_length=4, stride=1, shuffle=False)
    for (inputs, targets), expected in zip(loader, golden["batches"], strict=False):
        assert {"inputs": inputs.tolist(), "targets": targets.tolist()} == expected
    golden = GOLDEN["textbook_batch_of_8"]
    loader = create_dataloader_v1(opening(), 8, max_length=4, stride=4, shuffle=False)
    inputs, targets = next(iter(loader))
    assert (inputs.tolist(), targets.tolist()) == (golden["inputs"], golden["targets"])


# Against the plain classes


def test_windows_are_those_of_the_plain_loop_for_every_small_size() -> None:
    text, num_compared, num_refused = letters(60), 0, 0
    sizes = itertools.product(range(61), range(1, 9), range(1, 10))
    for num_tokens, max_length, stride in sizes:
        plain = PlainGPTDatasetV1(text[:num_tokens], Letters(), max_length, stride)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "stride", UserWarning)
            try:
                ours = GPTDatasetV1(text[:num_tokens], Letters(), max_length, stride)
            except NotEnoughTokensError:
                assert len(plain) == 0, (num_tokens, max_length, stride)
                num_refused += 1
                continue
        assert listed(ours.input_ids) == listed(plain.input_ids), (num_tokens, max_length, stride)
        assert listed(ours.target_ids) == listed(plain.target_ids), (num_tokens, max_length, stride)
        num_compared += 1
    assert (num_compared, num_refused) == (61 * 72 - 9 * sum(range(2, 10)), 9 * sum(range(2, 10)))


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_two_epochs_under_one_seed_are_those_of_the_plain_classes(
    shuffle: bool, drop_last: bool, num_workers: int
) -> None:
    text = letters(63)  # 30 windows: 7 batches of 4, and 2 left over
    plain, ours = PlainGPTDatasetV1(text, Letters(), 3, 2), GPTDatasetV1(text, Letters(), 3, 2)
    torch.manual_seed(123)
    expected = two_epochs(DataLoader(plain, 4, shuffle, drop_last=drop_last))
    state = torch.get_rng_state()
    torch.manual_seed(123)
    loader = create_dataloader(ours, 4, shuffle, drop_last, num_workers)
    assert two_epochs(loader) == expected
    assert torch.equal(torch.get_rng_state(), state)  # and what follows in the reader's notebook is the same
    assert len(loader) == len(expected) // 2 == (7 if drop_last else 8)


def test_the_one_call_of_the_book_gives_the_batches_of_its_plain_classes() -> None:
    text = shared_text("the-verdict.txt") if (SHARED / "data" / "the-verdict.txt").exists() else STORY
    plain = PlainGPTDatasetV1(text, load_tokenizer("gpt2"), 256, 128)
    torch.manual_seed(123)
    expected = two_epochs(DataLoader(plain, batch_size=4, shuffle=True, drop_last=True))
    torch.manual_seed(123)
    assert two_epochs(create_dataloader_v1(text)) == expected


def test_the_one_call_is_the_two_calls() -> None:
    dataset = create_dataset("gpt_v1", txt=STORY, tokenizer=load_tokenizer("gpt2"), max_length=8, stride=4)
    loader = create_dataloader(dataset, batch_size=2, shuffle=False, drop_last=False)
    assert isinstance(dataset, GPTDatasetV1)
    assert two_epochs(loader) == two_epochs(create_dataloader_v1(STORY, 2, 8, 4, False, False))


def test_a_tiktoken_encoding_is_a_tokenizer_and_the_special_token_is_one() -> None:
    ours = load_tokenizer("gpt2")
    ranks = {ours.decode_bytes([token]): token for token in range(50256)}
    pattern = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
    encoding = tiktoken.Encoding(
        "gpt2", pat_str=pattern, mergeable_ranks=ranks, special_tokens={"<|endoftext|>": 50256}
    )
    text = "one story<|endoftext|>another story"
    rows = [listed(GPTDatasetV1(text, tokenizer, 2, 1).input_ids) for tokenizer in (ours, encoding)]
    assert rows[0] == rows[1]
    assert sum(row[0] == 50256 for row in rows[0]) == 1  # the one in the text; none is added


# What the sampler drew


class Numbered(Dataset[tuple[Tensor, Tensor]]):
    """The oracle: a dataset whose samples say their index."""

    def __len__(self) -> int:
        return 30

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return torch.full((3,), index), torch.full((3,), index)


@pytest.mark.parametrize("options", [{}, {"shuffle": False}, {"drop_last": False}, {"num_workers": 2}])
def test_drawn_batches_are_those_that_the_loader_gives_next(options: dict[str, Any]) -> None:
    loader = create_dataloader(Numbered(), 4, **options)
    torch.manual_seed(123)
    next(iter(loader))  # the state is no fresh one
    state = torch.get_rng_state()
    drawn = drawn_batches(loader, num_batches=99, num_epochs=2)
    assert torch.equal(torch.get_rng_state(), state)  # nothing was drawn by asking
    for epoch in drawn:
        batches = [(x[:, 0].tolist(), tuple(x.shape), tuple(y.shape)) for x, y in loader]
        assert epoch == batches
        assert len(epoch) == len(loader)


def test_drawn_batches_of_a_seed_are_those_of_a_run_that_began_with_it() -> None:
    loader = create_dataloader(Numbered(), 4)
    torch.manual_seed(7)
    ran = [[x[:, 0].tolist() for x, _ in loader] for _ in range(2)]
    drawn = drawn_batches(loader, num_batches=3, seed=7)
    assert [[batch.indices for batch in epoch] for epoch in drawn] == [epoch[:3] for epoch in ran]
    assert (drawn[0][0].x_shape, drawn[0][0].y_shape) == ((4, 3), (4, 3))


@pytest.mark.parametrize("seed", [2**64, -(2**63) - 1, 10**26, 1.5, "7"])
def test_a_seed_that_torch_has_not_is_an_error_that_names_it(seed: Any) -> None:
    with pytest.raises(ValueError, match=f"seed is {seed!r}, and .* whole number"):
        drawn_batches(create_dataloader(Numbered(), 4), seed=seed)


def test_drawn_batches_follow_a_generator_of_the_loaders_own() -> None:
    loader = create_dataloader(Numbered(), 4, generator=torch.Generator().manual_seed(5))
    drawn = drawn_batches(loader, num_batches=99)
    assert [[batch.indices for batch in epoch] for epoch in drawn] == [
        [x[:, 0].tolist() for x, _ in loader] for _ in range(2)
    ]


def test_a_dataset_that_is_only_iterated_has_no_indices_to_draw() -> None:
    class Endless(IterableDataset[Tensor]):
        def __iter__(self) -> Iterator[Tensor]:
            return map(torch.tensor, itertools.count())

    with pytest.raises(ValueError, match=r"the dataset Endless has no length, so torch draws no indices.*GPTDatasetV1"):
        drawn_batches(create_dataloader(Endless(), 2, shuffle=False))
    with pytest.raises(ValueError, match=r"the loader of Numbered has no batch_size, so torch draws no indices"):
        drawn_batches(DataLoader(Numbered(), batch_size=None))


# A dataset like a list of tensors


def test_input_ids_and_target_ids_index_like_the_lists_they_were() -> None:
    text = letters(800)
    plain, ours = PlainGPTDatasetV1(text, Letters(), 5, 2), GPTDatasetV1(text, Letters(), 5, 2)
    for ours_rows, plain_rows in [(ours.input_ids, plain.input_ids), (ours.target_ids, plain.target_ids)]:
        assert len(ours_rows) == len(plain_rows) == 398  # more than one stretch of the iteration
        assert listed(ours_rows) == listed(plain_rows)
        assert listed(reversed(ours_rows)) == listed(reversed(plain_rows))
        for index in (0, 1, 397, -1, -398, torch.tensor(7), np.int64(3)):
            assert torch.equal(ours_rows[index], plain_rows[index])
        for part in (slice(3), slice(-4, None), slice(None, None, -50), slice(5, 5), slice(390, 999)):
            assert listed(ours_rows[part]) == listed(plain_rows[part])
        assert torch.stack(ours_rows[:8]).shape == (8, 5)
        for index in (398, -399):
            with pytest.raises(IndexError, match="of 398"):
                ours_rows[index]
    assert repr(ours.input_ids) == "<398 int64 tensors, made when asked for>"


def test_torch_takes_input_ids_and_target_ids_for_lists_of_tensors() -> None:
    text = letters(100)
    plain, ours = PlainGPTDatasetV1(text, Letters(), 5, 2), GPTDatasetV1(text, Letters(), 5, 2)
    for ours_rows, plain_rows in [(ours.input_ids, plain.input_ids), (ours.target_ids, plain.target_ids)]:
        assert torch.equal(torch.stack(ours_rows), torch.stack(plain_rows))
        assert torch.equal(torch.stack(ours_rows, dim=1), torch.stack(plain_rows, dim=1))
        assert torch.equal(torch.stack(tensors=ours_rows), torch.stack(plain_rows))
        for join in (torch.cat, torch.vstack, torch.hstack):
            assert torch.equal(join(ours_rows), join(plain_rows))


def test_lists_of_tensors_are_equal_when_their_tensors_are() -> None:
    text = letters(100)
    plain, ours = PlainGPTDatasetV1(text, Letters(), 5, 2), GPTDatasetV1(text, Letters(), 5, 2)
    assert ours.input_ids == plain.input_ids
    assert plain.input_ids == ours.input_ids
    assert ours.input_ids == GPTDatasetV1(text, Letters(), 5, 2).input_ids
    assert ours.input_ids != ours.target_ids
    assert ours.input_ids != plain.input_ids[:-1]
    assert ours.input_ids != [1] * len(ours.input_ids)
    assert ours.input_ids != "abc"


def test_a_list_of_tensors_that_are_made_when_asked_for_says_so_when_it_is_changed() -> None:
    dataset = GPTDatasetV1(letters(100), Letters(), 5, 2)
    row = torch.zeros(5, dtype=torch.int64)
    message = (
        r"made from the tokens when they are asked for, so nothing can be added.*my_ids = list\(dataset.input_ids\)"
    )
    for change in (
        lambda rows: rows.append(row),
        lambda rows: rows.extend([row]),
        lambda rows: rows.insert(0, row),
        lambda rows: rows.pop(),
        lambda rows: rows.remove(row),
        lambda rows: rows.__setitem__(0, row),
        lambda rows: rows.__delitem__(0),
    ):
        with pytest.raises(ValueError, match=message):
            change(dataset.input_ids)
    my_ids = list(dataset.input_ids)
    my_ids.append(row)  # the remedy
    assert len(my_ids) == len(dataset) + 1


def test_an_item_is_a_pair_of_int64_tensors_that_share_no_memory() -> None:
    dataset = GPTDatasetV1("abcdef", Letters(), 3, 1)
    inputs, targets = dataset[-1]
    assert (inputs.dtype, targets.dtype) == (torch.int64, torch.int64)
    inputs.fill_(0)
    assert targets.tolist() == [ord(letter) for letter in "def"]
    assert dataset[2][0].tolist() == [ord(letter) for letter in "cde"]  # nor with the dataset's tokens
    assert [listed(rows) for rows in dataset[:2]] == [[[97, 98, 99], [98, 99, 100]], [[98, 99, 100], [99, 100, 101]]]
    assert len(list(dataset)) == len(dataset) == 3


def test_a_batch_is_fetched_in_one_gather(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = GPTDatasetV1(letters(100), Letters(), 4, 1)
    sizes, gather = [], dataset._windows.gather
    monkeypatch.setattr(dataset._windows, "gather", lambda ids: sizes.append(len(ids)) or gather(ids))
    num_batches = len(list(create_dataloader(dataset, 16, drop_last=False)))
    assert sizes == [16] * 6
    assert num_batches == 6
    pairs = dataset.__getitems__([3, 0, -1])
    assert [(x.tolist(), y.tolist()) for x, y in pairs] == [
        (x.tolist(), y.tolist()) for x, y in map(dataset.__getitem__, [3, 0, 95])
    ]


def test_a_pickled_dataset_is_its_narrow_tokens_and_little_more() -> None:
    dataset = GPTDatasetV1(letters(10_000), Letters(), 64, 1)
    data = pickle.dumps(dataset)
    assert 2 * 10_000 < len(data) < 2 * 10_000 + 2000
    assert two_epochs(create_dataloader(pickle.loads(data), 512, False)) == two_epochs(
        create_dataloader(dataset, 512, False)
    )
    assert len(pickle.dumps(LMSequenceDataset(np.arange(10_000), 64))) < 2 * 10_000 + 2000


def test_torch_can_split_a_dataset() -> None:
    first, second = random_split(GPTDatasetV1(letters(50), Letters(), 4, 1), [0.5, 0.5])
    batches = [inputs for part in (first, second) for inputs, _ in DataLoader(part, batch_size=7)]
    assert sorted(listed(torch.cat(batches))) == sorted(listed(GPTDatasetV1(letters(50), Letters(), 4, 1).input_ids))


MEASURE = """
import sys
from pathlib import Path
import numpy, torch, tiktoken
from windrow.textbook import create_dataloader_v1
def peak_kilobytes():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
text = Path(sys.argv[1]).read_text()
before = peak_kilobytes()
loader = create_dataloader_v1(text, batch_size=4, max_length=1024, stride=1)
for step, (inputs, targets) in zip(range(50), loader):
    assert inputs.shape == targets.shape == (4, 1024)
print(len(loader), peak_kilobytes() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_stride_1_at_max_length_1024_takes_less_than_100_megabytes(tmp_path: Path) -> None:
    shared = path = SHARED / "data" / "tinyshakespeare.txt"
    if not shared.exists():
        path = tmp_path / "story.txt"
        path.write_text(STORY * 130, encoding="utf-8")  # 1.1 MB
    run = subprocess.run([sys.executable, "-c", MEASURE, path], capture_output=True, text=True, check=True)
    num_batches, kilobytes = map(int, run.stdout.split())
    assert num_batches == 84250 if path == shared else num_batches > 50_000
    assert kilobytes < 100_000


# The courses


def test_every_place_where_a_block_fits_is_a_window() -> None:
    for tokens in (list(range(9)), np.arange(9), np.arange(9, dtype=np.uint16), torch.arange(9), (*range(9),)):
        dataset = LMSequenceDataset(tokens, block_size=3)
        assert len(dataset) == 6
        assert dataset.block_size == 3
        assert listed(dataset.input_ids) == [[i, i + 1, i + 2] for i in range(6)]
        assert listed(dataset.target_ids) == [[i + 1, i + 2, i + 3] for i in range(6)]


def test_the_tokens_of_a_dataset_read_like_the_list_that_they_were() -> None:
    ids = [5, 70_000, 3, 9, 1, 0, 2]
    for given in (ids, np.array(ids), torch.tensor(ids), np.array(ids, np.uint32)):
        dataset = LMSequenceDataset(given, block_size=3)
        assert dataset.tokens == ids
        assert (len(dataset.tokens), dataset.tokens[1], dataset.tokens[-1], dataset.tokens[2:4]) == (
            7,
            70_000,
            2,
            [3, 9],
        )
        assert {type(token) for token in (*dataset.tokens, dataset.tokens[0])} == {int}  # no uint16 that wraps below 0
        assert torch.tensor(dataset.tokens[:2]).dtype == torch.int64
        assert dataset.input_ids[2].tolist() == list(dataset.tokens[2:5])
    train, _ = train_valid_split(dataset.tokens, 0.5)
    assert train == ids[:3]
    big = LMSequenceDataset(np.arange(10_000), 64)
    assert (len(big.tokens), len(pickle.dumps(big)) < 2 * 10_000 + 2000) == (10_000, True)


def test_a_uint16_array_is_not_copied() -> None:
    tokens = np.arange(9, dtype=np.uint16)
    dataset = LMSequenceDataset(tokens, 3)
    tokens[0] = 77
    assert dataset[0][0].tolist() == [77, 1, 2]


def test_a_split_is_one_cut_and_a_view() -> None:
    array = np.arange(20)
    train, valid = train_valid_split(array)
    assert np.shares_memory(train, array)
    assert np.shares_memory(valid, array)
    assert (train.tolist(), valid.tolist()) == ([*range(18)], [18, 19])
    tensor = torch.arange(20)
    train, valid = train_valid_split(tensor, split_frac=0.4)
    assert train.data_ptr() == tensor.data_ptr()
    assert valid.data_ptr() == tensor[8:].data_ptr()
    assert torch.equal(torch.cat([train, valid]), tensor)


def test_a_split_of_a_list_reads_like_a_list_and_copies_nothing() -> None:
    tokens = list(range(20))
    train, valid = train_valid_split(tokens, 0.75)
    assert (train, valid) == (tokens[:15], tokens[15:])
    assert train != tokens
    assert valid != [99] * 5
    assert (list(valid), valid[0], valid[-1], valid[1:3], len(valid)) == ([*range(15, 20)], 15, 19, [16, 17], 5)
    assert torch.tensor(valid).tolist() == torch.LongTensor(valid).tolist() == tokens[15:]
    assert repr(train) == "<15 tokens of a list>"
    with pytest.raises(IndexError):
        valid[5]
    tokens[15] = 99
    assert valid[0] == 99
    assert listed(LMSequenceDataset(valid, 4).input_ids) == [[99, 16, 17, 18]]
    assert train_valid_split(train, 0.2) == (tokens[:3], tokens[3:15])


def test_splits_have_the_sizes_of_the_golden_file() -> None:
    for golden in (*GOLDEN["texts"].values(), OF_STORY):
        parts = train_valid_split(range(golden["num_tokens"]))
        assert [len(part) for part in parts] == list(golden["split_0.9"].values())


def test_tokens_of_no_file_are_those_of_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(textbook, "demo_text", lambda: STORY)
    corpus, tokens, encoder = load_tokens(GPT2DataConfig())
    assert corpus == STORY
    assert tokens == load_tokenizer("gpt2").encode(STORY)
    assert encoder.decode(tokens) == STORY


def test_a_file_is_read_as_open_reads_text(tmp_path: Path) -> None:
    path = tmp_path / "crlf.txt"
    path.write_bytes("naïve\r\ncafé\n<|endoftext|>".encode())
    corpus, tokens, _ = load_tokens(GPT2DataConfig(), str(path))
    with path.open(encoding="utf-8") as file:
        assert corpus == file.read() == "naïve\ncafé\n<|endoftext|>"
    assert tokens[-1] == 50256


@pytest.mark.parametrize("num_workers", [0, 1, 2])
@pytest.mark.parametrize("shuffle", [False, True])
def test_course_loaders_give_the_batches_of_the_plain_classes(shuffle: bool, num_workers: int, tmp_path: Path) -> None:
    path = tmp_path / "story.txt"
    path.write_text(STORY[:1500], encoding="utf-8")
    cfg = GPT2DataConfig(block_size=8, batch_size=32, shuffle=shuffle, seed=7)
    ids = torch.tensor(load_tokenizer("gpt2").encode(STORY[:1500]))
    cut = int(len(ids) * 0.8)
    parts = [TensorDataset(part[:-1].unfold(0, 8, 1), part[1:].unfold(0, 8, 1)) for part in (ids[:cut], ids[cut:])]
    torch.manual_seed(cfg.seed)
    expected = [two_epochs(DataLoader(part, 32, shuffle)) for part in parts]
    loaders = make_dataloader(cfg, path, train_frac=0.8, num_workers=num_workers)
    assert [two_epochs(loaders["train_dl"]), two_epochs(loaders["valid_dl"])] == expected
    assert sorted(loaders) == ["encoder", "train_dl", "valid_dl"]
    assert len(loaders["train_dl"]) == -(-(cut - 8) // 32)  # the short last batch is there
    assert loaders["train_dl"].pin_memory == (torch.cuda.is_available() or textbook._pins_memory())


def test_the_configuration_has_the_defaults_of_the_courses() -> None:
    assert GPT2DataConfig() == GPT2DataConfig(block_size=256, batch_size=4, shuffle=True, seed=123)


# Bad input


def test_text_too_short_for_one_window_is_an_error_with_the_arithmetic() -> None:
    message = r"txt has 4 tokens, and one window needs max_length \+ 1 = 9. Use max_length <= 3, or windrow.Windows"
    with pytest.raises(NotEnoughTokensError, match=message + r".*\(1 window, 5 targets masked\), or add text."):
        GPTDatasetV1("abcd", Letters(), 8, 1)
    for text, count in (("", 0), ("a", 1)):
        with pytest.raises(
            NotEnoughTokensError, match=f"txt has {count} tokens, and the shortest window needs 2.*Add text"
        ):
            create_dataloader_v1(text)
    with pytest.raises(ValueError, match=r"tokens has 3 tokens.*block_size \+ 1 = 4. Use block_size <= 2"):
        LMSequenceDataset([1, 2, 3], 3)


def test_a_loader_without_a_batch_is_an_error_with_the_arithmetic() -> None:
    dataset = GPTDatasetV1(letters(19), Letters(), 4, 4)
    message = (
        r"has 4 samples, and one step takes batch_size 8, so with drop_last=True.*"
        r"batch_size <= 4, or drop_last=False \(1 short step\), or stride <= 2 "
        r"\(there are \(19 - 4 - 1\) // stride \+ 1 windows\), or more text"
    )
    with pytest.raises(NotEnoughTokensError, match=message):
        create_dataloader(dataset, batch_size=8)
    assert len(create_dataloader(dataset, batch_size=8, drop_last=False)) == 1
    assert len(create_dataloader(dataset, batch_size=4)) == 1
    assert len(create_dataloader(GPTDatasetV1(letters(19), Letters(), 4, 2), batch_size=8)) == 1  # the remedy helps
    with pytest.raises(NotEnoughTokensError, match="1 short step\\), or more text"):  # no stride would
        create_dataloader(dataset, batch_size=99)


def test_any_dataset_may_be_loaded_but_none_without_a_batch() -> None:
    class Endless(IterableDataset[Tensor]):
        def __iter__(self) -> Iterator[Tensor]:
            return map(torch.tensor, itertools.count())

    assert next(iter(create_dataloader(Endless(), 2, shuffle=False))).tolist() == [0, 1]
    with pytest.raises(NotEnoughTokensError, match=r"has 3 samples.*batch_size 4.*short step\), or more text"):
        create_dataloader(TensorDataset(torch.zeros(3)), 4)
    with pytest.raises(NotEnoughTokensError, match="0 samples"):
        create_dataloader(TensorDataset(torch.zeros(0)), 4, drop_last=False)


@pytest.mark.parametrize("value", [0, -1, 1.5, True])
def test_a_size_below_1_is_an_error_that_names_it(value: Any) -> None:
    with pytest.raises(ValueError, match=f"max_length is {value}"):
        create_dataloader_v1(STORY, max_length=value)
    with pytest.raises(ValueError, match=f"stride is {value}"):
        create_dataloader_v1(STORY, stride=value)
    with pytest.raises(ValueError, match=f"batch_size is {value}"):
        create_dataloader_v1(STORY, batch_size=value)
    with pytest.raises(ValueError, match=f"block_size is {value}"):
        LMSequenceDataset([1, 2, 3], value)
    with pytest.raises(ValueError, match=f"batch_size is {value}"):
        make_dataloader(GPT2DataConfig(batch_size=value))


def test_a_stride_longer_than_the_window_warns_of_what_is_never_trained_on() -> None:
    with pytest.warns(UserWarning, match="3 of 12 targets are never trained on"):
        dataset = GPTDatasetV1(letters(13), Letters(), max_length=3, stride=4)
    pickle.loads(pickle.dumps(dataset))  # warns no second time, as in each worker it would


@pytest.mark.parametrize("kind", [str, Path])
def test_the_path_of_a_file_is_not_its_text(kind: Any, tmp_path: Path) -> None:
    path = tmp_path / "story.txt"
    path.write_text(STORY)
    with pytest.raises(ValueError, match=r"txt is the path of a file.*Read it first: txt = Path\("):
        create_dataloader_v1(kind(path))
    assert len(GPTDatasetV1(str(tmp_path / "no such file"), Letters(), 2, 1)) > 0
    assert len(GPTDatasetV1("a\0b\ud800c", Letters(), 2, 1)) == 3


def test_create_dataset_says_what_is_missing_and_what_there_is() -> None:
    with pytest.raises(ValueError, match="Unknown dataset_type 'gpt_v9': the types are gpt_v1"):
        create_dataset("gpt_v9", txt=STORY, tokenizer=Letters())
    with pytest.raises(ValueError, match="txt parameter is required"):
        create_dataset(tokenizer=Letters())
    with pytest.raises(ValueError, match="tokenizer parameter is required"):
        create_dataset(txt=STORY)


@pytest.mark.parametrize("split_frac", [0, 1, -0.1, 1.5, float("nan")])
def test_a_split_fraction_outside_0_and_1_is_an_error(split_frac: float) -> None:
    with pytest.raises(ValueError, match=f"split_frac is {split_frac}"):
        train_valid_split([1, 2, 3], split_frac)


def test_a_split_too_short_for_one_window_is_an_error_whose_remedies_help(tmp_path: Path) -> None:
    path = tmp_path / "story.txt"
    path.write_text(STORY[:1500], encoding="utf-8")
    n = len(load_tokenizer("gpt2").encode(STORY[:1500]))
    num_valid = n - int(n * 0.9)
    cfg = GPT2DataConfig(block_size=num_valid + 9)
    with pytest.raises(NotEnoughTokensError) as info:
        make_dataloader(cfg, path)
    message = str(info.value)
    assert message.startswith(f"split 'valid': tokens has {num_valid} tokens, and one window needs block_size + 1 = ")
    assert f"Use block_size <= {num_valid - 1}, or " in message
    assert "Or use train_frac=0." in message
    assert 'tail="pad") (1 window, 10 targets masked)' in message
    train_frac = float(message.split("train_frac=")[1][:4])
    assert len(make_dataloader(cfg, path, train_frac, num_workers=0)["valid_dl"]) >= 1
    with pytest.raises(NotEnoughTokensError, match="split 'train'"):
        make_dataloader(cfg, path, train_frac=0.05)
    with pytest.raises(NotEnoughTokensError, match="at least 2002 tokens of text"):
        make_dataloader(GPT2DataConfig(block_size=1000), path)
    with pytest.raises(ValueError, match=r"train_frac is 1.5: .* use 0 < train_frac < 1"):
        make_dataloader(cfg, path, train_frac=1.5)


def test_a_file_that_is_not_utf8_or_not_there_is_an_error_that_says_where(tmp_path: Path) -> None:
    path = tmp_path / "latin1.txt"
    path.write_bytes(b"x" * 100_000 + b"caf\xe9 au lait")
    with pytest.raises(SourceError, match=r"latin1.txt is not UTF-8: byte 0xe9 at offset 100003"):
        load_tokens(GPT2DataConfig(), path)
    with pytest.raises(SourceError, match=r"missing.txt cannot be read: No such file"):
        load_tokens(GPT2DataConfig(), tmp_path / "missing.txt")
