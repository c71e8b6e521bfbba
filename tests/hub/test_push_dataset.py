"""`dfa-instruct push`: the result on the Hub, refused pushes, and pushes that were interrupted."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from card_schema import problems
from datasets import load_dataset
from hub_client import Client
from hub_double import Hub
from hub_store import READ_TOKEN, TOKEN, Commit
from typer.testing import CliRunner

from dfa_instruct.cli import app
from dfa_instruct.dataset.writer import write_tables
from dfa_instruct.hub import TRIES
from dfa_instruct.sources.licences import LICENCES
from dfa_instruct.techniques.registry import FITTABLE

PUSH = (Path(sys.executable).parent / "dfa-instruct", "push")
REPO = "analyst/dfa-instruct"
LOADED = f"""
import sys
from datasets import Image, load_dataset
there, here = (load_dataset(name) for name in ("{REPO}", sys.argv[1]))
assert "dfa_instruct" not in sys.modules and list(there) == list(here)
for split in here:
    rows, expected = (side[split].cast_column("image", Image(decode=False)).to_list() for side in (there, here))
    assert rows == expected and len(rows) > 1, split
print(sum(there.num_rows.values()))
"""
CONVERSATIONS = f"""
import sys
from datasets import Image, List, load_dataset
there = load_dataset("{REPO}", "conversations")
streamed = next(iter(load_dataset("{REPO}", "conversations", split="train", streaming=True)))
assert "dfa_instruct" not in sys.modules
assert streamed["images"][0].size == (128, 128) and streamed["messages"][0]["role"] == "user"
import dfa_instruct
here = load_dataset("dfa-instruct", "conversations", data_dir=sys.argv[1])
for split in here:
    assert there[split].features == here[split].features
    undecoded = List(Image(decode=False))
    rows, expected = (side[split].cast_column("images", undecoded).to_list() for side in (there, here))
    assert rows == expected and len(rows) > 1, split
"""
ONE_FILE = f"""
import re, sys
from dfa_instruct.errors import one_line_errors
from dfa_instruct.hub import push
with one_line_errors(OSError, ValueError):
    card = b"---\\nlicense: mit\\nlibrary_name: peft\\npipeline_tag: image-text-to-text\\ntags: [a]\\n---\\n"
    print(push("{REPO}", "model", {{"README.md": card, "a.png": b"a"}}, re.compile(".*png"), private=len(sys.argv) > 1))
"""


@pytest.fixture(scope="session")
def df40_folder(dataset_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset folder, with some faces from DF40 and some from a user's folder."""
    table = pa.concat_tables(pq.read_table(path) for path in sorted(dataset_folder.glob("data/*.parquet")))
    sources = [("df40", "mine", source)[min(i, 2)] for i, source in enumerate(table["source"].to_pylist())]
    at = table.column_names.index("source")
    folder = tmp_path_factory.mktemp("df40") / "dfa-instruct"
    write_tables([table.set_column(at, "source", pa.array(sources)).cast(table.schema)], folder)
    return folder


def content(commit: Commit) -> dict[str, bytes]:
    return {path: blob.content for path, blob in commit.files.items() if path != ".gitattributes"}


def test_a_pushed_dataset_loads_unchanged(dataset_folder: Path, hub: Hub, client: Client) -> None:
    address = client.output(*PUSH, dataset_folder, REPO)
    commit, initial = hub.repository("dataset", "dfa-instruct").log()
    assert address.strip().endswith(commit.oid) and initial.parent is None
    rows = load_dataset(str(dataset_folder)).num_rows
    assert client.output("-c", LOADED, dataset_folder, token=None).split()[-1] == str(sum(rows.values()))
    files = content(commit)
    assert TOKEN.encode() not in b"".join(files.values())
    card = files["README.md"].decode()
    assert problems(card, "dataset") == []
    assert f'load_dataset("{REPO}")' in card and str(dataset_folder) not in card
    assert files["statistics.png"].startswith(b"\x89PNG") and "statistics.png" in card
    assert re.search(r"license: apache-2.0\n", card) and "Nobody real is in these pictures" in card


