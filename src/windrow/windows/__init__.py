"""Samples: which tokens make up a row.

What enters: (member, window, epoch). What leaves: (B, L + 1) tokens, and which of the targets count. It may not know:
positions or ranks.
"""
