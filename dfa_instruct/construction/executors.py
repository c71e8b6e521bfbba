"""Run the tasks of a step in processes on this machine, on Slurm or on Ray."""

from __future__ import annotations

import inspect
import multiprocessing
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from datatrove.executor.base import PipelineExecutor
from datatrove.executor.local import LocalPipelineExecutor
from tqdm import tqdm

from dfa_instruct.construction.orphans import end_with_this_process
from dfa_instruct.construction.recipe import Recipe
from dfa_instruct.construction.work_folder import Step
from dfa_instruct.errors import nearest

Executor = Literal["local", "slurm", "ray"]
POLL_SECONDS = 5.0


class LocalExecutor(LocalPipelineExecutor):
    """datatrove's local executor with a plain pool of processes that end with the build.

    datatrove's own pool also starts a manager process. If the build is killed, the manager and the workers live on and
    keep the lock of the work folder.
    """

    def run(self) -> None:
        """Run the tasks that are not complete.

        Raises:
            RuntimeError: A worker was killed. Exceptions of the step pass through.
        """
        ranks = self.get_incomplete_ranks()
        if self.workers == 1:
            for rank in ranks:
                self._run_for_rank(rank)
            return
        # A fork would inherit open files, such as the lock of the work folder.
        spawn = multiprocessing.get_context("spawn")
        try:
            with ProcessPoolExecutor(self.workers, spawn, exec, (end_with_this_process(), {})) as pool:
                for _ in pool.map(self._run_for_rank, ranks):
                    pass
        except BrokenProcessPool as error:
            raise RuntimeError("a worker was killed (out of memory?); the same command continues the build") from error


def _executor_class(executor: Executor) -> type[PipelineExecutor]:
    if executor == "slurm":
        from datatrove.executor.slurm import SlurmPipelineExecutor

        return SlurmPipelineExecutor
    if executor == "ray":
        from datatrove.executor.ray import RayPipelineExecutor

        return RayPipelineExecutor
    return LocalExecutor


def check_arguments(recipe: Recipe, executor: Executor) -> None:
    """Raise a ValueError if the executor is not available, or if its arguments in the recipe are wrong."""
    if executor == "local":
        return
    given: dict[str, Any] = getattr(recipe, executor)
    takes = inspect.signature(_executor_class(executor)).parameters
    known = [n for n in takes if n not in ("pipeline", "tasks", "workers", "logging_dir", "depends", "skip_completed")]
    for name in given:
        if name not in known:
            raise ValueError(f"{executor}: unknown argument {name!r}{nearest(name, known)}")
    for name in known:
        if takes[name].default is inspect.Parameter.empty and name not in given:
            raise ValueError(f"{executor}: the argument {name!r} is missing in the recipe")
    if executor == "ray" and find_spec("ray") is None:
        raise ValueError("--executor ray: Ray is not installed; pip install 'dfa-instruct[ray]'")
    if executor == "slurm" and shutil.which("sbatch") is None:
        raise ValueError("--executor slurm: sbatch is not installed; expected a machine that submits jobs to Slurm")


def run_step(
    step: Step, sizes: Sequence[int], executor: Executor = "local", workers: int | None = None, title: str = ""
) -> None:
    """Run the tasks of a step that are not complete, with a progress bar. Return when all are complete.

    Args:
        step: The step.
        sizes: The number of images of each task.
        executor: See `build`.
        workers: See `build`.
        title: The title of the progress bar.

    Raises:
        RuntimeError: Tasks failed on the cluster. Exceptions of the step pass through.
    """
    logs = step.work.logs(step.folder)
    common: dict[str, Any] = {"pipeline": [step], "tasks": len(sizes), "logging_dir": str(logs)}
    with _progress(title or step.name, logs, sizes):
        if executor == "local":
            try:
                _executor_class(executor)(**common, workers=min(workers or os.cpu_count() or 1, len(sizes))).run()
            finally:
                step.close()
            return
        given: dict[str, Any] = getattr(step.recipe, executor)
        if executor == "slurm" and given.keys().isdisjoint({"env_command", "condaenv", "venv_path"}):
            # The job's script calls datatrove's commands. They are beside this Python, which may not be on the path.
            folder = shlex.quote(str(Path(sys.executable).parent))
            given = {**given, "env_command": f"export PATH={folder}:$PATH"}
        running: Any = _executor_class(executor)(**common, workers=workers or -1, **given)
        running.run()
        while running.get_incomplete_ranks(skip_completed=True):
            if executor == "ray" or not _is_queued(running.job_id):  # on Slurm, `run` returns before the job ends
                raise RuntimeError(f"{step.name}: tasks failed, see {logs}; the same command continues the build")
            time.sleep(POLL_SECONDS)


def _is_queued(job: str) -> bool:
    """Return whether a Slurm job is waiting or running."""
    return bool(subprocess.run(["squeue", "-h", "-j", job], capture_output=True, text=True).stdout.strip())


@contextmanager
def _progress(title: str, logs: Path, sizes: Sequence[int]) -> Iterator[None]:
    """Show the number of images in the tasks that datatrove has marked as complete."""
    completions = logs / "completions"

    def done() -> int:
        return sum(sizes[int(path.name)] for path in completions.glob("*")) if completions.is_dir() else 0

    finished = threading.Event()
    with tqdm(total=sum(sizes), initial=done(), desc=title, unit="image" if sum(sizes) > 1 else "step") as bar:

        def watch() -> None:
            while not finished.wait(0.5):
                bar.update(done() - bar.n)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            finished.set()
            watcher.join()
            bar.update(done() - bar.n)
