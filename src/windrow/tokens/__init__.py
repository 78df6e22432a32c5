"""Text to ids and back, the same ids whichever engine makes them.

What enters: documents, as text. What leaves: their ids, those of the reference tokenizer; and the places where a long
text may be cut. It may not know: where text came from, or what is on disk.
"""
