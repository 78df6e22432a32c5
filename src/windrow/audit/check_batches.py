"""The checks of the batches that the recipe gives. Each returns its evidence, or raises ``Failed`` with it.

Cost: some steps of the real loader, and of others that differ from it in one thing.
"""

import pickle
from collections import Counter
from typing import Any

import numpy as np

from windrow.arrays import IGNORE_INDEX, Int64, Mask, runs
from windrow.audit.check_subject import Advice, Failed, NotApplicable, Subject
from windrow.audit.plan import plan
from windrow.loader.loader import Loader
from windrow.shown import counted
from windrow.store.store import TokenStore
from windrow.windows.mixture import Mixture
from windrow.windows.spans import Key, document_bounds
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

_MOST_PLACES, _ORDERED = 1 << 22, 1 << 12  # in a step of all ranks; windows whose order is looked at
_SAMPLED, _ENOUGH = 64, 32  # documents whose neighbours are looked at; so few may keep half of them by chance


def targets_shifted(subject: Subject) -> str:
    """Inputs are the row's tokens, and targets the tokens one further, once, where they count; padding is eos."""
    loader, seen = subject.loader(), 0
    for step in _some_steps(loader):
        batch = loader[step]
        for row, sample in enumerate(loader.lookup(step)):
            expected = _expected(loader, *sample[1:])
            for shift, part in ((0, batch.inputs), (1, batch.targets)):
                if not np.array_equal(part[row], expected[shift]):
                    what = "targets" if shift else "inputs"
                    raise Failed(f"step {step}: {what} are not the tokens {shift} further on")
        seen += batch.targets.size
    return f"{counted(seen, 'target')}: each is the token after its input, in the store and in the row"


