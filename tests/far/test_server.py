"""The client, and copies, on a real server: faults that are done to it, and what comes of them."""

import os
import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import windrow as wr
from object_server import Server

pytest.importorskip("obstore")

from windrow.far.objects import FarError, Objects
from windrow.store import copying, far_store

AWAY = 8.0  # seconds
BIG = os.urandom(40 << 20)


@contextmanager
def after(seconds: float, act: Callable[[], None]) -> Iterator[None]:
    """``act`` so many seconds from now, in a thread that has ended when the block has."""
    timer = threading.Timer(seconds, act)
    timer.start()
    try:
        yield
    finally:
        timer.join()


def test_ranges_lists_and_conditional_writes_are_as_on_files(server: Server) -> None:
    far = Objects("s3://corpora/some/place")
    assert far.write("a/one", b"0123456789")
    assert not far.write("a/one", b"other", only_if_absent=True)
    assert far.head("a/one")[:2] == ("a/one", 10)
    assert far.read("a/one", 3, 7, etag=far.head("a/one").etag) == b"3456"
    assert [one.name for one in far.names("a")] == ["a/one"]
    for wrong, said in [
        (lambda: far.read("nothing"), "is not there"),
        (lambda: far.read("a/one", 5, 20), "5 of 15 came, twice"),
        (lambda: far.read("a/one", 0, 5, etag="other"), "written over while it was read"),
        (lambda: list(Objects("s3://no-such-bucket").names()), "404"),
        (lambda: Objects("s3://corpora", secret_access_key="wrong").read("a"), "was refused"),
    ]:
        with pytest.raises(FarError, match=said):
            wrong()


@pytest.mark.parametrize("fault", ["killed", "frozen"])
def test_a_server_that_is_away_for_seconds_is_waited_for(server: Server, fault: str) -> None:
    far = Objects("s3://corpora/away", patience=60)
    far.write("big", BIG)
    begin, end = {
        "killed": (server.kill_gateway, server.start_gateway),
        "frozen": (server.freeze_gateway, server.thaw_gateway),
    }[fault]
    begin()
    with after(AWAY, end):
        assert b"".join(far.chunks("big", 0, len(BIG))) == BIG


def test_a_server_that_stays_away_is_an_error_after_the_stated_time(server: Server) -> None:
    far = Objects("s3://corpora/away", patience=2)
    far.write("small", b"x")
    server.kill_gateway()
    try:
        with pytest.raises(FarError, match="did not answer in 2 seconds"):
            far.read("small", 0, 1)
    finally:
        server.start_gateway()


def test_a_copy_goes_on_through_a_killed_server_and_comes_back_equal(server: Server, tmp_path: Path) -> None:
    rows = (f"Document {n}. " + "The hay was cut on Monday. " * (n % 50) for n in range(3000))
    wr.prepare(rows, tmp_path / "corpus", tokenizer="bytes", valid_fraction=0.1)
    server.kill_gateway()
    with after(AWAY, server.start_gateway):
        wr.copy_store(tmp_path / "corpus", "s3://corpora/copied")
    wr.copy_store("s3://corpora/copied", tmp_path / "back")
    for side in ("train", "valid"):
        for path in (tmp_path / "corpus" / side).iterdir():
            assert (tmp_path / "back" / side / path.name).read_bytes() == path.read_bytes()


def test_prepare_from_the_server_gives_the_bytes_of_prepare_from_disk_also_when_it_is_killed(
    server: Server, tmp_path: Path
) -> None:
    far, killed = Objects("s3://corpora/texts"), list[threading.Timer]()
    for number in range(12):
        name = f"{number:02}.txt"
        (tmp_path / "texts").mkdir(exist_ok=True)
        (tmp_path / "texts" / name).write_text(f"Document {number}. " + "The hay was cut on Monday. " * 100_000)
        far.write(name, tmp_path / "texts" / name)

    def kill_once(_: object) -> None:
        if not killed:
            server.kill_gateway()
            killed.append(threading.Timer(AWAY, server.start_gateway))
            killed[0].start()

    made = {"tokenizer": "bytes", "valid_fraction": 0.3, "workers": 2}
    wr.prepare("s3://corpora/texts/*.txt", tmp_path / "far", **made, on_report=kill_once)
    killed[0].join()
    wr.prepare(str(tmp_path / "texts"), tmp_path / "here", **made)
    for side in ("train", "valid"):
        for path in (tmp_path / "here" / side).iterdir():
            assert (tmp_path / "far" / side / path.name).read_bytes() == path.read_bytes()