def test_the_conversations_load_from_the_hub_without_this_package(
    dataset_folder: Path, hub: Hub, client: Client, tmp_path: Path
) -> None:
    client.output(*PUSH, dataset_folder, REPO)
    files = content(hub.repository("dataset", "dfa-instruct").log()[0])
    Client(hub, tmp_path / "stranger").output("-c", CONVERSATIONS, dataset_folder, token=None)
    sent = sum(len(chunk) for chunks in hub.xorbs.values() for chunk in chunks)
    rows, conversations = (
        sum(len(file) for name, file in files.items() if name.startswith(f"{part}/"))
        for part in ("data", "conversations")
    )
    assert conversations > rows / 2 and sent < rows + conversations / 2  # the pictures are not sent twice


def test_an_interrupted_push_is_continued(dataset_folder: Path, hub: Hub, client: Client) -> None:
    hub.disturb("/commit/", 503)
    assert "the Hub answered 503" in client.refusal(*PUSH, dataset_folder, REPO)
    sent = list(hub.uploads)
    assert len(sent) > 1 and len(hub.repository("dataset", "dfa-instruct").log()) == 1  # no partial push is visible
    hub.faults.clear()
    client.output(*PUSH, dataset_folder, REPO)
    assert hub.uploads == sent  # nothing was sent twice
    files = content(hub.repository("dataset", "dfa-instruct").log()[0])
    assert all(files[f"data/{path.name}"] == path.read_bytes() for path in dataset_folder.glob("data/*"))


def test_an_interrupted_push_by_lfs_is_continued(dataset_folder: Path, hub: Hub, tmp_path: Path) -> None:
    client = Client(hub, tmp_path / "home", xet=False)
    train = next(dataset_folder.glob("data/train-*"))
    cut = hub.disturb(f"PUT /lfs/{hashlib.sha256(train.read_bytes()).hexdigest()}")
    push = subprocess.Popen(**client.command((*PUSH, dataset_folder, REPO), TOKEN), stderr=subprocess.DEVNULL)
    assert cut.wait(120)
    while len(hub.uploads) < 3:  # validation, test and the figure
        assert push.poll() is None
        time.sleep(0.05)
    push.kill()
    push.wait()
    repository = hub.repository("dataset", "dfa-instruct")
    assert len(repository.log()) == 1  # no partial push is visible
    hub.faults.clear()
    client.output(*PUSH, dataset_folder, REPO)
    assert len(hub.uploads) == len(set(hub.uploads)) == 7  # with the conversations, a file a split
    files = content(repository.log()[0])
    for path in dataset_folder.glob("data/*"):
        assert files.pop(f"data/{path.name}") == path.read_bytes()
    conversations = {name for name in files if name.startswith("conversations/")}
    assert len(conversations) == 3 and set(files) - conversations == {"README.md", "statistics.png"}
    client.output(*PUSH, dataset_folder, REPO)
    assert len(repository.log()) == 2 and len(hub.uploads) == 7  # nothing had changed


def test_an_earlier_build_is_replaced_and_other_files_stay(
    dataset_folder: Path, df40_folder: Path, hub: Hub, client: Client
) -> None:
    client.output(*PUSH, dataset_folder, REPO)
    repository = hub.repository("dataset", "dfa-instruct")
    theirs = ("LICENSE", "data/train-notes.parquet")
    files = repository.log()[0].files
    repository.add("main", "by hand", files | dict.fromkeys(theirs, files["README.md"]))
    client.output(*PUSH, df40_folder, REPO, "--may-redistribute", "df40", "--may-redistribute", "mine")
    files = content(repository.log()[0])
    conversations = {name for name in files if name.startswith("conversations/")}
    assert len(conversations) == 3 and set(files) - conversations == {
        "README.md",
        "statistics.png",
        *theirs,
        *(f"data/{p.name}" for p in df40_folder.glob("data/*")),
    }
    card = files["README.md"].decode()
    assert problems(card, "dataset") == [] and "license: other\n" in card
    assert "| df40 | DF40: CC BY-NC 4.0" in card and "Real people may be in these pictures" in card


