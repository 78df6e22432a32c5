"""Questions that a loader can answer when every batch is a pure function of its position.

Run: python examples/what_did_it_train_on.py
"""

import numpy as np

import windrow as wr
from windrow.text.demo import demo_documents


def main() -> None:
    tokenizer = wr.load_tokenizer("bytes")
    documents = [np.array(tokenizer.encode(text)[:2000]) for text in demo_documents()[:10]]
    ends = np.cumsum([len(document) for document in documents])
    store = wr.TokenStore.from_ids(np.concatenate(documents), document_ends=ends, tokenizer=tokenizer)
    windows = wr.Windows(store, max_length=100)
    loader = wr.Loader(windows, batch_size=2, seed=5, dp_rank=1, dp_world_size=4, epochs=None)

    for sample in loader.lookup(48_211):
        start = int(windows.starts([sample.window])[0])
        document = int(store.document_at([start])[0])
        print(f"step 48211, rank 1: document {document}, {store.decode(start, start + 30)!r}")

    first, last = store.document_span(3)
    touching = range(max(0, (first - 100) // 100), -(-last // 100))
    steps = sorted(loader.positions_of(w, epoch=0) // (2 * 4) for w in touching if w < windows.num_samples)
    print(f"document 3 is in {len(steps)} windows; the first epoch shows it in steps {steps[0]} to {steps[-1]}")


if __name__ == "__main__":
    main()
