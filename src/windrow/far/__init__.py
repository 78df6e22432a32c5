"""Objects in stores that are far away: S3, Google Cloud Storage, Azure.

What enters: a URL. What leaves: names and sizes, ranges of bytes, uploads, blocks through a cache on this machine; or
one error that says what the far side did. It may not know: text, tokens or stores; it sees names and bytes only.
"""
