"""The Hub double behaves as `huggingface_hub` expects."""

from __future__ import annotations

from pathlib import Path

import pytest
from hub_client import Client
from hub_double import Hub

UPLOAD = """
import sys
from pathlib import Path
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
api = HfApi()
api.create_repo("analyst/things", repo_type="dataset", exist_ok=True)
files = [CommitOperationAdd(name, name.encode() * 1000) for name in ("data/a.parquet", "data/b.parquet", "notes.txt")]
info = api.create_commit("analyst/things", files, commit_message="Things", repo_type="dataset")
print(info.oid)
"""


def test_committed_files_are_listed_and_read(hub: Hub, client: Client) -> None:
    client.output("-c", UPLOAD)
    program = """
from huggingface_hub import HfApi, hf_hub_download, HfFileSystem
api = HfApi()
for name in ("data/a.parquet", "notes.txt"):
    for revision in (None, api.dataset_info("analyst/things").sha):
        path = hf_hub_download("analyst/things", name, repo_type="dataset", revision=revision)
        assert open(path, "rb").read() == name.encode() * 1000
with HfFileSystem().open("datasets/analyst/things/data/a.parquet", "rb") as file:
    file.seek(14)
    assert file.read(14) == b"data/a.parquet"
top = {entry.path for entry in api.list_repo_tree("analyst/things", repo_type="dataset")}
assert top == {".gitattributes", "data", "notes.txt"}
assert api.get_paths_info("analyst/things", ["notes.txt", "none"], repo_type="dataset")[0].size == 9000
api.create_branch("analyst/things", branch="v 1/x", repo_type="dataset")
assert api.file_exists("analyst/things", "notes.txt", repo_type="dataset", revision="v 1/x")
"""
    client.output("-c", program)


@pytest.mark.parametrize(("xet", "sent"), [(True, 1), (False, 2)])
def test_an_existing_file_is_not_sent_again(hub: Hub, tmp_path: Path, xet: bool, sent: int) -> None:
    client = Client(hub, tmp_path / "home", xet=xet)
    first = client.output("-c", UPLOAD)
    assert client.output("-c", UPLOAD) == first
    assert len(hub.uploads) == sent and any("/lfs/" in line for line in hub.requests) != xet
    assert [commit.title for commit in hub.repository("dataset", "things").log()] == ["Things", "initial commit"]


@pytest.mark.parametrize(("xet", "request_", "sent"), [(True, "POST /cas/v1/xorbs/", 1), (False, "PUT /lfs/", 2)])
def test_the_client_retries_after_a_broken_connection(
    hub: Hub, tmp_path: Path, xet: bool, request_: str, sent: int
) -> None:
    cut = hub.disturb(request_, times=1)
    Client(hub, tmp_path / "home", xet=xet).output("-c", UPLOAD)
    assert cut.is_set() and len(hub.uploads) == sent
    assert sum(line.startswith(request_) for line in hub.requests) == sent + 1


def test_a_private_repository_is_hidden_from_others(hub: Hub, client: Client) -> None:
    program = "from huggingface_hub import HfApi; HfApi().create_repo('analyst/secret', private=True)"
    client.output("-c", program)
    ask = "from huggingface_hub import HfApi; print(HfApi().model_info('analyst/secret').private)"
    assert client.output("-c", ask) == "True\n"
    assert "RepositoryNotFoundError" in client.run("-c", ask, token=None).stderr