def test_pictures_that_may_not_be_redistributed_are_refused(df40_folder: Path, hub: Hub, client: Client) -> None:
    line = client.refusal(*PUSH, df40_folder, REPO)
    assert "the pictures of df40 are not pushed" in line and "--without-images" in line
    assert "--may-redistribute df40 --may-redistribute mine" in line
    assert "pictures of mine" in client.refusal(*PUSH, df40_folder, REPO, "--may-redistribute", "df40", "--dry-run")
    assert "no row has this source" in client.refusal(*PUSH, df40_folder, REPO, "--may-redistribute", "celebdf")
    assert not hub.store.repositories


def test_questions_without_pictures_can_be_joined_with_them(df40_folder: Path, hub: Hub, client: Client) -> None:
    client.output(*PUSH, df40_folder, REPO, "--without-images")
    files = content(hub.repository("dataset", "dfa-instruct").log()[0])
    assert not any(b"IHDR" in file for name, file in files.items() if name.endswith(".parquet"))
    card = files["README.md"].decode()
    assert problems(card, "dataset") == [] and "license: other\n" in card
    snippet = re.search(r"```python\n(.*?)```", card, re.DOTALL)
    assert snippet
    program = f"""{snippet[1].replace("your/build", str(df40_folder))}
assert len(joined) == len(faces) > 1 and joined[0]["image"].size == (128, 128)
row = next(iter(questions.values()))
assert set(faces.column_names) - set(row) == {{"image", "landmarks"}}
assert all(joined[i]["qa"] == faces[i]["qa"] for i in range(len(faces)))
"""
    client.output("-c", program)


def test_every_technique_that_learns_from_the_faces_has_a_licence() -> None:
    assert set(FITTABLE) <= set(LICENCES)


def test_a_dry_run_shows_everything_and_sends_no_request(dataset_folder: Path, hub: Hub, client: Client) -> None:
    shown = client.output(*PUSH, dataset_folder, REPO, "--dry-run", token=None)
    for path in dataset_folder.glob("data/*"):
        assert re.search(rf"{path.name} +│ +{path.stat().st_size:,} ", shown)
    assert "## Sources and licences" in shown and not hub.requests


@pytest.mark.parametrize(
    ("token", "message"),
    [(None, "HF_TOKEN is not set"), ("hf_of_nobody", "create one with write permission"), (READ_TOKEN, "forbids it")],
)
def test_a_token_without_permission_is_one_line(client: Client, hub: Hub, token: str | None, message: str) -> None:
    line = client.refusal("-c", ONE_FILE, token=token)
    assert message in line and (token is None or token not in line)


def test_the_token_is_checked_before_the_rows_are_read(dataset_folder: Path, client: Client, tmp_path: Path) -> None:
    folder = tmp_path / "dfa-instruct"
    shutil.copytree(dataset_folder, folder)
    for path in (folder / "data").glob("*.parquet"):
        path.write_bytes(b"")
    assert "the Hub does not know the token" in client.refusal(*PUSH, folder, REPO, token="hf_of_nobody")


@pytest.mark.parametrize(
    ("request_", "status", "message"),
    [
        ("/preupload/", 403, "must be analyst or belong to it"),
        ("/commit/", 409, "push again"),
        ("/commit/", 412, "push again"),
        ("/repos/create", 429, "wait some minutes, then push again"),
        ("/commit/", 500, "the Hub answered 500: made to order: 500; push again"),
        ("/commit/", 418, "the Hub answered 418: made to order"),
        ("/commit/", None, "the connection to the Hub broke"),
    ],
)
def test_an_error_of_the_hub_is_one_line(
    client: Client, hub: Hub, request_: str, status: int | None, message: str
) -> None:
    hub.disturb(request_, status)
    line = client.refusal("-c", ONE_FILE)
    assert line.startswith(f"error: {REPO}: ") and message in line


