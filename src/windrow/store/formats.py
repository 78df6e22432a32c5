"""The token files of other tools: by what each is known, and how it is read.

Guarantee: all that a format says of a file is looked at, sizes before anything is mapped: what is cut short, or does
not agree, is an error with both values. No pickle is read. Cost: the index is read; of tokens, none. Byte layouts:
docs/formats.md.
"""

import csv
import gzip
import json
import struct
import zlib
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from windrow.arrays import Int64
from windrow.errors import StoreError
from windrow.store.cache import Arrays, kept
from windrow.store.shards import map_file, require_rising
from windrow.store.token_file import DocumentRows, TokenFile, identity

__all__ = ["FORMATS", "Asked", "Format", "recognised", "require_file"]

_MAPPED = ("uint16", "uint32", "int32")
_NUMPY = b"\x93NUMPY"
_MEGATRON, _LEGACY = b"MMIDIDX\0\0", b"TNTIDX\0\0"
_MEGATRON_DTYPES = dict(enumerate(["uint8", "int8", "int16", "int32", "int64", "float64", "float32", "uint16"], 1))
_LLMC: dict[int, tuple[int, str, int, str | None]] = {  # version, dtype, eos, tokenizer
    20240520: (1, "uint16", 50256, "gpt2"),
    20240801: (7, "uint32", 128000, None),
}
_NO_TOKENS = {20240522: "examples of an evaluation", 20240527: "the state of a training"}
_LLMC_HEAD = 1024  # bytes


class Asked(NamedTuple):
    """What a user says of files that do not say it themselves."""

    format: str | None = None
    dtype: str | None = None
    eos_id: int | None = None


class Format(NamedTuple):
    """``fits`` says by name and magic whether a path is of this format; ``read`` says what is there."""

    fits: Callable[[Path], bool]
    read: Callable[[Path, Asked], TokenFile]


def recognised(path: Path, asked: Asked) -> tuple[str, TokenFile]:
    """The name of the format of the file ``path``, and what is there. Raises ``StoreError``; nothing is guessed."""
    found = [asked.format] if asked.format else [name for name, each in FORMATS.items() if each.fits(path)]
    if not found and asked.dtype and not _begins(path, _NUMPY):
        found = ["nanogpt"]
    names = ", ".join(FORMATS)
    if len(found) > 1:
        raise StoreError(f'{path} fits {" and ".join(found)}, and nothing is guessed. Give format="{found[0]}".')
    if asked.format and asked.format not in FORMATS:
        raise StoreError(f"format is {asked.format!r}, and it is one of {names}.")
    if not found and _begins(path, _NUMPY):
        raise StoreError(
            f'{path} is an array with a header. Give TokenStore.from_ids(np.load("{path.name}", mmap_mode="r")).'
        )
    if not found:
        raise StoreError(
            f"{path} does not say what it is: it fits none of {names}, and nothing is guessed. Of tokens without a "
            'header say dtype="uint16" and eos_id=50256, or what they are.'
        )
    return found[0], FORMATS[found[0]].read(path, asked)


# -- formats -------------------------------------------------------------------------------------------------------


def _megatron(path: Path, asked: Asked) -> TokenFile:
    index, tokens = _with(path, ".idx"), _with(path, ".bin")
    held = map_file(require_file(index))
    if held[:8] == _LEGACY:
        raise StoreError(
            f'{index} is an index of the older form, "TNTIDX", which is not read. Make it again with a Megatron that '
            'writes "MMIDIDX", or prepare the text.'
        )
    if held[:9] != _MEGATRON or len(held) < 34:
        raise _wrong(index, "its beginning", held[:9], f"a header of 34 bytes that begins with {_MEGATRON!r}")
    version, code, num, num_ends = struct.unpack_from("<QBQQ", held, 9)
    _require(index, "its version", version, 1)
    _require(
        index, f"of {num} sequences and {num_ends} document bounds the size", len(held), 34 + 12 * num + 8 * num_ends
    )
    dtype = _dtype(index, _MEGATRON_DTYPES.get(code, f"code {code}"), asked)
    lengths = np.frombuffer(held, "<i4", num, 34).astype(np.int64)
    bounds = np.append(0, np.cumsum(lengths))
    if len(negative := np.flatnonzero(lengths < 0)):
        raise _wrong(index, f"the length of sequence {negative[0]}", lengths[negative[0]], "0 or more")
    _require(
        index, "the place of sequence {}", np.frombuffer(held, "<i8", num, 34 + 4 * num), bounds[:-1] * dtype.itemsize
    )
    firsts = np.frombuffer(held, "<i8", num_ends, 34 + 12 * num)
    _require(index, "the bounds of its documents", [*firsts[:1].tolist(), *firsts[-1:].tolist()], [0, num])
    _require(index, "the first sequence of document {}", firsts, np.maximum.accumulate(firsts))
    ends: Int64 = bounds[firsts[1:]]
    _check_ends(index, ends, int(bounds[-1]))
    _check_size(tokens, int(bounds[-1]) * dtype.itemsize)
    return TokenFile(tokens, dtype, ends=ends)


