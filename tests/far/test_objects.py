"""Objects by URL, on files: the same client as for servers, whose faults .ci/run looks at."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("obstore")

from windrow.far.objects import FarError, Objects, is_far, parted


@pytest.fixture
def there(tmp_path: Path) -> Objects:
    return Objects(f"file://{tmp_path}")


def test_what_is_written_is_read_back_in_any_range(there: Objects) -> None:
    assert there.write("folder/a.bin", bytes(range(100)))
    assert there.head("folder/a.bin")[:2] == ("folder/a.bin", 100)
    assert there.read("folder/a.bin") == bytes(range(100))
    assert there.read("folder/a.bin", 7, 9) == bytes([7, 8])
    assert there.read("folder/a.bin", 9, 9) == b""
    assert b"".join(there.chunks("folder/a.bin", 3, 100)) == bytes(range(3, 100))


def test_names_are_sorted_and_of_one_folder(there: Objects) -> None:
    for name in ("b/2", "b/1", "a/1", "bb/1"):
        there.write(name, b"x")
    assert [one.name for one in there.names("b")] == ["b/1", "b/2"]
    assert len(list(there.names())) == 4


def test_a_file_is_uploaded_whole(there: Objects, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(b"abc")
    there.write("up", tmp_path / "local")
    assert there.read("up") == b"abc"


@pytest.mark.parametrize("folder", ["a b", "a#b", "q?x", "a%20b", "a+b", "干草", "x[1]", "a&b;c=d"])
def test_a_url_is_a_name_letter_by_letter(tmp_path: Path, folder: str) -> None:
    assert Objects(f"file://{tmp_path}/{folder}").write(f"in/{folder}", b"hay")
    assert (tmp_path / folder / "in" / folder).read_bytes() == b"hay"
    assert [one.name for one in Objects(f"file://{tmp_path}/{folder}").names()] == [f"in/{folder}"]
    assert Objects(f"file://{tmp_path}").read(f"{folder}/in/{folder}") == b"hay"


@pytest.mark.parametrize("name", ["../other", "a/../b", "a//b"])
def test_what_is_no_name_is_an_error_of_ours(there: Objects, name: str) -> None:
    with pytest.raises(FarError, match="is no name of an object"):
        there.write(name, b"x")


def test_what_is_to_be_absent_is_never_written_over(there: Objects) -> None:
    assert there.write("one", b"first", only_if_absent=True)
    assert not there.write("one", b"second", only_if_absent=True)
    assert there.read("one") == b"first"


def test_another_version_than_the_one_asked_for_is_an_error(there: Objects) -> None:
    there.write("one", b"first")
    before = there.head("one").etag
    assert there.read("one", etag=before) == b"first"
    there.write("one", b"longer than before")
    with pytest.raises(FarError, match="written over while it was read"):
        there.read("one", 0, 5, etag=before)


def test_a_range_that_is_not_there_is_an_error_and_never_fewer_bytes(there: Objects) -> None:
    there.write("one", b"12345")
    with pytest.raises(FarError, match="3 of 8 came"):
        there.read("one", 2, 10)


def test_what_is_not_there_is_named(there: Objects) -> None:
    with pytest.raises(FarError, match="nothing is not there"):
        there.read("nothing")


@pytest.mark.parametrize("path", ["corpus", "C:\\corpus", "s3:/x", 5, None, "https://example.com/x"])
def test_other_paths_are_not_far(path: object) -> None:
    assert not is_far(path)


def test_a_url_is_parted_at_its_bucket() -> None:
    assert parted("s3://bucket/a/b.txt") == ("s3://bucket", "a/b.txt")
    assert parted("s3://bucket") == ("s3://bucket", "")
    assert parted("file:///tmp/a/b.txt") == ("file://", "tmp/a/b.txt")


def test_secrets_stand_in_no_pickle_error_or_repr() -> None:
    secret = {"access_key_id": "hush-id", "secret_access_key": "hush-key", "endpoint": "http://127.0.0.1:1"}
    far = Objects("s3://bucket", patience=0.1, client_options={"allow_http": True}, **secret)
    with pytest.raises(FarError) as caught:
        far.read("x", 0, 5)
    assert "hush" not in f"{pickle.dumps(far)!r} {far!r} {caught.value} {caught.value.__context__!r:.0}"
    assert "did not answer" in str(caught.value)


def test_unknown_options_are_an_error() -> None:
    with pytest.raises(FarError, match="cannot be opened"):
        Objects("s3://bucket", colour="red").read("x")


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_a_forked_process_is_refused_and_does_not_hang(tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "from windrow.far.objects import FarError, Objects\n"
        f"far = Objects('file://{tmp_path}'); far.write('a', b'x')\n"
        "if not os.fork():\n"
        "    try:\n        far.read('a')\n"
        "    except FarError as error:\n        os._exit('forked' in str(error) and 7)\n"
        "    os._exit(1)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))\n"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == 7
