"""The checks of the batches that the recipe gives. Each returns its evidence, or raises ``Failed`` with it.

Cost: some steps of the real loader, and of others that differ from it in one thing.
"""

import pickle

import numpy as np

from windrow.arrays import IGNORE_INDEX, Int64
from windrow.audit.check_subject import Advice, Failed, NotApplicable, Subject
from windrow.audit.plan import plan
from windrow.loader.loader import Loader
from windrow.shown import counted
from windrow.store.store import TokenStore
from windrow.windows.spans import Key
from windrow.windows.windows import Windows

__all__ = [
    "documents_leak",
    "evaluation",
    "neighbours",
    "padding_counts",
    "ranks_alike",
    "reshuffled",
    "resume",
    "targets_shifted",
    "tokens_dropped",
    "workers_alike",
]

_SAMPLED, _ENOUGH = 64, 32  # documents whose neighbours are looked at; so few may keep half of them by chance


def targets_shifted(subject: Subject) -> str:
    """Inputs are the window's tokens, and targets the tokens one further, once."""
    loader, windows, seen = subject.loader(), subject.windows, 0
    for step in _some_steps(loader):
        batch, places = loader[step], _places(windows, loader, step)
        tokens = subject.train.gather(places.reshape(-1), 1).reshape(places.shape).astype(np.int64)
        counting = subject.train.counts_at(places.reshape(-1), np.ones(places.size, dtype=np.int64))
        expected = tokens[:, :-1], np.where(counting.reshape(places.shape), tokens, IGNORE_INDEX)[:, 1:]
        for shift, part in ((0, batch.inputs), (1, batch.targets)):
            found = np.asarray(part)
            if not np.array_equal(found, expected[shift]):
                raise Failed(f"step {step}: {'targets' if shift else 'inputs'} are not the tokens {shift} further on")
        seen += found.size
    return f"{counted(seen, 'target')}: each is the token after its input, in the store and in the row"


