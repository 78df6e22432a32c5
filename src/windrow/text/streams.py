"""Bytes of a source, from any place, in bounded memory: plain files, ``.gz``, ``.zst``, standard input.

Guarantee: a compressed stream that ends early is an error, never the end of the text; members of a ``.gz`` and
frames of a ``.zst`` that follow one another are one text. ``Bytes.read`` gives the same bytes for a file and for its
compressed form. What it does not do: know what the bytes mean.
"""

import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from hashlib import sha256
from typing import Any, BinaryIO

import numpy as np

from windrow.distribution import install_line
from windrow.errors import SourceError
from windrow.far.objects import is_far
from windrow.text.far_files import kept_open, opened
from windrow.text.sources import Source

__all__ = ["STEP", "Bytes", "FileBytes", "StreamBytes", "chunks", "hash_file", "num_lines", "open_binary", "read_span"]

STEP = 1 << 20
_SHORT = 1 << 13  # bytes
_CACHED = 1 << 18  # bytes that stay in the cache while they are counted


def open_binary(path: str) -> BinaryIO:
    """A file, here or far away, or standard input for "-". Raises ``SourceError`` when it cannot be opened."""
    if is_far(path):
        return opened(path)
    try:
        return sys.stdin.buffer if path == "-" else open(path, "rb")
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.") from error


def read_span(path: str, start: int, stop: int) -> bytes:
    """Bytes ``[start, stop)`` of a plain file. Raises ``SourceError`` when they are not all there."""
    try:
        with nullcontext(kept_open(path)) if is_far(path) else open(path, "rb") as file:
            file.seek(start)
            data = file.read(stop - start)
    except OSError as error:
        raise SourceError(f"{path} cannot be read at byte {start}: {error.strerror}.") from error
    if len(data) < stop - start:
        raise SourceError(
            f"{path} ends at byte {start + len(data)}, and had {stop} at the start: something changed it."
        )
    return data


def num_lines(data: bytes, start: int = 0, stop: int | None = None) -> int:
    """How many line breaks stand in ``data[start:stop]``: on long text five times as fast as ``bytes.count``."""
    stop = len(data) if stop is None else stop
    if stop - start < _SHORT:
        return data.count(b"\n", start, stop)
    text = np.frombuffer(data, np.uint8, stop - start, start)
    parts = (text[first : first + _CACHED] for first in range(0, len(text), _CACHED))
    return sum(int(np.count_nonzero(part == 10)) for part in parts)


def chunks(source: Source, seen: Callable[[bytes], object] | None = None) -> Iterator[bytes]:
    """The text bytes of a source from its beginning; ``seen`` gets the bytes as they lie on disk."""
    path = str(source.path)
    raw = _raw(path, seen)
    return _decompressed(raw, path, source.compression) if source.compression else raw


def _raw(path: str, seen: Callable[[bytes], object] | None) -> Iterator[bytes]:
    file = open_binary(path)
    try:
        while data := file.read(STEP):
            if seen:
                seen(data)
            yield data
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.") from error
    finally:
        if path != "-":
            file.close()


def _decompressed(raw: Iterator[bytes], path: str, compression: str) -> Iterator[bytes]:
    """One member or frame after another; ``decoder`` is None between them.

    At most a step at a time: a megabyte of zeros can be a gigabyte of text.
    """
    new_decoder, failures = _decoders(compression)
    decoder: Any = None
    num_raw = 0
    for data in raw:
        num_raw += len(data)
        while data or not getattr(decoder, "needs_input", True):  # zlib hands back what it did not take, zstd keeps it
            if decoder is None:
                data = data.lstrip(b"\0") if compression == "gz" and num_raw > len(data) else data  # padding
                if not data:
                    break
                decoder = new_decoder()
            try:
                yield decoder.decompress(data, STEP)
            except failures as error:
                raise _damaged(path, num_raw, str(error)) from error
            data = decoder.unused_data if decoder.eof else getattr(decoder, "unconsumed_tail", b"")
            decoder = None if decoder.eof else decoder
    if decoder is not None or not num_raw:
        raise _damaged(path, num_raw, "it ends in the middle of the compressed data, so the rest is missing")


def _damaged(path: str, num_raw: int, what: str) -> SourceError:
    if "too much memory" in what:  # zstd's own words, for a window beyond its bound
        return SourceError(
            f"{path} was packed with a window of more than 128 MiB (zstd --long), which takes as much memory to "
            f"unpack. Unpack it first: zstd -d --long=31 {path}"
        )
    return SourceError(
        f"{path} is damaged near byte {num_raw} of the compressed file: {what}. Half a corpus would train a model "
        "without a sign. Download or copy the file again."
    )


def _decoders(compression: str) -> tuple[Callable[[], Any], tuple[Any, ...]]:
    if compression == "gz":
        try:
            from isal import isal_zlib

            return lambda: isal_zlib.decompressobj(31), (isal_zlib.error, zlib.error)  # 2-3 times as fast
        except ImportError:
            return lambda: zlib.decompressobj(31), (zlib.error,)
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
    except ImportError:
        raise SourceError(
            f"reading .zst needs backports.zstd: {install_line('io')}. Or unpack the files first: zstd -d"
        ) from None
    return zstd.ZstdDecompressor, (zstd.ZstdError, EOFError)


class FileBytes:
    """Any bytes of a plain file. Holds nothing."""

    def __init__(self, source: Source) -> None:
        self._path, self._nbytes = str(source.path), source.nbytes

    def read(self, start: int, stop: int) -> bytes:
        """Bytes ``[start, stop)``, fewer at the end."""
        stop = min(stop, self._nbytes)
        return read_span(self._path, start, stop) if start < stop else b""

    def end_by(self, stop: int) -> int | None:
        """Where the text ends, if it does at ``stop`` or before."""
        return self._nbytes if self._nbytes <= stop else None

    def forget(self, before: int) -> None:
        pass


class StreamBytes:
    """The bytes of a stream that were read and not forgotten: reads may go back as far as that."""

    def __init__(self, source: Source) -> None:
        self._digest = sha256()
        self.num_raw: int = 0
        self._chunks = chunks(source, self._seen)
        self._base, self._held = 0, bytearray()

    def _seen(self, data: bytes) -> None:
        self._digest.update(data)
        self.num_raw += len(data)

    def read(self, start: int, stop: int) -> bytes:
        """Bytes ``[start, stop)``, fewer at the end."""
        assert start >= self._base, "a stream was asked for bytes that it forgot"
        while self._base + len(self._held) < stop and (data := next(self._chunks, None)) is not None:
            self._held += data
        with memoryview(self._held) as held:
            return bytes(held[start - self._base : stop - self._base])

    def end_by(self, stop: int) -> int | None:
        return None if self.read(stop, stop + 1) else self._base + len(self._held)

    def forget(self, before: int) -> None:
        if before > self._base:
            del self._held[: before - self._base]
            self._base = before

    def sha256(self) -> tuple[str, int]:
        """``(hex, nbytes)`` of the stream as it lies on disk, as far as it was read."""
        return self._digest.hexdigest(), self.num_raw


Bytes = FileBytes | StreamBytes


def hash_file(path: str) -> tuple[str, int]:
    """``(sha256 hex, nbytes)`` of a file as it lies on disk."""
    digest = sha256()
    nbytes = sum(map(len, _raw(path, digest.update)))
    return digest.hexdigest(), nbytes
