"""Fine-tuning on dialogues: loss on the answers only, several dialogues in a row, checked against a plain loop.

Run: python examples/fine_tune.py
"""

import json
import os
import tempfile
from pathlib import Path

import torch

import windrow as wr
from windrow.gpt import GPT, GPTConfig

STEPS, MAX_LENGTH, EOS = int(os.environ.get("STEPS", "40")), 96, 256


def dialogues() -> list[list[tuple[str, int]]]:
    """200 of them: each part is a text, and whether it counts (1) or is context only (0)."""
    return [[(f"How much is {n} and {n % 7}?", 0), (f" It is {n + n % 7}.", 1)] for n in range(200)]


def plain_row(documents: list[int], given: list[list[tuple[str, int]]]) -> tuple[list[int], list[int]]:
    """Inputs and targets of a row that holds these dialogues, written out by hand: -100 where none counts."""
    tokens: list[int] = []
    counts: list[bool] = []
    for number in documents:
        for text, part_counts in given[number]:
            ids = list(text.encode())  # the tokenizer "bytes"
            tokens += ids
            counts += [bool(part_counts)] * len(ids)
        tokens.append(EOS)
        counts.append(bool(given[number][-1][1]))  # as the token before it
    padding = MAX_LENGTH + 1 - len(tokens)
    tokens, counts = tokens + [EOS] * padding, counts + [False] * padding
    return tokens[:-1], [token if counted else -100 for token, counted in zip(tokens[1:], counts[1:], strict=True)]


def in_order(document_ids: list[int]) -> list[int]:
    """The dialogues of a row, each once, in the order in which they stand; padding is none."""
    return [number for number in dict.fromkeys(document_ids) if number >= 0]


def main() -> None:
    given = dialogues()
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "dialogues.jsonl"
        lines.write_text("".join(json.dumps({"parts": parts}) + "\n" for parts in given), encoding="utf-8")
        store = wr.prepare(lines, Path(folder) / "corpus", tokenizer="bytes", parts_key="parts")["train"]
        windows = wr.Windows(store, MAX_LENGTH, policy="pack", documents="epoch")
        loader = wr.Loader(windows, 8, seed=1, epochs=None, device="cpu", outputs=("document_ids",))
        torch.manual_seed(0)
        model = GPT(GPTConfig(vocab_size=257, context_length=MAX_LENGTH, width=64, num_layers=2, num_heads=2))
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        losses = []
        for _, batch in zip(range(STEPS), loader, strict=False):
            rows = [plain_row(in_order(row), given) for row in batch.document_ids.tolist()]
            inputs, targets = (torch.tensor(part) for part in zip(*rows, strict=True))
            loss = model.loss_sum(*batch)
            assert torch.equal(loss, model.loss_sum(inputs, targets))  # the plain loop's, to the last digit
            optimizer.zero_grad()
            (loss / max(batch.num_targets, 1)).backward()
            optimizer.step()
            losses.append(loss.item() / batch.num_targets)
        print(f"loss a target that counts: {losses[0]:.3f} at the first step, {losses[-1]:.3f} at the last")


if __name__ == "__main__":
    main()
