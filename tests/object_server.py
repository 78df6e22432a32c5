"""A real server of objects for tests: Ceph's gateway, with a monitor and a store in memory, on loopback only.

Needs the packages ``ceph-mon ceph-osd radosgw`` and twelve seconds. All of it lies in one folder and is stopped by the
process ids that were started here; if this process dies, they end too: each waits for the end of a pipe from it.
"""

import base64
import hashlib
import hmac
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path

KEY, SECRET = "windrow-key", "windrow-secret"
PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "radosgw", "radosgw-admin")
_PATIENCE = 90  # seconds


def missing() -> list[str]:
    """The programs that are not installed."""
    return [program for program in PROGRAMS if not shutil.which(program)]


def free_port() -> int:
    """A port that nothing listens on just now; who is quicker makes the start fail, and it is tried again."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Server:
    """A running server; ``environment`` is what clients of it need, ``url`` where it listens."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._running = folder, dict[str, "subprocess.Popen[bytes]"]()
        self._port, self._mon_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        for name in ("mon", "osd", "rgw", "log"):
            (folder / name).mkdir(parents=True)
        self._fsid = str(uuid.uuid4())
        (folder / "ceph.conf").write_text(self._settings())

    @property
    def environment(self) -> Mapping[str, str]:
        return {
            "AWS_ENDPOINT": self.url,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }

    def _settings(self) -> str:
        folder, mon = self._folder, f"v2:127.0.0.1:{self._mon_port}/0"
        common = {
            "fsid": self._fsid,
            "mon host": f"[{mon}]",
            "auth cluster required": "none",
            "auth service required": "none",
            "auth client required": "none",
            "ms mon client mode": "crc",
            "run dir": f"{folder}/log",
            "admin socket": "",
            "crash dir": f"{folder}/log",
            "log file": f"{folder}/log/$name.log",
            "mon cluster log file": f"{folder}/log/cluster.log",
            "log to stderr": "false",
            "osd pool default size": "1",
            "osd pool default pg num": "1",
            "osd crush chooseleaf type": "0",
            "rgw rados pool pg num min": "1",
        }
        monitor = {"public addrv": mon, "mon data": f"{folder}/mon", "mon allow pool size one": "true"}
        monitor["mon data avail crit"] = "1"
        store = {"public addr": "127.0.0.1", "cluster addr": "127.0.0.1", "osd data": f"{folder}/osd"}
        store |= {"osd objectstore": "memstore", "memstore device bytes": "8589934592", "osd client watch timeout": "3"}
        gateway = {"rgw data": f"{folder}/rgw", "rgw thread pool size": "32"}
        gateway["rgw frontends"] = f"beast endpoint=127.0.0.1:{self._port} tcp_nodelay=1"
        sections = {"global": common, "mon": monitor, "osd": store, "client.rgw": gateway}
        return "".join(
            f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in values.items())
            for name, values in sections.items()
        )

    def start(self) -> None:
        conf = ["-c", str(self._folder / "ceph.conf")]
        self._run("ceph-mon", "--mkfs", "-i", "a", *conf)
        self._spawn("mon", "ceph-mon", "-i", "a", *conf)
        self._run("ceph", *conf, "--connect-timeout", "60", "osd", "new", self._fsid)
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", self._fsid, *conf)
        self._spawn("osd", "ceph-osd", "-i", "0", *conf)
        who = ["--uid=test", "--display-name=test", f"--access-key={KEY}", f"--secret={SECRET}"]
        self._run("radosgw-admin", *conf, "-n", "client.rgw", "user", "create", *who)
        self.start_gateway()

    def start_gateway(self) -> None:
        """Start the gateway, or start it again, and wait until it answers."""
        self._spawn("rgw", "radosgw", "-n", "client.rgw", "-c", str(self._folder / "ceph.conf"))
        ends = time.monotonic() + _PATIENCE
        while time.monotonic() < ends and self._running["rgw"].poll() is None:
            try:
                urllib.request.urlopen(self.url, timeout=2).close()
            except urllib.error.HTTPError:
                return
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise RuntimeError(f"the gateway does not answer: see {self._folder / 'log'}")

    def kill_gateway(self) -> None:
        self._end("rgw")

    def freeze_gateway(self) -> None:
        os.killpg(self._running["rgw"].pid, signal.SIGSTOP)

    def thaw_gateway(self) -> None:
        os.killpg(self._running["rgw"].pid, signal.SIGCONT)

    def make_bucket(self, name: str) -> None:
        """PUT the bucket, signed as version 2 of the signatures has it: a hash of verb, type, date and path."""
        date = formatdate(usegmt=True)
        signed = hmac.new(SECRET.encode(), f"PUT\n\n\n{date}\n/{name}".encode(), hashlib.sha1).digest()
        headers = {"Date": date, "Authorization": f"AWS {KEY}:{base64.b64encode(signed).decode()}"}
        request = urllib.request.Request(f"{self.url}/{name}", method="PUT", headers=headers)
        urllib.request.urlopen(request, timeout=60).close()

    def stop(self) -> None:
        for name in ("rgw", "osd", "mon"):
            if name in self._running:
                self._end(name)

    def _end(self, name: str) -> None:
        process = self._running.pop(name)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

    def _run(self, *command: str) -> None:
        with (self._folder / "log" / "setup.out").open("ab") as out:
            subprocess.run(command, stdout=out, stderr=out, timeout=120, check=True)

    def _spawn(self, name: str, *command: str) -> None:
        with (self._folder / "log" / f"{name}.out").open("ab") as out:
            self._running[name] = subprocess.Popen(
                ["sh", "-c", '"$@" & read _; kill -9 $!', "sh", *command, "-f"],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )


@contextmanager
def running(folder: Path) -> Iterator[Server]:
    """A server whose data lies in ``folder`` and is gone with it; another port is tried where one was taken."""
    for attempt in range(3):
        server = Server(folder / str(attempt))
        try:
            server.start()
            break
        except (RuntimeError, subprocess.SubprocessError):
            server.stop()
            if attempt == 2:
                raise
    before = {name: os.environ.get(name) for name in server.environment}
    os.environ.update(server.environment)
    try:
        yield server
    finally:
        server.stop()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