def far_rows(loader: wr.Loader, count: int) -> list[bytes]:
    return [batch.inputs.tobytes() for _, batch in zip(range(count), loader, strict=False)]


def test_batches_are_those_from_disk_while_the_server_is_killed_and_frozen(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (copying, far_store):
        monkeypatch.setattr(module, "BLOCK", 1 << 20)
    rows = [f"Document {n}. " + "The hay was cut on Monday. " * (n % 500) for n in range(2000)]
    (tmp_path / "texts.txt").write_text("\n\n".join(rows))
    wr.prepare(tmp_path / "texts.txt", tmp_path / "corpus", tokenizer="bytes")
    wr.copy_store(tmp_path / "corpus", "s3://corpora/read")
    here = wr.open_store(tmp_path / "corpus" / "train")
    asked = {"seed": 1, "shuffle_block": 500, "epochs": None}
    wanted = far_rows(wr.Loader(wr.Windows(here, 1024), 64, **asked), 240)
    far = wr.open_store("s3://corpora/read/train", cache=tmp_path / "cache", cache_bytes=10 << 20)
    assert b"secret" not in pickle.dumps(far)
    found, state = list[bytes](), wr.Loader(wr.Windows(here, 1024), 64, **asked).state_dict()
    for begin, end in [
        (server.kill_gateway, server.start_gateway),
        (server.freeze_gateway, server.thaw_gateway),
        (lambda: None, lambda: None),
    ]:
        loader = wr.Loader(wr.Windows(far, 1024), 64, **asked)
        loader.load_state_dict(state)
        begin()
        with after(AWAY, end):
            found += far_rows(loader, 80)
        state = loader.state_dict()
    assert found == wanted


def test_credentials_that_expire_are_one_clear_error_and_what_is_here_is_still_read(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (copying, far_store):
        monkeypatch.setattr(module, "BLOCK", 1 << 16)
    wr.prepare((f"Document {n}. " * 5000 for n in range(20)), tmp_path / "corpus", tokenizer="bytes")
    wr.copy_store(tmp_path / "corpus", "s3://corpora/expiring")
    far = wr.open_store("s3://corpora/expiring/train", cache=tmp_path / "cache", cache_bytes=1 << 20)
    first = far.tokens(0, 1000)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "expired")
    again = pickle.loads(pickle.dumps(Objects("s3://corpora/expiring", patience=5.0)))  # made of the environment now
    with pytest.raises(FarError, match="was refused"):
        again.read("train/manifest.json")
    with pytest.raises(FarError, match="was refused"):
        wr.open_store("s3://corpora/expiring/train", cache=tmp_path / "cache", cache_bytes=1 << 20)
    assert far.tokens(0, 1000).tolist() == first.tolist()


def test_credentials_given_as_options_stand_in_nothing_that_is_written_and_a_pickle_needs_the_environment(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (copying, far_store):
        monkeypatch.setattr(module, "BLOCK", 1 << 16)
    told = {name.removeprefix("AWS_").lower(): value for name, value in server.environment.items()}
    options = {**told, "client_options": {"allow_http": told.pop("allow_http") == "true"}, "patience": 1.0}
    del options["allow_http"]
    for name in server.environment:
        monkeypatch.delenv(name)
    wr.prepare((f"Document {n}. " * 5000 for n in range(20)), tmp_path / "corpus", tokenizer="bytes")
    wr.copy_store(tmp_path / "corpus", "s3://corpora/told", options=options)
    room = {"cache": tmp_path / "cache", "cache_bytes": 1 << 20}
    far = wr.open_store("s3://corpora/told/train", **room, options=options)
    loader = wr.Loader(wr.Windows(far, 64), 4, shuffle_block=50)
    next(iter(loader))
    loader.write_run(tmp_path / "run.json")
    again = pickle.loads(pickle.dumps(far))
    assert far.tokens(0, 100).tolist() == again.tokens(0, 100).tolist()  # what is here needs no client
    with pytest.raises(FarError, match="needs credentials") as caught:
        again.tokens()
    with pytest.raises(FarError, match=r"was refused.*pickled") as wrong:
        wr.open_store("s3://corpora/told/train", **room, options={**options, "secret_access_key": "windrow-wrong"})
    written = [repr(far), repr(loader), repr(loader.state_dict()), (tmp_path / "run.json").read_text()]
    written += [repr(pickle.dumps(far)), repr(pickle.dumps(loader)), str(caught.value), str(wrong.value)]
    assert not [text for text in written if "windrow-key" in text or "windrow-secret" in text or "-wrong" in text]
