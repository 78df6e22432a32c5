"""The shortest way: one text, batches, two epochs.

Run: python examples/from_text.py
"""

import windrow as wr

TEXT = (
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness. " * 9
)


def main() -> None:
    loader = wr.from_text(TEXT, tokenizer="gpt2", max_length=16, stride=8, batch_size=4, seed=123)
    for epoch in range(2):
        num_targets = 0
        for inputs, targets in loader:
            assert inputs.shape == targets.shape == (4, 16)
            num_targets += targets.size
        print(f"epoch {epoch}: {len(loader)} batches, {num_targets} targets, the last of them {targets[-1, -1]}")


if __name__ == "__main__":
    main()
