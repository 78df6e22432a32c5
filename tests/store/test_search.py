"""A phrase is found wherever it stands in the tokens."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windrow import TokenStore, load_tokenizer
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
    text = "The windrows lay in windy rows. " * 50
    store = TokenStore.from_ids(np.array(load_tokenizer("gpt2").encode(text)), tokenizer="gpt2")
    found = list(find_text(store, "drows lay"))
    assert len(found) == 50
    assert all("drows lay" in store.decode(*place) for place in found)
    assert all("drows lay" not in store.decode(start + 1, stop) for start, stop in found)
    assert not list(find_text(store, "barley"))


class Syllables:
    """Tokens of none to four letters, of which many overlap."""

    texts = ("", "a", "b", "ab", "ba", "aa", "aab", "baba", "c")
    vocab_size, eos_id, fingerprint = len(texts), 0, "syllables"

    def encode(self, text: str) -> list[int]:
        raise NotImplementedError

    def decode(self, tokens: list[int]) -> str:
        return "".join(self.texts[token] for token in tokens)


@given(st.lists(st.integers(0, 8), min_size=1, max_size=60), st.text("abc", min_size=1, max_size=6))
def test_what_is_found_is_what_a_look_at_every_byte_finds(ids: list[int], phrase: str) -> None:
    store = TokenStore.from_ids(ids, tokenizer=Syllables(), eos_id=0)
    text, holder = "", list[int]()
    for place, token in enumerate(ids):
        text += Syllables.texts[token]
        holder += [place] * len(Syllables.texts[token])
    expected = [
        (holder[at], holder[at + len(phrase) - 1] + 1) for at in range(len(text)) if text.startswith(phrase, at)
    ]
    assert list(find_text(store, phrase)) == expected


def test_bytes_are_looked_at_only_where_the_phrase_can_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer: Any = load_tokenizer("gpt2")
    ids = tokenizer.encode("The windrows lay in windy rows, and the hay was dry. " * 2000 + "The barley burnt.")
    store, decoded, real = TokenStore.from_ids(np.array(ids), tokenizer=tokenizer), list[int](), tokenizer.decode_bytes
    monkeypatch.setattr(type(tokenizer), "decode_bytes", lambda _, given: decoded.append(len(given)) or real(given))
    assert len([*find_text(store, "barley burnt")]) == 1
    assert sum(decoded) < 100 < 2000 * 10 < len(ids)