def _llmc(path: Path, asked: Asked) -> TokenFile:
    with open(path, "rb") as file:
        head = file.read(_LLMC_HEAD)
    if len(head) < _LLMC_HEAD:
        raise _wrong(path, "the size", len(head), f"at least a header of {_LLMC_HEAD} bytes")
    magic, version, num_tokens = np.frombuffer(head, "<i4")[:3].tolist()
    if magic not in _LLMC:
        raise _wrong(path, "its magic number", f"{magic}, {_NO_TOKENS.get(magic, 'of no format')}", f"{[*_LLMC]}")
    wanted, dtype_name, eos_id, tokenizer = _LLMC[magic]
    _require(path, "its version", version, wanted)
    dtype = _dtype(path, dtype_name, asked)
    _check_size(path, _LLMC_HEAD + num_tokens * dtype.itemsize)
    return TokenFile(path, dtype, _LLMC_HEAD, eos_id=eos_id, begins=True, tokenizer=tokenizer)


def _datatrove(path: Path, asked: Asked) -> TokenFile:
    index, loss, said = (Path(f"{path}.{name}") for name in ("index", "loss", "metadata"))
    if not index.is_file():
        raise StoreError(
            f"{path} has no {index.name} beside it, which says where documents end. Restore it, or have them found: "
            'format="nanogpt", dtype="uint16", eos_id=50256, or what they are.'
        )
    held = map_file(index)
    _require(index, "the size past whole numbers of 8 bytes", len(held) % 8, 0)
    ends: Int64 = np.frombuffer(held, "<i8").astype(np.int64)
    num_tokens = int(ends[-1]) if len(ends) else 0
    _check_ends(index, ends, num_tokens)
    dtype = _dtype_by_size(path, num_tokens, asked)
    if has_loss := loss.is_file():
        _check_size(loss, num_tokens)
    tokenizer = said.read_bytes()[:4096].decode(errors="replace").split("|")[0] if said.is_file() else None
    eos_id = 50256 if tokenizer == "gpt2" else None
    return TokenFile(path, dtype, ends=ends, counts=loss if has_loss else None, eos_id=eos_id, tokenizer=tokenizer)


def _olmo(path: Path, asked: Asked) -> TokenFile:
    rows = _with(path, ".csv.gz")
    if not rows.is_file():
        return _headerless(path, asked)
    read = kept(f"rows-v1-{identity(rows)}", lambda: _rows(rows))
    ends: Int64 = read["ends"]
    num_tokens = int(ends[-1]) if len(ends) else 0
    _check_ends(rows, ends, num_tokens)
    dtype = _dtype_by_size(path, num_tokens, asked)
    nothing = np.zeros(len(ends), np.int64)
    origins = DocumentRows(
        np.stack([read["which"], read["lines"], nothing, nothing], 1), json.loads(bytes(read["names"]))
    )
    return TokenFile(path, dtype, ends=ends, origins=origins)


def _rows(path: Path) -> Arrays:
    """Of lines ``start,end,id,src,loc``: where documents end, and the number of its source, and line, of each."""
    ends, which, lines, names, number = array("q"), array("q"), array("q"), dict[str, int](), 0
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            for number, (start, end, _, source, line) in enumerate(csv.reader(file), 1):
                _require(path, f"the start of document {number}", int(start), ends[-1] if ends else 0)
                ends.append(int(end))
                which.append(names.setdefault(source, len(names)))
                lines.append(int(line))
    except (OSError, EOFError, zlib.error, csv.Error, ValueError, OverflowError) as error:
        if isinstance(error, StoreError):
            raise
        raise _wrong(path, f"line {max(number, 1)}", f"unreadable ({error})", "start,end,id,src,loc") from error
    arrays = {"ends": ends, "which": which, "lines": lines}
    listed = np.frombuffer(json.dumps([*names]).encode(), np.uint8)
    return {**{name: np.array(each, np.int64) for name, each in arrays.items()}, "names": listed}


