"""Verbs for a Slurm cluster: submit."""

from __future__ import annotations


def submit(
    config: str,
    /,
    *options: str,
    nodes: int = 1,
    gpus: int = 1,
    cpus: int = 8,
    time: str = "24:00:00",
    notice: int = 180,
    sbatch: tuple[str, ...] = (),
    dry_run: bool = False,
) -> None:
    """Trains on a Slurm cluster: dfd submit dual_stream --nodes 2 --gpus 4 -- --data data/140k.yaml
    --data.roots=shards/mine.

    It fills slurm/train.sbatch, has sbatch check it, submits it, and says each of these. Shortly before its
    time is up, the job saves itself and is requeued; it goes on where it stood, with the same id, run folder
    and W&B run.

    Args:
        config: As dfd fit takes it: a file, or the name of one that dfd ships.
        options: After --, further options of dfd fit.
        nodes: Machines.
        gpus: GPUs of each node, with a process each; 0 is one process a node on its CPUs, for --config
            overlay/ddp.
        cpus: Cores of each process.
        time: Until the job is requeued: hours:minutes:seconds or days-hours; a number alone is minutes.
        notice: Seconds that it gets for 8 steps, a validation and a save, before the time is up.
        sbatch: A further option of sbatch; may be repeated: --sbatch=--partition=long --sbatch=--account=us
        dry_run: Print the script and have it checked where there is sbatch; submit nothing.
    """
    from dfd.launch.slurm import Job, submit

    job = Job(nodes=nodes, gpus=gpus, cpus=cpus, time=time, notice=notice, more=sbatch)
    submit(config, options, job, dry_run=dry_run)


VERBS = (submit,)
