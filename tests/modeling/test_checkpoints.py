"""The files of a checkpoint that are published."""

from __future__ import annotations

from pathlib import Path

from modeling_dfa_gpt.checkpoints import publish_checkpoint


def test_files_for_resuming_are_not_published(tmp_path: Path) -> None:
    best, last, folder = (tmp_path / name for name in ("best", "last", "published"))
    for path in (best, last, folder):
        path.mkdir()
    for name in ("adapter_model.safetensors", "tokenizer.json", "optimizer.pt", "rng_state.pth", "README.md"):
        (best / name).write_text(name)
    for path in (best, last):
        (path / "trainer_state.json").write_text(path.name)
    publish_checkpoint(best, last, folder)
    assert {path.name for path in folder.iterdir()} == {
        "adapter_model.safetensors",
        "tokenizer.json",
        "trainer_state.json",
    }
    assert (folder / "trainer_state.json").read_text() == "last"
