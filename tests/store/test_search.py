"""A phrase is found wherever it stands in the tokens."""

import numpy as np

from windrow import TokenStore
from windrow.store.search import AT_A_TIME, find_text


def test_a_phrase_is_found_wherever_it_stands_also_across_what_is_read_at_a_time() -> None:
    text = ("hay " * (AT_A_TIME // 2))[: 2 * AT_A_TIME]
    places = [0, 77, AT_A_TIME - 3, AT_A_TIME + 5, 2 * AT_A_TIME - 6]
    data = bytearray(text.encode())
    for place in places:
        data[place : place + 6] = "\u00e9rge ".encode()
    store = TokenStore.from_ids(np.frombuffer(bytes(data), dtype=np.uint8), tokenizer="bytes")
    assert list(find_text(store, "\u00e9rge")) == [(p, p + 5) for p in sorted(places)]


def test_a_phrase_is_found_inside_tokens_and_the_tokens_that_hold_it_are_named() -> None:
    from windrow.tokens.tokenizer import load_tokenizer

    text = "The windrows lay in windy rows. " * 50
    store = TokenStore.from_ids(np.array(load_tokenizer("gpt2").encode(text)), tokenizer="gpt2")
    found = list(find_text(store, "drows lay"))
    assert len(found) == 50
    assert all("drows lay" in store.decode(*place) for place in found)
    assert all("drows lay" not in store.decode(start + 1, stop) for start, stop in found)
    assert not list(find_text(store, "barley"))
