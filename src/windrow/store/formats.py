"""The token files of other tools: by what each is known, and how it is read.

Guarantee: nothing is guessed, and all that a format says of a file is looked at before it is mapped: what is cut short,
or does not agree, is an error with both values. No pickle is read. Cost: the index is read; of tokens, all, once, where
only eos says where documents end. Byte layouts: docs/formats.md.
"""

import csv
import gzip
import json
import struct
import zlib
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from windrow.arrays import Int64
from windrow.errors import StoreError, brief
from windrow.store.cache import Arrays
from windrow.store.shards import map_file, require_rising
from windrow.store.token_file import TokenFile, kept_of, look

__all__ = ["FORMATS", "MEGATRON_DTYPES", "MEGATRON_MAGIC", "recognised", "require_file"]

_MAPPED = ("uint16", "uint32", "int32")
_NUMPY = b"\x93NUMPY"
MEGATRON_MAGIC = b"MMIDIDX\0\0"
MEGATRON_DTYPES: tuple[str, ...] = ("", "uint8", "int8", "int16", "int32", "int64", "float64", "float32", "uint16")
_LLMC: dict[int, tuple[int, str, int, str | None]] = {  # version, dtype, eos, tokenizer
    20240520: (1, "uint16", 50256, "gpt2"),
    20240801: (7, "uint32", 128000, None),
}
_LLMC_HEAD = 1024  # bytes


def recognised(path: Path, format: str | None, dtype: str | None, eos_id: int | None) -> tuple[str, TokenFile]:
    """The format of the file ``path``, and what is there. Raises ``StoreError``."""
    if dtype not in (None, *_MAPPED):
        raise StoreError(f"dtype is {brief(dtype)}, and tokens of {', '.join(_MAPPED)} can be mapped.")
    found = [format] if format else [name for name, (fits, _) in FORMATS.items() if fits(require_file(path))]
    found = found or ["nanogpt"] * (dtype is not None)
    if _begins(path, _NUMPY):
        raise StoreError(f'{path} is an array with a header. Give TokenStore.from_ids(np.load(path, mmap_mode="r")).')
    if len(found) != 1 or found[0] not in FORMATS:
        raise StoreError(
            f"{path}: format is {brief(found) if found else 'not known'}, and it must be one of {', '.join(FORMATS)}; "
            'nothing is guessed. Give format=..., and of tokens without a header dtype="uint16" and eos_id=50256, or '
            "what they are."
        )
    return found[0], FORMATS[found[0]][1](path, dtype, eos_id)


def _megatron(path: Path, asked: str | None, eos_id: int | None) -> TokenFile:
    index, tokens = require_file(_with(path, ".idx")), require_file(_with(path, ".bin"))
    held = map_file(index)
    _require(index, "its first 9 bytes", held[:9], MEGATRON_MAGIC)
    _require(index, "the size of its header", len(held[:34]), 34)
    version, code, num, num_bounds = struct.unpack_from("<QBQQ", held, 9)
    _require(index, "its version", version, 1)
    _require(index, f"the size, of {num} sequences,", len(held), 34 + 12 * num + 8 * num_bounds)
    dtype = _dtype(index, dict(enumerate(MEGATRON_DTYPES)).get(code, f"code {code}"), asked)
    lengths = np.frombuffer(held, "<i4", num, 34).astype(np.int64)
    bounds = np.append(0, np.cumsum(lengths))
    places = np.frombuffer(held, "<i8", num, 34 + 4 * num)
    firsts = np.frombuffer(held, "<i8", num_bounds, 34 + 12 * num)
    _require(index, "the length of sequence {}", lengths, np.maximum(lengths, 0))
    _require(index, "the place of sequence {}", places, bounds[:-1] * dtype.itemsize)
    _require(index, "the bounds of its documents", [*firsts[:1].tolist(), *firsts[-1:].tolist()], [0, num])
    _require(index, "the first sequence of document {}", firsts, np.maximum.accumulate(firsts))
    _check_size(tokens, int(bounds[-1]) * dtype.itemsize)
    return TokenFile(tokens, dtype, _rising(index, bounds[firsts[1:]]), eos_id=eos_id)


