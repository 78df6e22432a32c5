"""Tokens to the batches that a training loop takes.

What enters: (n, L + 1) narrow tokens and a mask of the targets that count. What leaves: ``Batch(inputs, targets)``, in
NumPy or torch, where it is wanted. It may not know: positions, ranks, recipes. The only room of the path that imports
torch.
"""
