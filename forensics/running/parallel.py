"""Spread work over this machine's cores or over a Dask cluster: joblib runs both, only its backend differs."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence

from forensics.errors import UserError
from forensics.running.progress import Progress


def run_all(
    function: Callable,
    tasks: Sequence[tuple],
    label: str,
    jobs: int = -1,
    cluster: str | None = None,
    shared: Iterable = (),
) -> Iterator:
    """Yield function(*task) for every task, in the order in which they end, with a progress bar.

    With `cluster`, a scheduler's address, the tasks go to its workers, which have to see the same files; the tasks of a
    worker that dies are computed again by the others. `shared` arguments are sent to each worker once.
    """
    from joblib import Parallel, cpu_count, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    with backend(cluster, shared):
        # A core without a task would still have to start Python.
        jobs = -1 if cluster else max(1, min(cpu_count() if jobs < 0 else jobs, len(tasks)))
        results = Parallel(n_jobs=jobs, return_as='generator_unordered')(delayed(function)(*task) for task in tasks)
        try:
            yield from Progress(results, len(tasks), label)
        except TerminatedWorkerError as error:
            raise UserError(
                f'One of {jobs} worker processes was killed, most likely because memory ran out. Close other programs '
                f'and run the same line again.'
            ) from error


@contextlib.contextmanager
def backend(cluster: str | None, shared: Iterable) -> Iterator[None]:
    if cluster is None:
        yield
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise UserError("--cluster needs Dask, which is an extra: `pip install 'dask[distributed]'`.") from error
    from joblib import parallel_config

    try:
        client = Client(cluster, timeout=10)
    except (OSError, ValueError) as error:
        raise UserError(
            f'No Dask scheduler answers at {cluster} ({str(error).splitlines()[0]}). Start one with `dask scheduler` '
            f'and, in this folder on each machine, `dask worker {cluster}`.'
        ) from error
    with client, parallel_config(backend='dask', scatter=list(shared) or None, wait_for_workers_timeout=30):
        if not client.scheduler_info()['workers']:
            raise UserError(f'The scheduler at {cluster} has no workers; start `dask worker {cluster}` in this folder.')
        yield
