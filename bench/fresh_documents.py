"""The small GPT with its documents beside the same neighbours in every epoch, and beside fresh ones: valid losses.

As they lie, paragraphs of one topic are neighbours; shuffled once, others are, in every epoch the same.

Run: make bench-fresh-documents        (writes bench/results/fresh_documents.json; four minutes of one core)
Documents are the paragraphs of the reference that comes with Python, in those of GPT-2's tokens that occur in it; every
tenth is valid, where each is scored alone, so that no order is the one that valid has. The runs of a seed begin with
the same weights.
"""

import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from windrow import Loader, TokenStore, Windows, load_tokenizer
from windrow.gpt import GPT, GPTConfig
from windrow.text.demo import demo_documents

RESULTS = Path(__file__).parent / "results" / "fresh_documents.json"
EPOCHS, SEEDS, LR = 8, (0, 1, 2), 3e-3
MAX_LENGTH, BATCH_SIZE, WIDTH, NUM_LAYERS, NUM_HEADS = 128, 4, 32, 2, 4
WAYS = {"as they lie": (False, "store"), "shuffled once": (True, "store"), "fresh each epoch": (False, "epoch")}


def stores(shuffled: bool = False) -> tuple[TokenStore, TokenStore, int]:
    """Train, valid, and how many different tokens they have; ``shuffled`` lays train's documents in another order."""
    tokenizer = load_tokenizer("gpt2")
    texts = [paragraph for topic in demo_documents() for paragraph in topic.split("\n\n")]
    rows = [[*tokenizer.encode(text), tokenizer.eos_id] for text in texts]
    vocabulary = np.unique(np.concatenate(rows))
    train, valid = [row for i, row in enumerate(rows) if i % 10 != 9], rows[9::10]
    if shuffled:
        train = [train[i] for i in np.random.default_rng(0).permutation(len(train))]
    train, valid = (
        TokenStore.from_ids(
            np.searchsorted(vocabulary, np.concatenate(part)),
            eos_id=len(vocabulary) - 1,
            document_ends=np.cumsum([*map(len, part)]),
        )
        for part in (train, valid)
    )
    return train, valid, len(vocabulary)


@torch.no_grad()
def valid_loss(model: GPT, valid: Loader) -> float:
    total = [(float(model.loss_sum(*batch)), batch.num_targets) for batch in valid]
    return sum(loss for loss, _ in total) / sum(num for _, num in total)


def train(store: TokenStore, valid: TokenStore, vocab_size: int, documents: Any, seed: int) -> dict[str, Any]:
    """Nats a token after each epoch: the mean over the epoch's batches, and over all of valid."""
    torch.manual_seed(seed)
    model = GPT(GPTConfig(vocab_size, MAX_LENGTH, WIDTH, NUM_LAYERS, NUM_HEADS))
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR)
    loader = Loader(Windows(store, MAX_LENGTH, documents=documents), BATCH_SIZE, seed=seed, epochs=None, device="cpu")
    scored = Loader(Windows(valid, MAX_LENGTH, policy="pad"), 32, shuffle=False, drop_last=False, device="cpu")
    batches, per_epoch = iter(loader), len(loader)
    num_steps, losses, valid_losses = EPOCHS * per_epoch, [], []
    for step in range(num_steps):
        batch = next(batches)
        for group in optimizer.param_groups:
            group["lr"] = LR * min(1.0, (step + 1) / 50) * (1 - 0.9 * step / num_steps)
        loss = model.loss_sum(*batch) / batch.num_targets
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % per_epoch == 0:
            valid_losses.append(valid_loss(model, scored))
    return {"train": np.reshape(losses, (EPOCHS, -1)).mean(axis=1).round(4).tolist(), "valid": valid_losses}


def main() -> None:
    torch.set_num_threads(1)
    started = time.process_time()
    runs = {way: [train(*stores(shuffled), order, seed) for seed in SEEDS] for way, (shuffled, order) in WAYS.items()}
    store, valid, vocab_size = stores()
    results = {
        "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}, one thread",
        "cpu_minutes": round((time.process_time() - started) / 60, 1),
        "documents": [store.num_documents, valid.num_documents],
        "tokens": [store.num_tokens, valid.num_tokens],
        "sizes": [MAX_LENGTH, BATCH_SIZE, WIDTH, NUM_LAYERS],
        "vocab_size": vocab_size,
        "epochs": EPOCHS,
        "seeds": SEEDS,
        "runs": runs,
    }
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