def _llmc(path: Path, asked: str | None, eos_id: int | None) -> TokenFile:
    with open(path, "rb") as file:
        head = file.read(_LLMC_HEAD)
    _require(path, "the size of its header", len(head), _LLMC_HEAD)
    magic, version, num_tokens = np.frombuffer(head, "<i4")[:3].tolist()
    if magic not in _LLMC:
        raise _wrong(path, "its magic number", magic, " or ".join(map(str, _LLMC)))
    wanted, name, own_eos_id, tokenizer = _LLMC[magic]
    _require(path, "its version", version, wanted)
    dtype = _dtype(path, name, asked)
    _check_size(path, _LLMC_HEAD + num_tokens * dtype.itemsize)
    eos_id = own_eos_id if eos_id is None else eos_id
    ends: Int64 = look(path, dtype, _LLMC_HEAD, eos_id)["places"]
    return TokenFile(path, dtype, ends, _LLMC_HEAD, eos_id=eos_id, tokenizer=tokenizer)


def _datatrove(path: Path, asked: str | None, eos_id: int | None) -> TokenFile:
    index, loss, about = (Path(f"{path}.{name}") for name in ("index", "loss", "metadata"))
    held = map_file(require_file(index))
    _require(index, "the size past whole numbers of 8 bytes", len(held) % 8, 0)
    ends = _rising(index, np.frombuffer(held, "<i8").astype(np.int64))
    dtype = _dtype_by_size(path, ends, asked)
    if loss.exists():
        _check_size(loss, int(ends[-1]) if len(ends) else 0)
    tokenizer = about.read_bytes()[:4096].decode(errors="replace").split("|")[0] if about.is_file() else None
    eos_id = 50256 if eos_id is None and tokenizer == "gpt2" else eos_id
    return TokenFile(path, dtype, ends, 0, loss if loss.exists() else None, eos_id, tokenizer)


def _olmo(path: Path, asked: str | None, eos_id: int | None) -> TokenFile:
    rows = _with(path, ".csv.gz")
    if not rows.is_file():
        return _headerless(path, asked, eos_id)
    read = kept_of("rows-v1", rows, lambda: _rows(rows))
    ends = _rising(rows, read["ends"])
    dtype = _dtype_by_size(path, ends, asked)
    origins: Int64 = np.stack([read["which"], read["lines"], *np.zeros((2, len(ends)), np.int64)], axis=1)
    return TokenFile(path, dtype, ends, eos_id=eos_id, origins=origins, sources=json.loads(bytes(read["names"])))


def _rows(path: Path) -> Arrays:
    """Of lines ``start,end,id,src,loc``: where documents end, and of each the number of its source, and its line."""
    ends, which, lines, names, number = array("q"), array("q"), array("q"), dict[str, int](), 1
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            for number, (start, end, _, source, line) in enumerate(csv.reader(file), 1):
                _require(path, f"the start of document {number}", int(start), ends[-1] if ends else 0)
                ends.append(int(end))
                which.append(names.setdefault(source, len(names)))
                lines.append(int(line))
    except StoreError:
        raise
    except (OSError, EOFError, zlib.error, csv.Error, ValueError, OverflowError) as error:
        raise _wrong(path, f"line {number}", f"unreadable ({error})", "start,end,id,src,loc") from error
    listed = np.frombuffer(json.dumps([*names]).encode(), np.uint8)
    return {"ends": np.array(ends), "which": np.array(which), "lines": np.array(lines), "names": listed}


def _headerless(path: Path, asked: str | None, eos_id: int | None) -> TokenFile:
    if asked is None or eos_id is None:
        raise StoreError(
            f'{path} has no header: dtype is {asked}, eos_id is {eos_id}, and it says neither. Give dtype="uint16" '
            "and eos_id=50256, or what they are; an eos that is nowhere makes one document."
        )
    dtype = _dtype(path, asked, None)
    _require(path, f"the size past whole tokens of {asked}", path.stat().st_size % dtype.itemsize, 0)
    return TokenFile(path, dtype, look(path, dtype, 0, eos_id)["places"] + 1, eos_id=eos_id)


