"""A Slurm of one node, this machine, for tests; from Debian's slurm-wlm, without its services."""

import getpass
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

# A job that is put back in the queue waits there for as many seconds as its credentials live.
CONFIGURATION = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
AuthInfo=cred_expire=5
MpiDefault=none
SchedulerParameters=sched_interval=1,bf_interval=1
ProctrackType=proctrack/pgid
SwitchType=switch/none
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus}
PartitionName=main Nodes=ALL Default=YES
"""
PATIENCE = 300  # seconds, for anything a busy machine takes its time for


def free_ports(count: int) -> list[int]:
    """Of this machine."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


def wait_for(what: str, happened: Callable[[], object]) -> None:
    """Fails if it has not happened in time."""
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end, f"waited {PATIENCE} s in vain for {what}"
        time.sleep(0.2)


def slurm(*command: str, check: bool = True) -> str:
    """What one of Slurm's commands prints."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=check, timeout=PATIENCE)
    return done.stdout.strip()


def over(job: str) -> str:
    """The state in which it ends, which is waited for."""
    command = "squeue", "--noheader", "--states", "all", "--format", "%T", "--job", job
    wait_for(f"the end of job {job}", lambda: slurm(*command) not in ("PENDING", "RUNNING", "COMPLETING"))
    return slurm(*command)


@contextmanager
def cluster(folder: Path) -> Iterator[None]:
    """As long as it is open, Slurm's commands mean this cluster, which keeps its files in the folder."""
    host, configuration = socket.gethostname().partition(".")[0], folder / "slurm.conf"
    for name in ("state", "spool"):
        (folder / name).mkdir()
    values = {"host": host, "user": getpass.getuser(), "cpus": os.cpu_count(), "ports": free_ports(2)}
    configuration.write_text(CONFIGURATION.format(folder=folder, **values))
    with mock.patch.dict(os.environ, SLURM_CONF=str(configuration)), (folder / "log").open("wb") as log:
        daemons = [subprocess.Popen([name, "-D"], stdout=log, stderr=log) for name in ("slurmctld", "slurmd")]
        try:
            wait_for(f"an idle node; see {folder}/log", lambda: slurm("sinfo", "-h", "-o", "%t", check=False) == "idle")
            try:
                yield
            finally:
                slurm("scancel", "--user", getpass.getuser())
                wait_for("the end of all jobs", lambda: not slurm("squeue", "--noheader"))
        finally:
            for daemon in reversed(daemons):
                daemon.terminate()
                daemon.wait(PATIENCE)
