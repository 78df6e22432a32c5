"""Stores copied to where they are far away, and back.

Guarantee: what is copied has the sums that its manifest says, or is not there; the manifest comes last and is never
written over, so a store is there whole or not at all; the same copy again goes on with what is missing. Cost: a file is
read twice on its way up, once on its way down. It does not do: one store over another; sides that are both here.

Beside the files of shard N lies ``blocks-NNNNN.sha256``: for each file a line ``name nbytes sha256``, then the sha256
(hex) of each of its blocks of 16 MiB, a line each. So a reader far away can check a block without the rest.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from windrow.errors import StoreError
from windrow.far.objects import CHUNK, Objects, is_far
from windrow.store.manifest import MANIFEST, SAFE_NAME, Shard, files_of, parse_manifest, read_manifest
from windrow.store.whole import write_whole

__all__ = ["BLOCK", "Sums", "copy_store", "fetch_file", "parse_sums", "sums_name"]

BLOCK = CHUNK
_AT_ONCE = 4  # shards on their way
OnCopied = Callable[[int], object]  # called with the bytes of each file that is there


class Sums(NamedTuple):
    """Of a file: its name, size in bytes, sha256 (hex), and those of its blocks."""

    file: str
    nbytes: int
    sha256: str
    blocks: tuple[str, ...]


def copy_store(
    source: str | Path,
    dest: str | Path,
    *,
    on_copied: OnCopied = lambda nbytes: None,
    options: Mapping[str, Any] | None = None,
) -> list[str]:
    """Copy a store, or a folder of stores, to a URL (s3://, gs://, az://, file://) or from one; the stores' places.

    ``options`` are those of ``open_store``.
    Raises ``StoreError`` if there is no store, or another one is at ``dest``; ``FarError`` for faults of the far side.
    """
    if is_far(source) == is_far(dest):
        raise StoreError(
            f"{source} and {dest} are both {'far' if is_far(source) else 'here'}. Give one folder and "
            "one URL: s3://, gs://, az:// or file://."
        )
    if is_far(source):
        far, here = Objects(str(source), **(options or {})), Path(dest)
        names = [one.name.removesuffix(MANIFEST) for one in far.names() if one.name.rpartition("/")[2] == MANIFEST]
        for name in _some(names, source):
            _download(far, name, here / name, on_copied)
    else:
        here = Path(source)
        found = [""] if (here / MANIFEST).is_file() else [f"{at.parent.name}/" for at in here.glob(f"*/{MANIFEST}")]
        names = sorted(found) or [""]
        read_manifest(here / names[0])  # before a folder is made for it
        far = Objects(str(dest), **(options or {}))
        for name in names:
            _upload(here / name, far, name, on_copied)
    return [f"{str(dest).rstrip('/')}/{name}".rstrip("/") for name in names]


def _some(names: list[str], source: str | Path) -> list[str]:
    if not names or not all(name == "" or SAFE_NAME.fullmatch(name.removesuffix("/")) for name in names):
        raise StoreError(f"{source} holds no store, or stores further down: {names[:3]}. Give the URL of a copy.")
    return names


# -- up ----------------------------------------------------------------------------------------------------------------


def _upload(folder: Path, far: Objects, name: str, on_copied: OnCopied) -> None:
    manifest, raw = read_manifest(folder), (folder / MANIFEST).read_bytes()
    there = {one.name.removeprefix(name): one.nbytes for one in far.names(name.rstrip("/"))}
    _require_same(far, name, raw, MANIFEST in there)

    def of_shard(numbered: tuple[int, Shard]) -> None:
        number, shard = numbered
        wanted = files_of(shard)
        if not _is_there(far, f"{name}{sums_name(number)}", wanted, there):
            found = [_sums_of(folder / file, wanted[file]) for file in wanted]
            for each in found:
                far.write(f"{name}{each.file}", folder / each.file)
            far.write(f"{name}{sums_name(number)}", _as_text(found))
        on_copied(sum((folder / file).stat().st_size for file in wanted))

    _at_once(of_shard, enumerate(manifest.shards))
    sources = manifest.sources["file"]
    _sums_of(folder / sources, manifest.sums[sources])
    far.write(f"{name}{sources}", folder / sources)
    if not far.write(f"{name}{MANIFEST}", raw, only_if_absent=True):
        _require_same(far, name, raw, is_there=True)


def _at_once(work: Callable[[tuple[int, Shard]], None], shards: Iterable[tuple[int, Shard]]) -> None:
    """``work`` for each of ``shards``, a few at a time; the first error, or a Ctrl-C, ends what has not begun."""
    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        list(pool.map(work, shards))
    finally:
        pool.shutdown(cancel_futures=True)


def _require_same(far: Objects, name: str, raw: bytes, is_there: bool) -> None:
    """Raise ``StoreError`` when another store ``is_there`` than the one whose manifest is ``raw``."""
    if is_there and (found := far.read(f"{name}{MANIFEST}")) != raw:
        where = f"{far.url}/{name}".rstrip("/")
        there, here = (parse_manifest(each, where).fingerprint for each in (found, raw))
        raise StoreError(
            f"{where} holds another store (fingerprint {there[:16]}, and this one's is {here[:16]}). Stores are never "
            "written over. Choose another URL, or remove that one."
        )


def _is_there(far: Objects, sums: str, wanted: dict[str, str], there: dict[str, int]) -> bool:
    """Whether a shard's files lie there already, by their sizes and by the ``sums`` that were written after them."""
    if sums.rpartition("/")[2] not in there:
        return False
    found = parse_sums(far.read(sums), f"{far.url}/{sums}")
    return {one.file: one.sha256 for one in found} == wanted and all(there.get(one.file) == one.nbytes for one in found)


def _sums_of(path: Path, wanted: str) -> Sums:
    """The sums of a file, which must be ``wanted``."""
    whole, blocks = sha256(), []
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            whole.update(block)
            blocks.append(sha256(block).hexdigest())
        _require_sum(path, whole.hexdigest(), wanted)
        return Sums(path.name, file.tell(), wanted, tuple(blocks))


def _require_sum(what: object, found: str, wanted: str) -> None:
    if found != wanted:
        raise StoreError(
            f"{what} has the sha256 {found[:16]}, and the manifest says {wanted[:16]}: it is damaged, and is not "
            "copied. Restore it from a copy, or prepare the store again."
        )


# -- down --------------------------------------------------------------------------------------------------------------


def _download(far: Objects, name: str, folder: Path, on_copied: OnCopied) -> None:
    raw = far.read(f"{name}{MANIFEST}")
    manifest = parse_manifest(raw, f"{far.url}/{name}".rstrip("/"))
    if (folder / MANIFEST).exists() and (folder / MANIFEST).read_bytes() != raw:
        raise StoreError(f"{folder} holds another store already. Stores are never written over: choose another folder.")
    folder.mkdir(parents=True, exist_ok=True)

    def of_shard(numbered: tuple[int, Shard]) -> None:
        for file, wanted in files_of(numbered[1]).items():
            fetch_file(far, f"{name}{file}", folder / file, wanted, on_copied)

    _at_once(of_shard, enumerate(manifest.shards))
    sources = manifest.sources["file"]
    fetch_file(far, f"{name}{sources}", folder / sources, manifest.sums[sources], on_copied)
    write_whole(folder / MANIFEST, lambda file: file.write(raw))
    read_manifest(folder)


def fetch_file(
    far: Objects,
    name: str,
    path: Path,
    wanted: str,
    on_copied: OnCopied = lambda nbytes: None,
    *,
    durable: bool = True,
) -> None:
    """Have the object ``name`` in ``path``, with the sha256 that is ``wanted``, or raise ``StoreError``.

    ``durable=False`` is for what several processes fetch at once; see ``write_whole``.
    """
    if not (path.is_file() and _sum_of(path) == wanted):
        about = far.head(name)

        def write(file: BinaryIO) -> None:
            whole = sha256()
            for chunk in far.chunks(name, 0, about.nbytes, etag=about.etag):
                whole.update(chunk)
                file.write(chunk)
            _require_sum(f"{far.url}/{name}", whole.hexdigest(), wanted)

        write_whole(path, write, durable=durable)
    on_copied(path.stat().st_size)


def _sum_of(path: Path) -> str:
    with path.open("rb") as file:
        whole = sha256()
        while block := file.read(BLOCK):
            whole.update(block)
    return whole.hexdigest()


# -- the sums of blocks ------------------------------------------------------------------------------------------------


def sums_name(shard: int) -> str:
    """The name of the sums of a shard's files."""
    return f"blocks-{shard:05}.sha256"


def _as_text(found: Iterable[Sums]) -> bytes:
    lines = [line for each in found for line in (f"{each.file} {each.nbytes} {each.sha256}", *each.blocks)]
    return "".join(f"{line}\n" for line in lines).encode()


def parse_sums(raw: bytes, where: str) -> list[Sums]:
    """What ``blocks-NNNNN.sha256`` says. Raises ``StoreError`` where it is damaged."""
    try:
        return list(_parsed(iter(raw.decode("ascii").splitlines())))
    except (ValueError, StopIteration, RuntimeError) as error:
        raise StoreError(
            f"{where} is no list of sums ({error}). Copy the store there again, after removing it."
        ) from error


def _parsed(lines: Iterator[str]) -> Iterator[Sums]:
    for line in lines:
        file, nbytes, whole = line.split(" ")
        count = -(-int(nbytes) // BLOCK)
        blocks = tuple(next(lines, "") for _ in range(count))
        if any(len(each) != 64 for each in (whole, *blocks)):
            raise ValueError(f"{file} has {nbytes} bytes, and not the sums of {count} blocks")
        yield Sums(file, int(nbytes), whole, blocks)
