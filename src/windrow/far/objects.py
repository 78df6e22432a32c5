"""Objects by URL: names with sizes, ranges of bytes, uploads.

Guarantee: a range is all of the bytes asked for, of the version asked for, or a ``FarError``; a server that is away is
waited for, ``patience`` seconds and not for ever; no secret stands in an error, a ``repr`` or a pickle. Cost: a request
each. It does not do: keeping anything; checking what the bytes are; working in a forked process.
"""

import os
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from windrow.distribution import install_line
from windrow.errors import WindrowError, brief, whole_number

__all__ = ["CHUNK", "FarError", "Object", "Objects", "far_url", "is_far", "parted"]

CHUNK = 16 << 20  # bytes of a request for a long stretch
PATIENCE = 60.0  # seconds
_SCHEMES = ("s3", "gs", "az", "file")
_LONGER = 'or wait longer: options={{"patience": SECONDS}}.'
_SILENT = f"did not answer{{}} in {{:g}} seconds. Look at the network and the endpoint, {_LONGER}"
_BUSY = f"had only the answer {{}} for {{:g}} seconds: it is overloaded or broken. Try again later, {_LONGER}"
_ROLES = ("http://169.254.", "metadata.google")  # where machines of a cloud ask for credentials when none are given
_STATUS = re.compile(r"status code: (\d{3}[ A-Za-z]*)")
_HERE = os.getpid()  # a process that is forked off has another, and the client's threads are gone in it


class FarError(WindrowError):
    """Something far away is not there, refused, changed, or does not answer."""


class Object(NamedTuple):
    """An object: its name below the URL it was asked at, its size in bytes, and the tag of its version."""

    name: str
    nbytes: int
    etag: str


def is_far(path: object) -> bool:
    """Whether ``path`` is a URL of a store of objects (s3://, gs://, az://) or of files in the same way (file://)."""
    return isinstance(path, str) and path.partition("://")[0] in _SCHEMES and "://" in path


def far_url(path: object) -> str:
    """The URL that ``path`` is, "" if it is none; a ``Path`` of a URL has lost a slash."""
    scheme, slash, rest = str(path).partition(":/") if isinstance(path, str | Path) else ("", "", "")
    if not slash or scheme not in _SCHEMES or not (is_far(path) or isinstance(path, Path)):
        return ""
    return f"{scheme}://{'/' * (scheme == 'file')}{rest.lstrip('/')}"


def parted(url: str) -> tuple[str, str]:
    """``("s3://bucket", "folder/name")`` of a URL; of a file:// URL ``("file://", "folder/name")``."""
    scheme, _, rest = url.partition("://")
    first, _, name = rest.partition("/")
    return f"{scheme}://{first}", name.strip("/")