Reader = Callable[[Path, str | None, int | None], TokenFile]
FORMATS: dict[str, tuple[Callable[[Path], bool], Reader]] = {  # does a file fit by magic and name; what is there
    "megatron": (lambda path: path.suffix in (".bin", ".idx") and _with(path, ".idx").is_file(), _megatron),
    "llmc": (lambda path: _begins(path, *(struct.pack("<i", magic) for magic in _LLMC)), _llmc),
    "datatrove": (lambda path: path.suffix == ".ds", _datatrove),
    "olmo": (lambda path: path.suffix == ".npy" and not _begins(path, _NUMPY), _olmo),
    "nanogpt": (lambda path: False, _headerless),
}


def _begins(path: Path, *magics: bytes) -> bool:
    with open(require_file(path), "rb") as file:
        return file.read(16).startswith(magics)


def _with(path: Path, suffix: str) -> Path:
    """The file beside ``path`` that has ``suffix`` in the place of its own."""
    return path.with_name(path.name.removesuffix(path.suffix) + suffix)


def require_file(path: Path) -> Path:
    """``path``, which is a file: who opens a pipe waits for ever. Raises ``StoreError``."""
    if not path.is_file():
        raise StoreError(
            f"{path} is no file. Restore it from a copy; of tokens whose index is lost give "
            'format="nanogpt", dtype="uint16" and eos_id=50256, or what they are.'
        )
    return path


def _dtype(path: Path, name: str, asked: str | None) -> np.dtype[Any]:
    """The dtype ``name`` of the tokens of ``path``, if it can be mapped and is the one that was asked for."""
    if name not in _MAPPED:
        raise StoreError(
            f"{path} holds {name}, and {', '.join(_MAPPED)} can be mapped. Prepare it, its documents as rows of ids: "
            'prepare(({"ids": ids} for ids in documents), "corpus", ids_key="ids", tokenizer=...).'
        )
    if asked not in (None, name):
        raise StoreError(f"dtype is {asked!r}, and {path} says that it is {name}. Leave dtype out.")
    return np.dtype(name).newbyteorder("<")


def _dtype_by_size(path: Path, ends: Int64, asked: str | None) -> np.dtype[Any]:
    """That of which as many tokens as ``ends`` say fill the file."""
    nbytes, num_tokens = path.stat().st_size, int(ends[-1]) if len(ends) else 0
    if nbytes not in (2 * num_tokens, 4 * num_tokens):
        raise _wrong(path, "the size", nbytes, f"2 or 4 times {num_tokens}, its tokens")
    return _dtype(path, "uint16" if nbytes == 2 * num_tokens else "uint32", asked)


def _rising(path: Path, ends: Int64) -> Int64:
    what = f"{path} is damaged, or has empty documents (prepare leaves those out): its ends"
    require_rising(what, ends, int(ends[-1]) if len(ends) else 0)
    return ends


def _check_size(path: Path, nbytes: int) -> None:
    _require(path, "the size", require_file(path).stat().st_size, nbytes)


def _require(path: Path, what: str, found: Any, wanted: Any) -> None:
    """Raise ``StoreError`` unless what was ``found`` is what is ``wanted``; of arrays it says the first that is not."""
    if isinstance(found, np.ndarray):
        for place in np.flatnonzero(found != wanted)[:1]:
            raise _wrong(path, what.format(place), found[place], wanted[place])
    elif found != wanted:
        raise _wrong(path, what, found, wanted)


def _wrong(path: Path, what: str, found: Any, wanted: Any) -> StoreError:
    return StoreError(
        f"{path}: {what} is {found!s:.100}, and it must be {wanted}. It was cut short or written over, or is no file "
        "of this form: restore it from a copy, or make it again."
    )
