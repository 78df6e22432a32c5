"""The order of samples as integer arithmetic.

What enters: positions of the stream. What leaves: (member, window, epoch) of each, and back; and which positions a
step takes. It may not know: tokens, files, ranks or batches; it sees integers only.
"""
