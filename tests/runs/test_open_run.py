"""A run that is written and opened again has the same batches; what a file cannot say, or says wrongly, is refused."""

import json
import pickle
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windrow import Loader, Mixture, TokenStore, Windows, copy_store, open_run, open_store, prepare
from windrow.errors import ResumeError, WindrowError
from windrow.runs import run_file
from windrow.windows.windows import POLICIES

ROWS = [
    {"text": f"row {n} speaks of hay and of rain. " * (n % 5 + 1), "score": n / 40, "lang": "en" if n % 3 else "de"}
    for n in range(40)
]


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the stores web/train and code/train, of rows with a score and a language."""
    folder = tmp_path_factory.mktemp("stores")
    for name in ("web", "code"):
        rows = iter([{**row, "text": f"{name}: {row['text']}"} for row in ROWS])
        prepare(rows, folder / name, tokenizer="bytes", keep=["score", "lang"], workers=1)
    return folder


def numbers(loader: Loader, num_steps: int = 6) -> list[Any]:
    return [[np.asarray(part).tolist() for part in loader[step]] for step in range(num_steps)]


def same(one: Loader, other: Loader) -> None:
    assert one.recipe == other.recipe
    assert one.state_dict() == other.state_dict()
    assert (len(one), one.sizes) == (len(other), other.sizes)
    assert [type(batch.outputs) for batch in (one[0], other[0])] in ([dict, dict], [type(None)] * 2)
    assert numbers(one) == numbers(other)
    assert [one.members[name].fingerprint for name in one.members] == [m.fingerprint for m in other.members.values()]


@st.composite
def made(draw: Any, folder: Path) -> Loader:
    """Any loader that a run file can say."""

    def windows(name: str) -> Windows:
        store = open_store(folder / name / "train")
        for view in draw(st.lists(st.sampled_from(["train", "valid", "select"]), max_size=2)):
            if view == "select":
                kept = draw(st.permutations(range(store.num_documents)))
                store = store.select(kept[: max(2, len(kept) // 2)])
            else:
                store = store.split(draw(st.sampled_from([0.25, 1 / 3])))[view == "valid"]
        policy = draw(st.sampled_from(POLICIES))
        own: dict[str, Any] = {"documents": draw(st.sampled_from(["store", "epoch"])) if policy != "bos" else "store"}
        if policy == "concat":
            own |= draw(st.sampled_from([{"stride": 3, "tail": "pad"}, {"stride": 5, "phase": "epoch"}, {}]))
        return Windows(store, 9, policy=policy, **own)

    data: Any = windows("web")
    if draw(st.booleans()):
        weights = draw(st.lists(st.integers(1, 9), min_size=2, max_size=2))
        stages = {2**16: {"web": 1, "code": 0.25}} if draw(st.booleans()) else None
        more = {"epoch_samples": draw(st.sampled_from([None, 100])), "max_repeats": draw(st.sampled_from([None, 99]))}
        data = Mixture({"web": (data, weights[0]), "code": (windows("code"), weights[1])}, stages=stages, **more)
    options = st.fixed_dictionaries(
        {
            "seed": st.integers(-3, 2**70),
            "shuffle": st.booleans(),
            "shuffle_block": st.sampled_from([None, 4]),
            "drop_last": st.booleans(),
            "epochs": st.sampled_from([1, None]),
            "dtype": st.sampled_from(["int64", "int32"]),
            "outputs": st.sampled_from([(), ("document_ids", "cu_seqlens")]),
            "mask_targets": st.sampled_from([None, "document_edges"]),
            "dp_world_size": st.integers(1, 3),
        }
    )
    return Loader(data, draw(st.integers(1, 3)), dp_rank=0, **draw(options))


@settings(max_examples=60)
@given(st.data())
def test_a_run_that_is_written_and_opened_is_the_same_loader(
    stores: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    loader, file = data.draw(made(stores)), tmp_path_factory.mktemp("run") / "run.json"
    loader.write_run(file)
    same(open_run(file), loader)
    open_run(file).write_run(file.with_name("again.json"))
    assert file.with_name("again.json").read_bytes() == file.read_bytes()


def test_a_file_says_every_argument_of_windows_mixture_and_loader_but_those_of_the_machine() -> None:
    def arguments(made: Any) -> set[str]:
        return set(signature(made).parameters)

    assert set(run_file.OF_WINDOWS) == arguments(Windows) - {"store"}
    assert set(run_file.OF_MIXTURE) == arguments(Mixture) - {"members"}
    assert set(run_file.OF_LOADER) == arguments(Loader) - {"data", "device", "dp_rank", "dp_world_size", "prefetch"}


TOML = """
max_length = 16
batch_size = 2
seed = 7
epochs = "endless"

