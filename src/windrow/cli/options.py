"""The arguments and flags of the command line: type, help, unit, the default that help shows, and the panel it is in.

Guarantee: a flag that several commands have is the same in all of them, and one of few words knows its words. What
was not given is as ``RunSizes`` or ``Settings`` have it. Cost: importing it imports typer only. It does not do:
checking; the library says what is wrong with a value.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

from typer import Argument, Option

__all__ = ["Drawing", "ModelSizes", "Sizes", "Training"]


def panel(title: str) -> Callable[..., Any]:
    """A function that makes the flags of one panel of the help.

    Without ``metavar`` a flag is a switch, and needs its names in ``flag``; None is for a choice of words, which help
    lists itself. ``default`` is what help shows as the default of a flag that is None unless given.
    """

    def option(help: str, metavar: str | None = "", default: str | bool = True, *, flag: str = "", **more: Any) -> Any:
        return Option(*flag.split(), help=help, metavar=metavar, show_default=default, rich_help_panel=title, **more)

    return option


inputs: Callable[..., Any] = panel("Inputs")
documents: Callable[..., Any] = panel("Documents")
batches: Callable[..., Any] = panel("Windows and batches")
model: Callable[..., Any] = panel("Model")
work: Callable[..., Any] = panel("Work")
output: Callable[..., Any] = panel("Output")

# -- stores, texts, folders ----------------------------------------------------------------------------------------

Inputs = Annotated[list[str], Argument(metavar="INPUT", help='Files, folders, globs, or "-" for standard input.')]
Dest = Annotated[Path, Argument(metavar="DEST", help="Folder for the stores DEST/train and DEST/valid.")]
_STORE = "A store, or the folder that holds train and valid."
Store = Annotated[Path, Argument(metavar="STORE", help=_STORE)]
OptionalStore = Annotated[Path | None, Argument(metavar="STORE", help=_STORE)]
_FAR = "s3://, gs:// or az://."
CopyFrom = Annotated[str, Argument(metavar="FROM", help=f"A store, a folder of stores, or the URL of a copy: {_FAR}")]
CopyTo = Annotated[str, Argument(metavar="TO", help="The URL or the folder to copy it to.")]
ExportOut = Annotated[Path, Argument(metavar="OUT", help="What the names of the files begin with.")]
ExportTo = Annotated[Literal["megatron", "datatrove"], output("Format: megatron or datatrove.", None, flag="--format")]
_RUN = "this run: its folder, run.json or FILE.toml."
RunPath = Annotated[Path | None, inputs(f"Take stores, recipe and sizes from {_RUN}", "PATH", flag="--run")]
TrainRun = Annotated[Path | None, inputs(f"Train on the batches of {_RUN}", "PATH", flag="--run")]
State = Annotated[
    str | None, inputs("Its state, as JSON or in a checkpoint: FILE or FILE:KEY.", "FILE", "what PATH says")
]
Member = Annotated[str | None, inputs("Member of the mixture.", "NAME", "the only one")]
_RUNS = "windrow-run, else windrow-demo"
TrainedRun = Annotated[Path | None, inputs("A run made by train or demo.", "PATH", _RUNS, flag="--run")]
TrainText = Annotated[Path | None, inputs("Train on this text file instead of a store.", "FILE")]
DemoText = Annotated[Path | None, inputs("Text file to train on.", "FILE", "the reference that comes with Python")]
Out = Annotated[Path, output("Folder for everything that is written.", "DIR")]
TokenizerName = Annotated[
    str, inputs('"gpt2", "bytes", a tiktoken encoding, "FILE.tiktoken:PATTERN" or "FILE/tokenizer.json".', "NAME")
]
ShowTokenizer = Annotated[str | None, inputs("Tokenizer to use, if its file has moved.", "NAME", "the store's own")]
ValidFraction = Annotated[float, documents("Share of the text that goes to DEST/valid.", "SHARE", min=0, max=1)]
TrainValidFraction = Annotated[float, inputs("Share to hold out from the end, if there is no valid part.", "SHARE")]
Form = Literal["text", "jsonl", "json", "parquet", "arrow"]
GivenForm = Annotated[Form | None, inputs("Form: Form: text, jsonl, json, parquet or arrow.", "FORM", "by file name")]
PartsKey = Annotated[str | None, inputs("Field with pairs (text, counts): 1 counts, 0 is context.", "NAME", "none")]
IdsKey = Annotated[str | None, inputs("Field with ids, for rows that are tokens already.", "NAME", "none")]
MaskKey = Annotated[str | None, inputs("Field of which ids count: 0 and 1, or labels with -100.", "NAME", "all count")]
TextKey = Annotated[str | None, inputs("Field with the text, in JSON or a table.", "NAME", "text")]
Separator = Annotated[str | None, documents("Line that separates documents in .txt files.", "LINE", "none")]
_EOS = Literal["text", "split", "special", "error"]
LiteralEos = Annotated[_EOS, documents('Meaning of "<|endoftext|>": text, split, special or error.', "HOW")]
_BOUNDARIES = Literal["eos", "bos", "both", "none"]
GivenBoundary = Annotated[_BOUNDARIES | None, documents("Tokens around documents.", None, "eos; none with --ids-key")]
Keep = Annotated[str, inputs("Fields to keep beside the tokens, such as score,lang.", "NAMES", "none")]
Dedupe = Annotated[bool, documents("Leave out exact duplicates, and count them.", flag="--dedupe")]
OnError = Annotated[Literal["raise", "skip"], inputs("If a document cannot be read: stop, or skip and count it.", None)]
Split = Annotated[Literal["documents", "tail"], documents("Hold out whole documents, or the tail of the tokens.", None)]
Workers = Annotated[int | None, work("Number of worker processes.", "NUMBER", "one for each core", min=1)]
Memory = Annotated[float | None, work("Memory limit of all processes.", "GB", "1 GB, or 0.25 GB for each core")]
Engine = Annotated[Literal["local", "ray"], work("Where the work runs: local processes, or a Ray cluster.", None)]
Part = Annotated[str | None, work("Do only this part, such as 3/64; with --finish, of the stores.", "K/N", "all of it")]
Finish = Annotated[bool, work("Make the stores of the finished parts; do missing parts first.", flag="--finish")]
DryRun = Annotated[bool, work("Only estimate tokens, disk and time.", flag="--dry-run")]

# -- windows and batches -------------------------------------------------------------------------------------------

Step = Annotated[int, batches("Number of the step, from 0.", "NUMBER", min=0)]
DpRank = Annotated[int, batches("Rank that gets the batch.", "RANK", min=0)]
DpWorldSize = Annotated[int | None, batches("Number of data-parallel ranks.", "RANKS", "1, or those of the run", min=1)]
Row = Annotated[int | None, output("Print only this row of the batch.", "NUMBER", "all rows", min=0)]
Places = Annotated[int, output("Places to print of each row; 0 prints all.", "NUMBER", min=0)]
AsJson = Annotated[bool, output("Print JSON, for programs.", flag="--json")]

# -- training ------------------------------------------------------------------------------------------------------

Resume = Annotated[bool, work("Continue the run in --out; it remembers its flags.", flag="--resume")]
Device = Annotated[str, work('Torch device: "cpu", "cuda", "mps" or "auto".', "NAME")]
Seconds = Annotated[float, work("About how long the demo may take.", "SECONDS", min=1)]
DemoSteps = Annotated[int | None, work("Train exactly this many steps.", "STEPS", "what fits into --seconds", min=2)]
BenchSeconds = Annotated[float, work("How long to measure.", "SECONDS", min=0.1)]

# -- plan, check, when -------------------------------------------------------------------------------------------------

_POLICIES = Literal["concat", "pad", "pack", "bos"]
Policy = Annotated[_POLICIES | None, documents("How documents become rows.", None, "concat")]
MaskTargets = Annotated[Literal["document_edges"] | None, documents("Targets to mask.", None, "none")]
PlanEpochs = Annotated[int | None, batches("Number of epochs.", "EPOCHS", "those of the run, or 1", min=1)]
PlanSteps = Annotated[int | None, batches("Number of steps, instead of epochs.", "STEPS", "all of the epochs", min=1)]
CheckStore = Annotated[Path | None, Argument(metavar="STORE", help="A store, a folder with several, or token files.")]
CheckTokenizer = Annotated[str | None, inputs("Tokenizer; token files need one.", "NAME", "the store's own")]
_DTYPE = inputs("Type of tokens, if the files do not say: uint16, uint32 or int32.", "DTYPE", "what the files say")
Verbose = Annotated[bool, output("Print what each check saw.", flag="--verbose -v")]

# -- flags that a command unpacks as one, of which it has those that were given ------------------------------------


class TokenKind(TypedDict, total=False):
    """What token files of other tools may not say themselves, and what a store that is far away is read through."""

    cache: Annotated[str, inputs("Folder to read a store at a URL through.", "DIR", "none")]
    cache_bytes: Annotated[int, inputs("How large it may become.", "BYTES", "none", min=1)]

    dtype: Annotated[str, _DTYPE]
    eos_id: Annotated[int, inputs("Id between documents, if the files do not say.", "ID", "the tokenizer's", min=0)]


class TokenFiles(TokenKind, total=False):
    """And how their ids read."""

    tokenizer: Annotated[str, inputs("Tokenizer of the ids.", "NAME", "the store's own")]


class Sizes(TokenKind, total=False):
    """And the flags of ``RunSizes``."""

    max_length: Annotated[int, batches("Number of inputs in a window.", "TOKENS", "256 tokens")]
    stride: Annotated[int, batches("Tokens from one window's start to the next.", "TOKENS", "half of max-length: 128")]
    batch_size: Annotated[int, batches("Number of windows in a batch.", "SAMPLES", "4 samples")]
    seed: Annotated[int, batches("Seed of the shuffle.", "NUMBER", "0")]
    shuffle_block: Annotated[int, batches("Shuffle within blocks of so many windows.", "WINDOWS", "the whole epoch")]
    documents: Annotated[
        Literal["store", "epoch"], batches("Order of documents: as stored, or new in each epoch.", None, "store")
    ]
    phase: Annotated[
        Literal["epoch"], batches("Begin windows at another offset in each epoch.", None, "the first token")
    ]
    tail: Annotated[Literal["drop", "pad"], batches("Last tokens, too few for a window: drop or pad.", None, "drop")]


class Drawing(TypedDict, total=False):
    """The flags of ``sample``, beside the run."""

    prompt: Annotated[str, inputs("Text to continue.", "TEXT", "the first words of the training text")]
    tokenizer: ShowTokenizer
    length: Annotated[int, output("Write at most this many tokens.", "TOKENS", "100 tokens")]
    temperature: Annotated[float, output("0 takes the likeliest token; higher values vary more.", "NUMBER", "0.7")]
    top_k: Annotated[int, output("Draw from this many likeliest tokens.", "TOKENS", "50 tokens")]
    seed: Annotated[int, output("Seed of the draws.", "NUMBER", "0")]


class ModelSizes(Sizes, total=False):
    """The flags of sizes, and those that decide which rows there are and how much memory a model takes."""

    width: Annotated[int, model("Size of the vector for each token.", "NUMBER", "128")]
    num_layers: Annotated[int, model("Number of transformer blocks.", "NUMBER", "2")]
    policy: Policy


class Training(ModelSizes, total=False):
    """The flags of ``Settings``."""

    num_heads: Annotated[int, model("Number of attention heads; must divide the width.", "NUMBER", "4")]
    vocabulary: Annotated[
        Literal["tokenizer", "text"], model("Ids the model knows: all, or those in the text.", None, "tokenizer")
    ]
    steps: Annotated[int, work("Number of steps to train in all.", "STEPS", "one epoch")]
    epochs: Annotated[float, work("Number of epochs in all, instead of steps.", "EPOCHS", "1 epoch")]
    lr: Annotated[float, model("Peak learning rate.", "RATE", "0.001")]
    eval_every: Annotated[int, work("Steps between two valid losses.", "STEPS", "50 steps")]
    eval_batches: Annotated[int, work("Number of batches for a valid loss.", "BATCHES", "16 batches")]
    checkpoint_every: Annotated[int, work("Steps between two checkpoints.", "STEPS", "200 steps")]