def _headerless(path: Path, asked: Asked) -> TokenFile:
    if asked.dtype is None or asked.eos_id is None:
        raise StoreError(
            f"{path} has no header: say dtype and eos_id of its tokens, which it does not say. Give "
            'dtype="uint16" and eos_id=50256, or what they are; an eos that is nowhere makes one document.'
        )
    dtype = _dtype(path, asked.dtype, asked)
    _require(
        path,
        f"of {path.stat().st_size} bytes those past whole tokens of {dtype}",
        path.stat().st_size % dtype.itemsize,
        0,
    )
    return TokenFile(path, dtype, eos_id=asked.eos_id)


def _begins(path: Path, *magics: bytes) -> bool:
    """Whether the file ``path`` begins with one of ``magics``."""
    with open(path, "rb") as file:
        return file.read(16).startswith(magics)


def _with(path: Path, suffix: str) -> Path:
    """The file beside ``path`` that has ``suffix`` in the place of its own."""
    own = next((each for each in (".bin", ".idx", ".npy", ".csv.gz") if path.name.endswith(each)), "")
    return path.with_name(path.name.removesuffix(own) + suffix)


FORMATS: dict[str, Format] = {
    "megatron": Format(lambda path: path.suffix in (".bin", ".idx") and _with(path, ".idx").is_file(), _megatron),
    "llmc": Format(lambda path: _begins(path, *(struct.pack("<i", each) for each in (*_LLMC, *_NO_TOKENS))), _llmc),
    "datatrove": Format(lambda path: path.suffix == ".ds", _datatrove),
    "olmo": Format(lambda path: path.suffix == ".npy" and not _begins(path, _NUMPY), _olmo),
    "nanogpt": Format(lambda path: False, _headerless),
}

# -- what agrees, and what does not --------------------------------------------------------------------------------


def _dtype(path: Path, name: str, asked: Asked) -> np.dtype[Any]:
    """The dtype ``name`` of the tokens of ``path``, if it can be mapped and is the one that was asked for."""
    if name not in _MAPPED:
        raise StoreError(
            f"{path} holds {name}, and {', '.join(_MAPPED)} can be mapped. Prepare it, its documents as rows of ids: "
            'prepare(({"ids": ids} for ids in documents), "corpus", ids_key="ids", tokenizer=...).'
        )
    if asked.dtype not in (None, name):
        raise StoreError(f"dtype is {asked.dtype!r}, and {path} says that it is {name}. Leave dtype out.")
    return np.dtype(name).newbyteorder("<")


def _dtype_by_size(path: Path, num_tokens: int, asked: Asked) -> np.dtype[Any]:
    nbytes = path.stat().st_size
    itemsize = nbytes // max(num_tokens, 1)
    if itemsize * num_tokens != nbytes or itemsize not in (0, 1, 2, 4, 8):
        wanted = f"{2 * num_tokens} or {4 * num_tokens}, for {num_tokens} tokens of 2 or 4 bytes"
        raise _wrong(path, "the size", nbytes, wanted)
    return _dtype(path, {1: "uint8", 4: "uint32", 8: "uint64"}.get(itemsize, "uint16"), asked)


def _check_ends(path: Path, ends: Int64, num_tokens: int) -> None:
    if len(ends):
        require_rising(
            f"{path} is damaged, or has empty documents (prepare leaves those out): its ends", ends, num_tokens
        )


def require_file(path: Path) -> Path:
    """``path``, which is a file: who opens a pipe waits for ever. Raises ``StoreError``."""
    if not path.is_file():
        raise StoreError(f"{path} is no file. Give files of tokens, or restore it from a copy.")
    return path


def _check_size(path: Path, nbytes: int) -> None:
    _require(path, "the size", require_file(path).stat().st_size, nbytes)


def _require(path: Path, what: str, found: Any, wanted: Any) -> None:
    """Raise ``StoreError`` unless what was ``found`` is what is ``wanted``; of arrays the first that is not."""
    if isinstance(found, np.ndarray):
        if np.array_equal(found, wanted):
            return
        place = int(np.flatnonzero(found != wanted)[0])
        what, found, wanted = what.format(place), found[place], wanted[place]
    if found != wanted:
        raise _wrong(path, what, found, f"{wanted}")


def _wrong(path: Path, what: str, found: Any, wanted: str) -> StoreError:
    return StoreError(
        f"{path}: {what} is {found!s:.100}, and it must be {wanted}. It was cut short or written over, or is no file "
        "of this form: restore it from a copy, or make it again."
    )