[members.web]
store = "web/train"
where = "score > 0.25 and lang == 'en'"
weight = 3
policy = "pack"

[members.code]
store = "code/train"
split = 0.25
side = "train"
stride = 8

[stages.65536]
web = 1
code = 1
"""


def test_the_same_by_hand_is_the_same_loader(stores: Path) -> None:
    (stores / "run.toml").write_text(TOML)
    web = open_store(stores / "web/train")
    chosen = web.select((web.column("score") > 0.25) & (web.column("lang") == "en"))
    members = {
        "web": (Windows(chosen, 16, policy="pack"), 3.0),
        "code": (Windows(open_store(stores / "code/train").split(0.25)[0], 16, 8), 1.0),
    }
    mixture = Mixture(members, stages={65536: {"web": 1, "code": 1}})
    same(open_run(stores / "run.toml"), Loader(mixture, 2, seed=7, epochs=None))


def test_numbers_of_documents_may_lie_in_a_file(stores: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "kept.npy", np.array([7, 3, 20]))
    (tmp_path / "run.toml").write_text(
        f'store = "{stores}/web/train"\nselect = "kept.npy"\nmax_length = 8\nbatch_size = 1\n'
    )
    kept = open_store(stores / "web/train").select([7, 3, 20])
    same(open_run(tmp_path / "run.toml"), Loader(Windows(kept, 8), 1))


def test_token_files_of_other_tools_are_opened_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.bin", "b.bin"):
        np.tile([*range(1, 40), 0], 9).astype(np.uint16).tofile(name)
    given: dict[str, Any] = {"format": "nanogpt", "dtype": "uint16", "eos_id": 0}
    for number, path in enumerate(["a.bin", ["b.bin", "a.bin"], "*.bin"]):
        loader = Loader(Windows(open_store(path, **given).split(0.5)[1], 9, policy="pack"), 2)
        loader.write_run(f"{number}.json")
        same(open_run(f"{number}.json"), loader)
    Path("by-hand.toml").write_text(
        'store = {store = ["b.bin", "a.bin"], eos_id = 0, dtype = "uint16"}\nmax_length = 8\nbatch_size = 1\n'
    )
    same(open_run("by-hand.toml"), Loader(Windows(open_store(["b.bin", "a.bin"], **given), 8), 1))


def test_a_far_store_is_opened_by_its_url_through_the_same_cache(stores: Path, tmp_path: Path) -> None:
    pytest.importorskip("obstore")
    (tmp_path / "far/web").mkdir(parents=True)
    url = f"file://{tmp_path}/far/web"
    copy_store(stores / "web/train", url)
    loader = Loader(Windows(open_store(url, cache=tmp_path / "cache", cache_bytes=2**30).split(0.25)[0], 9), 2)
    loader.write_run(tmp_path / "run.json")
    assert json.loads((tmp_path / "run.json").read_text())["store"] == {
        "store": url,
        "cache": str(tmp_path / "cache"),
        "cache_bytes": 2**30,
    }
    same(open_run(tmp_path / "run.json"), loader)


def test_a_member_that_is_gone_stays_one_of_the_past(stores: Path, tmp_path: Path) -> None:
    web, code = (Windows(open_store(stores / name / "train"), 9) for name in ("web", "code"))
    before = Loader(Mixture({"web": (web, 1), "code": (code, 1)}, block=256, stages={512: {"web": 1, "code": 0}}), 2)
    before.skip(512)
    (tmp_path / "state.json").write_text(json.dumps(before.state_dict()))
    after = Mixture({"web": (web, 1), "code": (None, 1)}, block=256, stages={512: {"web": 1, "code": 0}})
    loader = Loader(after, 2)
    loader.load_state_dict(before.state_dict())
    loader.write_run(tmp_path / "run.json")
    opened = open_run(tmp_path / "run.json", tmp_path / "state.json")
    assert opened.state_dict() == loader.state_dict()
    assert next(iter(opened)).inputs.tolist() == next(iter(loader)).inputs.tolist()


@pytest.mark.parametrize("gone", [False, None])
def test_a_member_that_says_it_is_not_gone_is_there(stores: Path, tmp_path: Path, gone: bool | None) -> None:
    members = {name: {"store": str(stores / name / "train"), "gone": gone} for name in ("web", "code")}
    content = {"max_length": 9, "batch_size": 2, "members": members}
    (tmp_path / "run.json").write_text(json.dumps(content))
    assert open_run(tmp_path / "run.json").lookup(0)
    assert sorted(open_run(tmp_path / "run.json").members) == ["code", "web"]


def test_what_holds_for_every_member_is_not_that_it_is_gone(stores: Path, tmp_path: Path) -> None:
    content = {"store": str(stores / "web" / "train"), "max_length": 9, "batch_size": 2, "gone": True}
    (tmp_path / "run.json").write_text(json.dumps(content))
    with pytest.raises(ResumeError, match="it has 'gone'"):
        open_run(tmp_path / "run.json")


def test_paths_start_from_the_file_and_absolute_ones_stay(
    stores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(stores)
    given, absolute = (Loader(Windows(open_store(path), 9), 2) for path in ("web/train", stores / "web/train"))
    (stores / "runs").mkdir(exist_ok=True)
    given.write_run("runs/given.json")
    absolute.write_run("runs/absolute.json")
    assert json.loads(Path("runs/given.json").read_text())["store"] == "../web/train"
    assert json.loads(Path("runs/absolute.json").read_text())["store"] == str(stores / "web/train")
    monkeypatch.chdir(tmp_path)
    same(open_run(stores / "runs" / "given.json"), given)


def test_a_store_lies_where_it_was_opened_when_the_working_folder_is_another(
    stores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(stores)
    loader = Loader(Windows(open_store("web/train"), 9), 2)
    monkeypatch.chdir(tmp_path)
    loader.write_run(stores / "runs-of-elsewhere.json")
    assert json.loads((stores / "runs-of-elsewhere.json").read_text())["store"] == "web/train"
    same(open_run(stores / "runs-of-elsewhere.json"), loader)
    assert pickle.loads(pickle.dumps(loader.members[""].store)).fingerprint == loader.members[""].store.fingerprint


def test_every_rank_of_a_run_can_be_opened(stores: Path, tmp_path: Path) -> None:
    windows = Windows(open_store(stores / "web/train"), 9)
    Loader(windows, 2, dp_rank=0, dp_world_size=4).write_run(tmp_path / "run.json")
    same(open_run(tmp_path / "run.json", dp_rank=3), Loader(windows, 2, dp_rank=3, dp_world_size=4))


class Own(Windows):
    """A member of one's own."""


