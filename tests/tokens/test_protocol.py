"""Other people's tokenizers: what they must have, and ids that are checked."""

import numpy as np

from token_helpers import Words, message, says
from windrow.tokens.protocol import encode_documents, token_dtype
from windrow.tokens.tokenizer import load_tokenizer


def test_an_object_of_the_protocol_is_returned_as_it_is():
    words = Words()
    assert load_tokenizer(words) is words
    rows = encode_documents(words, ["a bb ccc", ""])
    assert [row.tolist() for row in rows] == [[1, 2, 3], []]
    assert all(row.dtype == np.uint16 for row in rows)


def test_an_id_outside_the_vocabulary_is_an_error_with_its_place():
    says(message(encode_documents, Words(), ["a", "a bb seventy"]), "id 7 at position 2 of text 1", "vocab_size = 5")
    words = Words()
    words.encode = lambda text: [-1]
    says(message(encode_documents, words, ["a"]), "id -1 at position 0 of text 0")


def test_ids_that_are_not_a_flat_list_of_integers_are_an_error():
    words = Words()
    for wrong in ([1.5], [[1, 2]], ["a"]):
        words.encode = lambda text, wrong=wrong: wrong
        says(message(encode_documents, words, ["a"]), "text 0", "flat list of int")
    words.encode_batch = lambda texts: []
    says(message(encode_documents, words, ["a"]), "0 rows of 1 texts")


def test_ids_are_stored_in_two_bytes_up_to_65536_and_four_beyond():
    assert token_dtype(65536) == np.uint16
    assert token_dtype(65537) == np.uint32
    big = Words()
    big.vocab_size, big.encode = 70_000, lambda text: [69_999]
    assert encode_documents(big, ["a"])[0].tolist() == [69_999]
    big.vocab_size, big.encode = 65_536, lambda text: [65_535]
    assert encode_documents(big, ["a"])[0].tolist() == [65_535]


def test_an_object_that_is_no_tokenizer_is_told_what_it_lacks():
    says(message(load_tokenizer, object()), "object is no tokenizer", "lacks encode, decode, vocab_size, eos_id")
    words = Words()
    words.eos_id = 5
    says(message(load_tokenizer, words), "eos_id 5 and vocab_size 5", "[0, 5)")
