"""Steps by processes of this machine."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from datatrove.executor.local import LocalPipelineExecutor

from dfa_instruct.build.orphans import end_with_this_process


class LocalExecutor(LocalPipelineExecutor):
    """datatrove's local executor with a plain pool of processes, which end with the build.

    datatrove's own also starts a manager. It does not notice when the build is killed, and lives on with the workers,
    the lock of the work folder and a socket in the temporary folder.
    """

    def run(self) -> None:
        """Run the tasks that are not complete already.

        Raises:
            RuntimeError: a worker was killed. What a step itself raises is passed on.
        """
        ranks = self.get_incomplete_ranks()
        if self.workers == 1:
            for rank in ranks:
                self._run_for_rank(rank)
            return
        # Spawned, for a fork would inherit open files, the lock of the work folder among them.
        spawn = multiprocessing.get_context("spawn")
        try:
            with ProcessPoolExecutor(self.workers, spawn, exec, (end_with_this_process(), {})) as pool:
                for _ in pool.map(self._run_for_rank, ranks):
                    pass
        except BrokenProcessPool as error:
            raise RuntimeError(
                "a worker was killed (too little memory?); the same command goes on from there"
            ) from error