def ranks_alike(subject: Subject) -> str:
    """The ranks of a step share no sample, and together are the step of one rank."""
    size, world = max(1, min(subject.sizes.batch_size, subject.windows.num_samples // 3)), 3
    whole = subject.loader(size * world)
    ranks = [subject.loader(size, dp_rank=rank, dp_world_size=world) for rank in range(world)]
    for step in range(min(2, len(whole))):
        parts = [np.asarray(rank[step].inputs) for rank in ranks]
        expected = np.asarray(whole[step].inputs)
        if not np.array_equal(np.concatenate(parts)[: len(expected)], expected):
            raise Failed(f"step {step}: {world} ranks do not read what one rank with {size * world} samples reads")
        windows = [sample.window for rank in ranks for sample in rank.lookup(step)]
        if len(set(windows)) != len(windows):
            raise Failed(f"step {step}: {counted(len(windows) - len(set(windows)), 'sample')} read by several ranks")
    return f"{world} ranks of {counted(size, 'sample')} read disjoint parts of one step of {size * world}"


def workers_alike(subject: Subject) -> str:
    """Copies of the loader in other processes give the steps asked of them, no matter which copy."""
    loader = subject.loader()
    copies = [pickle.loads(pickle.dumps(loader)) for _ in range(2)]
    steps = range(min(4, len(loader)))
    read = [sample.window for step in steps for sample in copies[step % 2].lookup(step)]
    if len(set(read)) != len(read):
        raise Failed(f"two workers read {counted(len(read) - len(set(read)), 'sample')} twice")
    for step in steps:
        if not np.array_equal(copies[step % 2][step].inputs, loader[step].inputs):
            raise Failed(f"step {step} is another batch in a worker")
    return f"{counted(len(steps), 'step')} by turns from two pickled copies: those of one loader, each sample once"


def resume(subject: Subject) -> str:
    """States after a batch, after a second resume, at an epoch's end and with steps read ahead, go on exactly."""
    reference = subject.loader()
    num = len(reference)
    for prefetch in (0, 2):
        for first in sorted({0, num - 1}):
            loader = subject.loader(prefetch=prefetch)
            loader.skip(first * loader.batch_size)
            for again in range(2):
                next(iter(loader))
                state = loader.state_dict()
                loader = subject.loader(prefetch=prefetch)
                loader.load_state_dict(state)
                step = first + again + 1
                following = next(iter(loader))
                if not np.array_equal(following.inputs, reference[step].inputs):
                    raise Failed(f"resumed after step {step - 1} (resume {again + 1}), step {step} is another batch")
                loader.load_state_dict(state)
    return f"resumed twice after step 0 and at the end of the epoch, step {num - 1}, also when read ahead: same batches"


def reshuffled(subject: Subject) -> str:
    """Two epochs come in different orders."""
    loader = subject.loader()
    num = loader.epoch_samples
    if num < 8:
        raise NotApplicable(f"{counted(num, 'sample')} an epoch are too few to tell")
    steps = range(min(len(loader), 64))
    first, second = ([s.window for i in steps for s in loader.lookup(i + e * len(loader))] for e in range(2))
    same = sum(a == b for a, b in zip(first, second, strict=True))
    if first == second:
        raise Failed(f"the first {len(first)} samples of epoch 1 are those of epoch 0, in the same order")
    if first == sorted(first):
        raise Failed(f"the first {len(first)} samples come in the order of the text: nothing is shuffled")
    return f"{same} of the first {len(first)} samples are at the same place in epochs 0 and 1"


def tokens_dropped(subject: Subject) -> str:
    """The ledger balances, and is what the batches hold."""
    loader = subject.loader(drop_last=subject.windows.num_samples >= subject.sizes.batch_size)
    num_steps = min(len(loader), 64)
    held = sum(loader[step].num_targets for step in range(num_steps))
    try:
        said, (member,) = plan(loader, num_steps=num_steps).trained, plan(loader).members.values()
    except AssertionError as error:
        raise Failed(f"the ledger does not balance: {error}") from error
    if held != said:
        raise Failed(f"{num_steps} steps hold {held} targets, and the ledger says {said}")
    dropped = {reason: count for reason, count in member.dropped.items() if count}
    return f"of {member.num_tokens:,} tokens an epoch drops {sum(dropped.values()):,} {dropped or ''}".rstrip()


def padding_counts(subject: Subject) -> str:
    """In a padded window no padding counts, and every eos of the text does."""
    n = subject.train.num_tokens
    length = min(subject.sizes.max_length, n - 1)
    length -= (n - 1) % length == 0 and length > 1  # so that something is left over
    windows = Windows(subject.train, length, tail="pad")
    batch = Loader(windows, 1, shuffle=False, drop_last=False, dp_rank=0, dp_world_size=1)[windows.num_samples - 1]
    left = (n - 1) - (windows.num_samples - 1) * length
    targets = np.asarray(batch.targets)[0]
    tokens = subject.train.tokens(n - left, n).astype(np.int64)
    expected = np.where(subject.train.counts_at(np.array([n - left]), np.array([left])), tokens, IGNORE_INDEX)
    if not np.array_equal(targets[:left], expected):
        raise Failed(f"the last window's {left} targets of text are not all there: is eos masked as padding?")
    if (targets[left:] != IGNORE_INDEX).any() or batch.num_targets != np.count_nonzero(expected >= 0):
        raise Failed(f"{np.count_nonzero(targets[left:] != IGNORE_INDEX)} targets of padding count")
    num_eos = int(np.count_nonzero(tokens == subject.tokenizer.eos_id))
    return f"the last window has {counted(left, 'target')} of text, {num_eos} of them eos, and {length - left} of none"


def documents_leak(subject: Subject) -> str:
    """document_ids, position_ids and cu_seqlens are those of the boundaries, document by document."""
    names, windows = ("document_ids", "position_ids", "cu_seqlens"), subject.windows
    loader, several = subject.loader(outputs=names), 0
    for step in _some_steps(loader)[:2]:
        batch, edges, num = loader[step], [], 0
        for row, places in enumerate(_places(windows, loader, step)[:, :-1]):
            documents, positions = subject.train.document_at(places).tolist(), list[int]()
            for before, document in zip([-1, *documents], documents, strict=False):
                positions.append(0 if document != before else positions[-1] + 1)
                edges += [num] * (document != before)
                num += 1
            several += documents[0] != documents[-1]
            if batch.document_ids[row].tolist() != documents or batch.position_ids[row].tolist() != positions:
                raise Failed(f"step {step}, row {row}: the outputs are not those of the documents' boundaries")
        if batch.cu_seqlens[: len(edges) + 1].tolist() != [*edges, num]:
            raise Failed(f"step {step}: cu_seqlens are not the documents' edges")
    return f"outputs are true of the boundaries; rows of several documents: {several}. Mask them, or attention sees all"


def evaluation(subject: Subject) -> str:
    """Each target is scored once, whatever the batch size and number of ranks."""
    store = TokenStore.from_ids(subject.train.tokens(0, 1 << 17))
    length = min(subject.sizes.max_length, store.num_tokens - 1)
    found = {}
    for batch_size, world in ((1 + (1 << 13) // length, 1), (5, 3), (64, 2)):
        num, total = 0, 0
        for rank in range(world):
            windows = Windows(store, length, max(1, length // 2))
            for batch in Loader.evaluation(windows, batch_size, dp_rank=rank, dp_world_size=world):
                scored = np.asarray(batch.targets)[np.asarray(batch.targets) != IGNORE_INDEX]
                num, total = num + len(scored), total + int(scored.sum())
        found[(batch_size, world)] = (num, total)
    expected = (store.num_tokens - 1, int(store.tokens(1).astype(np.int64).sum()))
    if wrong := {sizes: got for sizes, got in found.items() if got != expected}:
        raise Failed(f"targets and their sum by (batch size, ranks) are {wrong}, and should be {expected}")
    return f"{counted(expected[0], 'target')} scored once each with (batch size, ranks) {', '.join(map(str, found))}"


def neighbours(subject: Subject) -> str:
    """Documents come after others in epoch 1 than in epoch 0."""
    windows, num, key = subject.windows, subject.train.num_documents, (subject.sizes.seed, "")
    sampled = np.linspace(0, num - 1, min(num, _SAMPLED)).astype(np.int64).tolist()
    followers = [[_followers(windows, one, epoch, key) for epoch in range(2)] for one in sampled]
    kept = [not first.isdisjoint(second) for first, second in followers if first]
    if not kept:
        raise NotApplicable("no window holds the end of a document and the next one")
    seen = f"of {counted(len(kept), 'pair')} of documents side by side in epoch 0, {sum(kept)} are so in epoch 1"
    if windows.document_order == "store":
        raise Advice(f"{seen}. From the second epoch on, --documents epoch gives them others.")
    if sum(kept) > len(kept) / 2 and num >= _ENOUGH:
        raise Failed(f"{seen}, and they were to change")
    return seen


def _followers(windows: Windows, document: int, epoch: int, key: Key) -> set[int]:
    """The documents that come next to the end of ``document`` in the rows of ``epoch``."""
    end = windows.store.document_span(document)[1]
    rows = windows.documents(windows.layout.holding(end - 1, end, epoch, key=key), epoch, key=key)
    here, after = rows[:, :-1] == document, rows[:, 1:]
    return {*after[here & (after != document)].tolist()} - {-1}


def _places(windows: Windows, loader: Loader, step: int) -> Int64:
    """The token of the store at each place of the rows of ``step``: (B, max_length + 1)."""
    samples = loader.lookup(step)
    ids, epochs = np.array([(sample.window, sample.epoch) for sample in samples]).T
    return windows.spans(ids, epochs, key=(loader.seed, "")).places().reshape(len(samples), -1)


def _some_steps(loader: Loader) -> list[int]:
    return sorted({0, len(loader) // 2, max(0, len(loader) - 1)})
