"""Tokens on disk, written once and read for ever.

What enters, once: ids, document boundaries and a manifest. What leaves: the tokens at any places, by ``gather``; where
a document lies and where it came from. It may not know: windows, order or ranks.
"""
