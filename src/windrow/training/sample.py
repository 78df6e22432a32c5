"""Text that a trained model writes, token by token.

Guarantee: only ids that the training text holds are drawn, and only whole characters come out; the same checkpoint,
prompt and seed give the same text on one machine. Cost: a pass of the model over the row so far for each token, and a
reading of the first 268 million tokens of the training text. It does not do: several texts at once. Importing it
imports torch.
"""

from collections.abc import Iterator
from pathlib import Path

import torch

from windrow.errors import ResumeError, brief, whole_number
from windrow.training.run import held_ids, how_to_go_on, open_run
from windrow.training.trainer import Trainer

__all__ = ["sample", "trained"]

_MOST = 2**28  # tokens


def trained(run: str | Path) -> Trainer:
    """The trainer of ``run`` at its checkpoint, on the CPU.

    Raises ``ResumeError`` when there is none, or it is damaged or of another run.
    """
    with torch.random.fork_rng(devices=[]):  # a trainer seeds it
        trainer = Trainer(open_run(run))
        trainer.restore()
    if not trainer.step:
        folder = trainer.run.folder
        raise ResumeError(f"the run in {folder} has no checkpoint yet. Train it first: {how_to_go_on(folder)}")
    return trainer


def sample(
    trainer: Trainer,
    prompt: str = "",
    *,
    length: int = 100,
    temperature: float = 0.7,
    top_k: int = 50,
    seed: int = 0,
    tokenizer: str | None = None,
) -> Iterator[str]:
    """The prompt, then what the model makes of it, piece by piece; without a prompt, the text's first words.

    At most ``length`` tokens are drawn, fewer where the text comes to its end, each from the ``top_k`` likeliest.
    ``temperature`` 0 takes the likeliest. ``tokenizer`` is that of ``open_store``. Raises ``ValueError`` for a number
    out of its range or a prompt with words that the model does not know, ``StoreError`` as ``open_store`` does.
    """
    whole_number("length", length, at_least=0)
    store, device = trainer.run.store(tokenizer), trainer.ranks.device
    vocabulary, allowed = store.tokenizer, trainer.rows[torch.from_numpy(held_ids(store, _MOST)).to(device)]
    first = vocabulary.encode(prompt) if prompt else store.tokens(0, 6).tolist()
    rows = trainer.rows[torch.tensor([first], device=device)]  # (1, number of the prompt's tokens)
    if (unknown := rows[0] < 0).any():
        strange = vocabulary.decode([token for token, is_unknown in zip(first, unknown, strict=True) if is_unknown])
        raise ValueError(
            f"prompt is {brief(prompt)}, and the run's text, all that its model knows, has no {brief(strange)}. Use "
            "words of the text, or train with --vocabulary tokenizer."
        )
    generator = torch.Generator(device).manual_seed(whole_number("seed", seed, at_least=None) % 2**64)
    trainer.model.generate(rows, 0, temperature, top_k)  # raises before anything is told
    yield prompt or _whole(vocabulary.decode(first))
    told = ""
    for _ in range(length):
        rows = trainer.model.generate(rows, 1, temperature, top_k, generator, allowed)
        if (ids := trainer.ids[rows[0, len(first) :]])[-1] == vocabulary.eos_id:
            return
        text = _whole(vocabulary.decode(ids.tolist()))
        yield text[len(told) :]
        told = text


def _whole(text: str) -> str:
    """``text`` without what decoders put for bytes that are part of a character."""
    return text.replace("\ufffd", "")