def test_what_no_file_can_say_is_an_error_that_names_it(stores: Path, tmp_path: Path) -> None:
    memory, store = TokenStore.from_ids(np.arange(99)), open_store(stores / "web/train")
    file = tmp_path / "run.json"
    for member, said in ((Windows(memory, 4), "in memory"), (Own(store, 4), "is a Own")):
        with pytest.raises(WindrowError, match=rf"member 'odd'.*{said}|{said}"):
            Loader(Mixture({"web": (Windows(store, 4), 1), "odd": (member, 1)}), 2).write_run(file)
    with pytest.raises(WindrowError, match="member ''"):
        Loader(Windows(memory.split(0.5)[0], 4), 2).write_run(file)
    with pytest.raises(WindrowError, match="evaluation of a mixture"):
        Loader.evaluation(Mixture({"web": (Windows(store, 4), 1)}), 2).write_run(file)
    assert not file.exists()


def test_an_evaluation_is_a_run_too(stores: Path, tmp_path: Path) -> None:
    loader = Loader.evaluation(Windows(open_store(stores / "web/train"), 9, 4), 2)
    loader.write_run(tmp_path / "run.json")
    same(open_run(tmp_path / "run.json"), loader)


def test_another_store_is_refused_with_both_fingerprints(stores: Path, tmp_path: Path) -> None:
    store = open_store(stores / "web/train").select([1, 2, 3])
    Loader(Windows(store, 9), 1).write_run(tmp_path / "run.json")
    content = json.loads((tmp_path / "run.json").read_text())
    other = open_store(stores / "code/train").select([1, 2, 3])
    (tmp_path / "run.json").write_text(json.dumps({**content, "store": str(stores / "code/train")}))
    with pytest.raises(ResumeError, match=rf"{other.fingerprint}.*{store.fingerprint}"):
        open_run(tmp_path / "run.json")
    np.save(tmp_path / content["select"], np.array([1, 2, 4]))
    with pytest.raises(ResumeError, match=rf"sha256 .*made with {content['select_sha256']}"):
        open_run(tmp_path / "run.json")
    np.save(tmp_path / content["select"], np.array([{}]), allow_pickle=True)
    with pytest.raises(ResumeError, match=r"no \.npy of document numbers"):
        open_run(tmp_path / "run.json")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ("batchsize = 2", "it has 'batchsize', which is none of its keys: did you mean 'batch_size'"),
        ("[members.web]\npolcy = 'pack'", "members.web has 'polcy', which is none of its keys: did you mean 'policy'"),
        ("epoch_samples = 5", "it has epoch_samples, which is a mixture's, and no members"),
        ('"ü" = 5', "it has 'ü', which is none of its keys: did you mean"),
        ("stride = 'long'", "its stride is 'long', and it must be a whole number"),
        ("shuffle = 1", "its shuffle is 1, and it must be true or false"),
        ("split = 0.5", "it has split 0.5 and side None, and they belong together"),
        ("split = 0.5\nside = 'test'", "side 'test'"),
        ("side = 'train'", "has split None and side 'train'"),
        ("where = 'score > 1'\nselect = 'x.npy'", "has where and select"),
        ("store = 5", "its store is 5, and it must be an object"),
        ("store = {path = 'web'}", "its store has 'path'"),
        ("store = {split = 0.5, side = 'train'}", "its store has no store"),
        ("members = 3", "its members is 3"),
        ("[members.web]\n[stages.soon]\nweb = 1", "invalid literal"),
        ("version = 3", "version 3, not windrow-run 1 or 2"),
        ("version = 1", "no stores"),
        ("max_length = [", "TOMLDecodeError"),
        ("format = 'other'", "format 'other'"),
    ],
)
def test_a_file_that_is_wrong_says_where(stores: Path, tmp_path: Path, changed: str, said: str) -> None:
    lines = [f'store = "{stores}/web/train"', "max_length = 8", "batch_size = 1"]
    first = changed.split(" ")[0]
    text = "\n".join([line for line in lines if not line.startswith(f"{first} ")])
    (tmp_path / "run.toml").write_text(f"{text}\n{changed}\n")
    with pytest.raises(ResumeError, match=r"run\.toml is no run of this windrow") as error:
        open_run(tmp_path / "run.toml")
    assert said in str(error.value)


def test_no_file_and_no_store_are_errors(tmp_path: Path) -> None:
    with pytest.raises(
        ResumeError, match=r"there is no run at .*Give the folder that train or demo made, or a run file"
    ):
        open_run(tmp_path)
    for text in ("{", "[" * 100_000, '{"store": ' * 900 + '"x"' + "}" * 900, '{"batch_size": 1}', "\udcff"):
        (tmp_path / "run.json").write_text(text, errors="surrogateescape")
        with pytest.raises(ResumeError, match="no run of this windrow"):
            open_run(tmp_path)