def ranks_alike(subject: Subject) -> str:
    """The ranks of a step share no sample, and together are the step of one rank; what they have beyond is masked."""
    run = subject.run
    world = run.dp_world_size if run.dp_world_size > 1 else 3
    most = _MOST_PLACES // (world * run.data.max_length)
    size = max(1, min(run.batch_size, run.epoch_samples // world, most))
    whole = subject.loader(size * world)
    ranks = [subject.loader(size, dp_rank=rank, dp_world_size=world) for rank in range(world)]
    for step in sorted({0, min(1, len(whole) - 1), len(whole) - 1}):
        expected, parts = whole[step], [rank[step] for rank in ranks]
        inputs, targets = (np.concatenate(both) for both in zip(*parts, strict=True))
        num = len(expected.inputs)
        same = np.array_equal(inputs[:num], expected.inputs) and np.array_equal(targets[:num], expected.targets)
        if not same or (targets[num:] != IGNORE_INDEX).any():
            raise Failed(f"step {step}: {world} ranks do not read what one rank with {size * world} samples reads")
        samples = [sample[1:] for rank in ranks for sample in rank.lookup(step)]
        if len(set(samples)) != len(samples):
            raise Failed(f"step {step}: {counted(len(samples) - len(set(samples)), 'sample')} read by several ranks")
    return f"{world} ranks of {counted(size, 'sample')} read disjoint parts of one step of {size * world}"


def workers_alike(subject: Subject) -> str:
    """Copies of the loader in other processes give the steps asked of them, no matter which copy."""
    loader = subject.loader()
    copies = [pickle.loads(pickle.dumps(loader)) for _ in range(2)]
    steps = range(min(4, len(loader)))
    read = [sample[1:] for step in steps for sample in copies[step % 2].lookup(step)]
    if len(set(read)) != len(read):
        raise Failed(f"two workers read {counted(len(read) - len(set(read)), 'sample')} twice")
    for step in steps:
        if not np.array_equal(copies[step % 2][step].inputs, loader[step].inputs):
            raise Failed(f"step {step} is another batch in a worker")
    return f"{counted(len(steps), 'step')} by turns from two pickled copies: those of one loader, each sample once"


def resume(subject: Subject) -> str:
    """States after a batch, after a second resume, at an epoch's end and with steps read ahead, go on exactly."""
    tail: dict[str, Any] = {"epochs": None} if subject.run.sizes.tail == "straddle" else {}
    reference = subject.loader(**tail)
    last = len(reference) - 1 if subject.run.data.max_repeats is None else max(0, len(reference) - 3)
    for prefetch in (0, 2):
        for first in sorted({0, last}):
            loader = subject.loader(prefetch=prefetch, **tail)
            loader.skip(first * loader.batch_size)
            for again in range(2):
                next(iter(loader))
                state = loader.state_dict()
                loader = subject.loader(prefetch=prefetch, **tail)
                loader.load_state_dict(state)
                step = first + again + 1
                if not all(map(np.array_equal, next(iter(loader)), reference[step])):
                    raise Failed(f"resumed after step {step - 1} (resume {again + 1}), step {step} is another batch")
                loader.load_state_dict(state)
    return f"resumed twice after step 0 and at the end of the epoch, step {last}, also when read ahead: same batches"


def reshuffled(subject: Subject) -> str:
    """Each member's windows come in other orders in its epochs 0 and 1."""
    loader, same, num = subject.loader(), 0, 0
    if not loader.shuffle:
        raise NotApplicable("nothing is shuffled, as asked for")
    for name, member in loader.members.items():
        windows = np.arange(min(member.num_samples, _ORDERED))
        positions = np.stack([loader.placed(windows, epoch, member=name)[0] for epoch in range(2)])
        if len(windows) < 8 or positions.min() < 0:  # too few to tell, or never drawn
            continue
        first, second = np.argsort(positions)
        what = f"{name or 'train'}: {len(windows)} samples"
        if np.array_equal(first, second):
            raise Failed(f"{what} of epoch 1 are those of epoch 0, in the same order")
        if np.array_equal(first, windows):
            raise Failed(f"{what} come in the order of the text: nothing is shuffled")
        same, num = same + int(np.count_nonzero(first == second)), num + len(windows)
    if not num:
        raise NotApplicable(f"{counted(loader.epoch_samples, 'sample')} an epoch are too few to tell")
    return f"of {num} samples {same} come at the same place in epochs 0 and 1"


def tokens_dropped(subject: Subject) -> str:
    """The ledger balances, and is what the batches hold."""
    loader = subject.loader(drop_last=subject.run.epoch_samples >= subject.run.batch_size)
    num_steps = min(len(loader), 64)
    held = sum(loader[step].num_targets for step in range(num_steps))
    try:
        said, members = plan(loader, num_steps=num_steps).trained, plan(loader).members.values()
    except AssertionError as error:
        raise Failed(f"the ledger does not balance: {error}") from error
    if held != said:
        raise Failed(f"{num_steps} steps hold {held} targets, and the ledger says {said}")
    dropped = sum((Counter(member.dropped) for member in members), Counter[str]())
    num_tokens = sum(member.num_tokens for member in members)
    return f"of {num_tokens:,} tokens an epoch drops {dropped.total():,} {dict(+dropped) or ''}".rstrip()


def padding_counts(subject: Subject) -> str:
    """In a padded row no padding counts, and every eos does; where windows are never padded, of some that are."""
    found = Counter[str]()
    for windows in subject.run.members.values():
        made = _padded(windows) if windows.policy == "concat" and windows.tail == "drop" else windows
        loader = Loader(made, 1, shuffle=False, drop_last=False, dp_rank=0, dp_world_size=1)
        ids = np.unique(np.linspace(0, len(made) - 1, min(len(made), _ORDERED)).astype(np.int64))
        spans = made.spans(ids, key=(loader.seed, ""))
        last = int(ids[spans.per_row(spans.lengths).argmin()])
        targets, expected = np.asarray(loader[last].targets)[0], _expected(loader, "", last, 0)[1]
        num = len(_row(loader, "", last, 0)[0]) - 1
        if not np.array_equal(targets[:num], expected[:num]):
            raise Failed(f"the last window's {num} targets of text are not all there: is eos masked as padding?")
        if (targets[num:] != IGNORE_INDEX).any() or loader[last].num_targets != np.count_nonzero(expected >= 0):
            raise Failed(f"{np.count_nonzero(targets[num:] != IGNORE_INDEX)} targets of padding count")
        num_eos = int(np.count_nonzero(targets == subject.tokenizer.eos_id))
        found.update(text=num, eos=num_eos, none=made.max_length - num)
    held = f"{counted(found['text'], 'target')} of text, {found['eos']} of them eos, and {found['none']} of none"
    return f"the last window has {held}" if len(subject.train) == 1 else f"a short row of each member: {held} in all"


def _padded(windows: Windows) -> Windows:
    """Windows over the same store of which the last is padded."""
    n = windows.num_tokens
    length = min(windows.max_length, n - 1)
    return Windows(windows.store, length - ((n - 1) % length == 0 and length > 1), tail="pad")


def documents_leak(subject: Subject) -> str:
    """document_ids, position_ids and cu_seqlens are those of the boundaries, document by document."""
    loader, several = subject.loader(outputs=("document_ids", "position_ids", "cu_seqlens")), 0
    for step in _some_steps(loader)[:2]:
        batch, edges, num = loader[step], [], 0
        for row, sample in enumerate(loader.lookup(step)):
            places, positions = _row(loader, *sample[1:])[0], list[int]()
            documents = loader.members[sample.member].store.document_at(places).tolist()
            documents = (documents + [-1] * batch.inputs.shape[1])[: batch.inputs.shape[1]]
            for before, document in zip([None, *documents], documents, strict=False):
                positions.append(0 if document != before else positions[-1] + 1)
                edges += [num] * (document != before)
                num += 1
            several += len({*documents} - {-1}) > 1
            if batch.document_ids[row].tolist() != documents or batch.position_ids[row].tolist() != positions:
                raise Failed(f"step {step}, row {row}: the outputs are not those of the documents' boundaries")
        if batch.cu_seqlens[: len(edges) + 1].tolist() != [*edges, num]:
            raise Failed(f"step {step}: cu_seqlens are not the documents' edges")
    return f"outputs are true of the boundaries; rows of several documents: {several}. Mask them, or attention sees all"


def evaluation(subject: Subject) -> str:
    """Each target is scored once, whatever the batch size and number of ranks."""
    most = max(2, (1 << 17) // len(subject.train))
    stores = {name: TokenStore.from_ids(store.tokens(0, most)) for name, store in subject.train.items()}
    length = min(subject.run.data.max_length, *(store.num_tokens - 1 for store in stores.values()))
    windows = {name: (Windows(store, length, max(1, length // 2)), 1.0) for name, store in stores.items()}
    data, found = Mixture(windows) if len(windows) > 1 else next(iter(windows.values()))[0], {}
    for batch_size, world in ((1 + (1 << 13) // length, 1), (5, 3), (64, 2)):
        num, total = 0, 0
        for rank in range(world):
            for batch in Loader.evaluation(data, batch_size, dp_rank=rank, dp_world_size=world):
                scored = np.asarray(batch.targets)[np.asarray(batch.targets) != IGNORE_INDEX]
                num, total = num + len(scored), total + int(scored.sum())
        found[(batch_size, world)] = (num, total)
    sums = [(store.num_tokens - 1, int(store.tokens(1).astype(np.int64).sum())) for store in stores.values()]
    expected = tuple(map(sum, zip(*sums, strict=True)))
    if wrong := {sizes: got for sizes, got in found.items() if got != expected}:
        raise Failed(f"targets and their sum by (batch size, ranks) are {wrong}, and should be {expected}")
    return f"{counted(expected[0], 'target')} scored once each with (batch size, ranks) {', '.join(map(str, found))}"


def neighbours(subject: Subject) -> str:
    """Documents come after others in epoch 1 than in epoch 0."""
    num, stay, advice = 0, 0, False
    for name, windows in subject.run.members.items():
        sampled, key = _sampled(windows), (subject.run.seed, name)
        followers = [[_followers(windows, one, epoch, key) for epoch in range(2)] for one in sampled]
        kept = [not first.isdisjoint(second) for first, second in followers if first]
        num, stay = num + len(kept), stay + sum(kept)
        advice = advice or (bool(kept) and windows.document_order == "store")
        seen = f"of {counted(len(kept), 'pair')} of documents side by side in epoch 0, {sum(kept)} are so in epoch 1"
        if windows.document_order == "epoch" and sum(kept) > len(kept) / 2 and len(sampled) >= _ENOUGH:
            raise Failed(f"{name or 'train'}: {seen}, and they were to change")
    if not num:
        raise NotApplicable("no window holds the end of a document and the next one")
    seen = f"of {counted(num, 'pair')} of documents side by side in epoch 0, {stay} are so in epoch 1"
    if advice:
        raise Advice(f"{seen}. From the second epoch on, --documents epoch gives them others.")
    return seen


def _sampled(windows: Windows) -> list[int]:
    """Documents from everywhere; of rows in which pieces of one length change places, those with many of theirs."""
    starts, ends = document_bounds(windows.store)
    lengths = np.minimum(ends - starts, windows.max_length + 2)
    many = (np.bincount(lengths)[lengths] >= 8) & (lengths < windows.max_length + 2)
    documents = np.flatnonzero(many | (windows.policy != "pack"))
    places = np.linspace(0, len(documents) - 1, min(len(documents), _SAMPLED)).astype(np.int64)
    return list(map(int, documents[places]))


def _followers(windows: Windows, document: int, epoch: int, key: Key) -> set[int]:
    """The documents that come next to the end of ``document`` in the rows of ``epoch``."""
    end = windows.store.document_span(document)[1]
    rows = windows.documents(windows.layout.between(end - 1, end, epoch, key=key)[0], epoch, key=key)
    here, after = rows[:, :-1] == document, rows[:, 1:]
    return {*after[here & (after != document)].tolist()} - {-1}


def _row(loader: Loader, member: str, window: int, epoch: int) -> tuple[Int64, Mask]:
    """The token of the store at each place of a row, but for padding, and whether it counts as a target: (n,) each."""
    windows = loader.members[member]
    spans = windows.spans(np.array([window]), np.array([epoch]), key=(loader.seed, member))
    places, store = spans.places(), windows.store
    counts = runs(np.zeros_like(spans.lengths), spans.lengths) >= spans.context.repeat(spans.lengths)
    counts &= store.counts_at(places, np.ones_like(places))
    if loader.mask_targets or windows.policy in ("pad", "pack"):
        counts[1:] &= np.diff(store.document_at(places)) == 0
    return places, counts


def _expected(loader: Loader, member: str, window: int, epoch: int) -> tuple[Int64, Int64]:
    """The inputs and targets of a row, (max_length,) each."""
    windows, (places, counts) = loader.members[member], _row(loader, member, window, epoch)
    inputs, targets = np.full((2, windows.max_length + 1), [[windows.eos_id], [IGNORE_INDEX]])
    inputs[: len(places)] = windows.store.gather(places, 1)[:, 0]
    targets[: len(places)] = np.where(counts, inputs[: len(places)], IGNORE_INDEX)
    return inputs[:-1], targets[1:]


def _some_steps(loader: Loader) -> list[int]:
    """The first, one in the middle, the last, and the first that each member is in."""
    firsts = (loader.places_of([0], 0, member=name)[0].step for name in loader.members)
    return sorted({0, len(loader) // 2, len(loader) - 1} | {step for step in firsts if step is not None})