class Objects:
    """The objects below ``url``; the one client for every kind of store.

    ``options`` are what the store's client takes beside the environment: ``endpoint``, ``access_key_id``, say. They
    are not pickled: in another process the environment says them. ``patience``: seconds that a server may be away for.

    Raises ``FarError`` for a URL of no known kind; when first asked, which makes the client, also for a missing
    package, for options that are none, and in a forked process.
    """

    def __init__(self, url: str, /, *, patience: float = PATIENCE, **options: Any) -> None:
        if not is_far(url):
            raise FarError(
                f"{brief(url)} is no URL of a store of objects: those begin with s3://, gs://, az:// or file://."
            )
        self.url: str = url if url.endswith("://") else url.rstrip("/")
        self.patience: float = patience
        self._root, self._prefix = parted(self.url)  # the rest of a URL is a name, letter by letter
        self._options = options

    def __repr__(self) -> str:
        return f"Objects({self.url!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.url, self.patience)

    @cached_property
    def _store(self) -> Any:
        return _store_of(self._root, self.patience, {**self._options})

    def head(self, name: str) -> Object:
        """What ``name`` is. Raises ``FarError`` where it is not there."""
        about = self._asked(name, lambda store: _obstore().head(store, self._below(name)))
        return Object(name, int(about["size"]), _tag(about))

    def names(self, prefix: str = "") -> Iterator[Object]:
        """The objects below ``prefix``, a folder's name, sorted."""
        below, skipped = self._below(prefix), len(self._prefix) + bool(self._prefix)
        found = self._asked(prefix, lambda store: [about for some in _obstore().list(store, below) for about in some])
        yield from sorted(Object(about["path"][skipped:], int(about["size"]), _tag(about)) for about in found)

    def read(self, name: str, start: int = 0, stop: int | None = None, *, etag: str = "") -> bytes:
        """Bytes ``[start, stop)`` of ``name``, all of them, of the version ``etag`` where one is named."""
        stop = self.head(name).nbytes if stop is None else stop
        if whole_number("stop", stop, at_least=0) <= whole_number("start", start, at_least=0):
            return b""
        options: dict[str, Any] = {"range": (start, stop), **({"if_match": f'"{etag}"'} if etag else {})}
        got = b""
        for _ in range(2):  # a body that ends early is asked for once more
            got = bytes(
                self._asked(name, lambda store: _obstore().get(store, self._below(name), options=options).bytes())
            )
            if len(got) == stop - start:
                return got
        raise FarError(
            f"{self.url}/{name}: bytes {start} to {stop} were asked for, and {len(got)} of {stop - start} came, twice. "
            "It may have been cut short: compare its size with the original's."
        )

    def chunks(self, name: str, start: int, stop: int, *, etag: str = "") -> Iterator[bytes]:
        """Bytes ``[start, stop)`` of ``name``, ``CHUNK`` at a time: each is asked for again where it does not come."""
        for begin in range(start, stop, CHUNK):
            yield self.read(name, begin, min(begin + CHUNK, stop), etag=etag)

    def write(self, name: str, data: bytes | Path, *, only_if_absent: bool = False) -> bool:
        """Make ``name`` of bytes or of a file, whole or not at all; False where it is there and was to be absent."""
        mode = "create" if only_if_absent else "overwrite"
        try:
            self._asked(name, lambda store: _obstore().put(store, self._below(name), data, mode=mode))
        except _Exists:
            return False
        return True

    def silent(self, name: str) -> FarError:
        """The error of who has waited for ``name`` as long as a server may be away."""
        return FarError(f"{self.url}/{name} {_SILENT.format('', self.patience)}")

    def _below(self, name: str) -> str:
        """The whole name of an object."""
        return f"{self._prefix}/{name}".strip("/")

    def _asked(self, name: str, ask: Any) -> Any:
        _refuse_fork()
        store = self._store
        try:
            return ask(store)
        except _obstore().exceptions.AlreadyExistsError as error:
            raise _Exists(name) from error
        except (_obstore().exceptions.BaseError, OSError, ValueError) as error:
            raise FarError(f"{self.url}/{name}".rstrip("/") + f" {self._said(error)}") from None  # it may quote secrets

    def _said(self, error: Exception) -> str:
        """What an error of the client means, and what to do."""
        errors, status = _obstore().exceptions, _STATUS.search(str(error))
        answer = f" (the answer was {status[1].strip()})" if status else ""
        if isinstance(error, FileNotFoundError | errors.NotFoundError):
            return f"is not there{answer}. Look at the name; a bucket that is not there answers so too."
        if isinstance(error, errors.PermissionDeniedError | errors.UnauthenticatedError):
            return (
                f"was refused{answer}: the credentials of options or (of what was pickled) the environment are wrong."
            )
        if isinstance(error, errors.PreconditionError):
            return "was written over while it was read. Begin again when nothing writes to it."
        if isinstance(error, ValueError):
            return "is no name of an object: no part of one is empty, '.' or '..'."
        if isinstance(error, OSError):
            return f"cannot be read or written here: {error.strerror or type(error).__name__}."
        if any(place in str(error) for place in _ROLES):
            return "needs credentials: none are in the environment (AWS_ACCESS_KEY_ID, say), in options, or of a role."
        if status and status[1][0] == "5":
            return _BUSY.format(status[1].strip(), self.patience)
        if status:
            return f"cannot be had{answer}. Look at the bucket, the name and the endpoint."
        return _SILENT.format(" in full" * ("body error" in str(error)), self.patience)


def _tag(about: Mapping[str, Any]) -> str:
    """The tag of a version, without the quotes that only some answers have."""
    return (about["e_tag"] or "").strip('"')


class _Exists(Exception):  # noqa: N818 - not an error: what a conditional write finds
    """The object is there already."""


@lru_cache(maxsize=8)
def _again(url: str, patience: float) -> Objects:
    return Objects(url, patience=patience)


def _obstore() -> Any:
    """The client's package, imported when first needed."""
    try:
        import obstore
        import obstore.exceptions
        import obstore.store
    except ImportError as error:
        raise FarError(f"what is far away needs obstore: {install_line('cloud')}") from error
    return obstore


def _refuse_fork() -> None:
    if os.getpid() != _HERE:
        raise FarError(
            "this process was forked, and the client of far stores has lost its threads there. Start processes with "
            'the method "spawn", or use loader.dataloader(num_workers=...), which does.'
        )


def _store_of(url: str, patience: float, options: dict[str, Any]) -> Any:
    """The client for ``url``: bound by time and not by the number of tries, and by what a single answer may take."""
    _refuse_fork()
    scheme, store = url.partition("://")[0], _obstore().store
    retry = {
        "max_retries": 1_000_000,
        "retry_timeout": timedelta(seconds=patience),
        "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=1), "base": 2},
    }
    waits = {"connect_timeout": "5s", "read_timeout": "10s", "timeout": "180s"}
    allowed = [os.environ.get(f"{name}_ALLOW_HTTP", "").lower() for name in ("AWS", "AZURE", "GOOGLE")]
    given = {"allow_http": "true" in allowed}  # which client options would hide
    client_options = {**waits, **given, **options.pop("client_options", {})}
    try:
        if scheme == "file":
            return store.from_url("file:///", **options)
        return store.from_url(url, client_options=client_options, retry_config=retry, **options)
    except (_obstore().exceptions.BaseError, ValueError, TypeError) as error:
        said = str(error).partition("\n")[0]
        raise FarError(f"{brief(url)} cannot be opened: {brief(said)}.") from None