@pytest.mark.parametrize(
    ("xet", "request_", "status", "message"),
    [
        (True, "/preupload/", 500, "the Hub answered 500: made to order: 500; push again"),
        (True, "xet-write-token", 401, "create one with write permission"),
        (True, "xet-write-token", 500, "the Hub answered 500: "),
        (True, "/cas/v1/xorbs/", 403, "must be analyst or belong to it"),
        (True, "/cas/v1/xorbs/", None, "the connection to the Hub broke"),
        (True, "/cas/v./shards", 500, "the Hub answered 500: "),
        (False, "PUT /lfs/", 500, "the Hub answered 500: made to order: 500; push again"),
        (False, "PUT /lfs/", None, "the connection to the Hub broke (2 times in a row, at /lfs/"),
    ],
)
def test_a_failing_upload_is_not_retried_for_minutes(
    tmp_path: Path, hub: Hub, xet: bool, request_: str, status: int | None, message: str
) -> None:
    hub.disturb(request_, status)
    assert message in Client(hub, tmp_path / "home", xet=xet).refusal("-c", ONE_FILE)
    assert 1 <= sum(bool(re.search(request_, line)) for line in hub.requests) <= TRIES
    assert len(hub.repository("model", "dfa-instruct").log()) == 1  # no partial push is visible


def test_a_card_that_the_hub_does_not_accept_is_one_line(client: Client, hub: Hub) -> None:
    line = client.refusal("-c", ONE_FILE.replace("license: mit", "license: to-be-decided"))
    assert "Invalid metadata in README.md. - $.license: 'to-be-decided' is not one of" in line
    assert len(hub.repository("model", "dfa-instruct").log()) == 1


def test_the_card_of_a_build_is_accepted(dataset_folder: Path, df40_folder: Path) -> None:
    for folder, licence in ((dataset_folder, "apache-2.0"), (df40_folder, "other")):
        card = (folder / "README.md").read_text(encoding="utf-8")
        assert problems(card, "dataset") == [] and f"license: {licence}\n" in card


def test_the_token_is_in_no_debug_output(client: Client, hub: Hub) -> None:
    debug = "import os; os.environ.update(HF_DEBUG='1', HF_HUB_VERBOSITY='debug')"
    hub.disturb("/commit/", 403, times=1)
    for shown in ("forbids it", "/commit/"):
        assert shown in client.run("-c", debug + ONE_FILE).stderr  # `run` looks for the token
    assert len(hub.repository("model", "dfa-instruct").log()) == 2


def test_a_private_push_never_goes_to_a_public_repository(client: Client, hub: Hub) -> None:
    client.output("-c", ONE_FILE, "private")
    assert hub.repository("model", "dfa-instruct").private
    hub.repository("model", "dfa-instruct").private = False
    assert "is already public" in client.refusal("-c", ONE_FILE, "private")


def test_a_branch_is_created_and_main_stays(dataset_folder: Path, hub: Hub, client: Client) -> None:
    client.output(*PUSH, dataset_folder, REPO, "--revision", "second")
    repository = hub.repository("dataset", "dfa-instruct")
    assert len(repository.log("second")) == 2 and len(repository.log()) == 1


@pytest.mark.parametrize("repo", ["dfa-instruct", "a/b/c", "a/ b"])
def test_a_wrong_repository_name_is_refused(dataset_folder: Path, repo: str) -> None:
    done = CliRunner().invoke(app, ["push", str(dataset_folder), repo])
    assert done.exit_code == 2 and re.search("expected USER/NAME|Repo id", done.stderr)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (None, ": no dataset folder of dfa-instruct"),
        ("data_files: [{split: train, path: data/train-*}]", "names data/train-*"),
        ("data_files: [", "README.md is not YAML"),
        ("description: nothing", "names no files"),
    ],
)
def test_a_wrong_dataset_folder_is_refused(tmp_path: Path, header: str | None, message: str) -> None:
    if header:
        (tmp_path / "data").mkdir()
        card = f"---\nconfigs:\n- config_name: default\n  {header}\n---\n"
        (tmp_path / "README.md").write_text(card, encoding="utf-8")
    done = CliRunner().invoke(app, ["push", str(tmp_path), REPO])
    assert done.exit_code == 2 and message in done.stderr and str(tmp_path) in done.stderr
