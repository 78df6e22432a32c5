"""A training loop of your own that can be killed at any moment: model, optimizer and data in one checkpoint.

Run: python examples/train_and_resume.py       (again, to go on where it stopped)
"""

import os
from pathlib import Path

import torch

import windrow as wr
from windrow.gpt import GPT, GPTConfig
from windrow.text.demo import demo_documents

FOLDER = Path("resume-example")
STEPS = int(os.environ.get("STEPS", "40"))


def open_train() -> wr.TokenStore:
    if not (FOLDER / "corpus" / "train" / "manifest.json").exists():
        wr.prepare(iter(demo_documents()[:20]), FOLDER / "corpus", tokenizer="bytes")
    return wr.open_store(FOLDER / "corpus" / "train")


def main() -> None:
    torch.manual_seed(0)
    loader = wr.Loader(wr.Windows(open_train(), 64), 16, seed=1, epochs=None, device="cpu")
    model = GPT(GPTConfig(vocab_size=257, context_length=64, width=32, num_layers=1, num_heads=2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    checkpoint = FOLDER / "checkpoint.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        loader.load_state_dict(saved["data"])
        print(f"going on at step {loader.step}")
    for batch in loader:
        loss = model.loss_sum(*batch) / max(batch.num_targets, 1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loader.step % 10 == 0:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "data": loader.state_dict()}
            torch.save(state, checkpoint.with_suffix(".tmp"))
            os.replace(checkpoint.with_suffix(".tmp"), checkpoint)  # whole or not at all
            print(f"step {loader.step}: loss {loss.item():.3f}")
        if loader.step >= STEPS:
            break


if __name__ == "__main__":
    main()
