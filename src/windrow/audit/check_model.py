"""Does this model fit this loader, and does this loop read its targets as they are? Asked before the first step.

Guarantee: the model is left as it was: mode, gradients, random state. Cost: some forward passes of one short row. It
does not do: any training, or a proof; it probes one place of one row.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING, Any

from windrow.arrays import IGNORE_INDEX
from windrow.batches.batch import Batch
from windrow.errors import WindrowError
from windrow.loader.loader import Loader
from windrow.windows.windows import Windows

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["check_model"]

Loss = Callable[["nn.Module", "Tensor", "Tensor"], "Tensor"]
_PLACES = 16  # of the row that is probed
_AT_A_TIME = 1 << 22


def check_model(model: "nn.Module", loader: Loader, loss: Loss | None = None) -> None:
    """Raise ``WindrowError`` with all that is wrong between ``model``, ``loader`` and ``loss``.

    Ids: the largest id that the loader can give must be a row of the token embedding and a column of the logits.
    Targets: the loss of the target at place t must depend on input t (else targets are shifted twice) and on the target
    itself, and not on input t + 1, which is that target (else targets are not shifted, or the model is not causal). A
    batch in which no target counts must not give NaN.

    ``loss(model, inputs, targets)`` is the loss of your loop, with inputs and targets (1, L) int64. Without it, a model
    whose ``forward`` takes ``input_ids`` and ``labels``, as Hugging Face's do, is given ``Batch.as_hf()`` and must hold
    L + 1 positions; for any other model the logits are probed, ``model(inputs)`` or their ``.logits``.
    """
    as_hf = loss is None and {"input_ids", "labels"} <= {*signature(model.forward).parameters}
    largest = max(_largest_id(member) for member in loader.members.values())
    max_length = next(iter(loader.members.values())).max_length
    with _at_rest(model):
        inputs = _row(model, max_length, largest)
        wrong = [*_misfits(model, inputs, largest, max_length, as_hf)]
        if not wrong and inputs.shape[1] >= 3:
            loss = loss or (_labels_loss if as_hf else _cross_entropy)
            wrong += _wrong_targets(partial(loss, model), inputs, largest)
    if wrong:
        raise WindrowError("\n".join(wrong))


def _largest_id(windows: Windows) -> int:
    """The largest id of the store, and of padding."""
    store = windows.store
    if store.manifest:
        return max(int(store.manifest.max_token_id), int(windows.eos_id))
    firsts = range(0, store.num_tokens, _AT_A_TIME)
    return max(int(windows.eos_id), *(int(store.tokens(first, first + _AT_A_TIME).max()) for first in firsts))


def _row(model: "nn.Module", max_length: int, largest: int) -> "Tensor":
    """Small different ids, (1, L) but no more than are needed, where the model is."""
    import torch

    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    return torch.arange(min(max_length, _PLACES), device=device)[None] % (largest + 1)


def _misfits(model: "nn.Module", inputs: "Tensor", largest: int, max_length: int, as_hf: bool) -> Iterator[str]:
    rows, columns, positions = _sizes(model, inputs)
    if positions is not None and positions < max_length + as_hf:
        own = ": it shifts labels itself, so as_hf() has one more (does your loop read its logits? Give loss=)" * as_hf
        yield (
            f"the model holds {positions} positions, and it would be given {max_length + as_hf}{own}. Use "
            f"Windows(..., max_length={positions - as_hf}), or a longer model."
        )
    for what, size in (("its token embedding has rows", rows), ("its logits have columns", columns)):
        if size is not None and size <= largest:
            yield (
                f"the data has ids up to {largest}, and {what} for 0 to {size - 1}: a GPU asserts on that, far from "
                f"the cause. Make the model with vocab_size >= {largest + 1}, or use the tokenizer it was made for."
            )


def _sizes(model: "nn.Module", inputs: "Tensor") -> tuple[int | None, ...]:
    """Rows of the embedding of ``inputs``, columns of the logits, rows of the embedding of positions, or None."""
    import torch

    rows: list[int] = []
    positions: list[int] = []

    def look(module: Any, args: tuple[Any, ...], _: Any) -> None:
        if args and args[0].shape == inputs.shape and torch.equal(args[0], zeros):
            rows.append(module.num_embeddings)
        elif args and torch.equal(args[0].flatten(), places):
            positions.append(module.num_embeddings)

    zeros = torch.zeros_like(inputs)  # the smallest id, which fits; positions count up and are told apart
    places = torch.arange(inputs.shape[1], device=inputs.device)
    embeddings = [module for module in model.modules() if isinstance(module, torch.nn.Embedding)]
    hooks = [module.register_forward_hook(look) for module in embeddings]
    try:
        logits = _logits(model, zeros)
    finally:
        for hook in hooks:
            hook.remove()
    columns = logits.shape[-1] if logits.ndim == 3 else None
    return min(rows, default=None), columns, min(positions, default=None)


def _wrong_targets(loss: Callable[["Tensor", "Tensor"], "Tensor"], inputs: "Tensor", largest: int) -> Iterator[str]:
    """Probe the loss of one target, at place t, by changing the tokens around it."""
    t = inputs.shape[1] // 2
    none = inputs.new_full(inputs.shape, IGNORE_INDEX)
    if not bool(loss(inputs, none).isfinite()):
        yield (
            "the loss of a batch without any target that counts is not finite: a mean over zero targets. Divide the "
            "sum of the losses by max(num_targets, 1), num_targets summed over all ranks."
        )
    targets = none.clone()
    targets[0, t] = inputs[0, t + 1]
    before = loss(inputs, targets)

    def matters(changed: "Tensor", place: int) -> bool:
        """Whether the loss is another with other tokens at ``place``."""
        for step in (1, 2, 3):
            other = changed.clone()
            other[0, place] = (other[0, place] + step) % (largest + 1)
            after = loss(inputs, other) if changed is targets else loss(other, targets)
            if not bool((after - before).abs() <= 1e-5 * before.abs().clamp(min=1e-3)):
                return True
        return False

    if not matters(targets, t):
        yield (
            f"the loss does not depend on the target at place {t}: targets are not used, or used shifted. They are "
            "shifted already: compare logits[:, t] with targets[:, t]."
        )
        return
    if not matters(inputs, t):
        yield (
            f"the loss of the target at place {t} does not depend on input {t}, the token before it: targets are "
            "shifted twice. They are shifted already: compare logits[:, t] with targets[:, t], and do not give them "
            "as labels to a model that shifts them itself: it takes batch.as_hf()."
        )
    if matters(inputs, t + 1):
        yield (
            f"the loss of the target at place {t} depends on input {t + 1}, which is that target: the model sees what "
            "it shall predict. Either its attention is not causal, or targets are compared with the logits of a later "
            "place."
        )


def _cross_entropy(model: "nn.Module", inputs: "Tensor", targets: "Tensor") -> "Tensor":
    import torch.nn.functional as F

    logits = _logits(model, inputs)
    total: Tensor = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="sum")
    return total


def _labels_loss(model: "nn.Module", inputs: "Tensor", targets: "Tensor") -> "Tensor":
    """The model's own, of labels that it shifts; 0 where no target counts: its mean over none is not of your making."""
    loss: Tensor = model(**Batch(inputs, targets, 1).as_hf()).loss
    return loss.float() if bool((targets != IGNORE_INDEX).any()) else loss.new_zeros(())


def _logits(model: "nn.Module", inputs: "Tensor") -> "Tensor":
    out: Any = model(inputs)
    logits: Tensor = out.logits if hasattr(out, "logits") else out[0] if isinstance(out, tuple) else out
    return logits


@contextmanager
def _at_rest(model: "nn.Module") -> Iterator[None]:
    """Dropout and gradients off; mode and random state as they were, afterwards."""
    import torch

    modes = [(module, module.training) for module in model.modules()]
    gpus = [*{p.device for p in model.parameters() if p.device.type == "cuda"}]
    with torch.random.fork_rng(devices=gpus), torch.no_grad():
        model.eval()
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training
