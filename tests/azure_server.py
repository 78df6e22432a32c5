"""Azurite, the storage emulator of Azure, on loopback: installed by npm into ``build/azurite``, started by node itself.

It has the well-known account and key of every emulator. It ends with the block, or with this process: its shell waits
for the end of a pipe from here.
"""

import base64
import hashlib
import hmac
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path

from object_server import free_port

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "build" / "azurite" / "node_modules" / ".bin" / "azurite-blob"
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_PATIENCE = 60  # seconds


def is_installed() -> bool:
    return bool(shutil.which("node")) and SCRIPT.exists()


@contextmanager
def running(container: str) -> Iterator[Mapping[str, str]]:
    """The server with an empty ``container``; gives the environment that clients need."""
    port = free_port()
    options = ["--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck", "--silent"]
    command = ["node", str(SCRIPT), *options, "--blobPort", str(port)]
    shell = ["sh", "-c", '"$@" & read _; kill -9 $!', "sh", *command]
    with subprocess.Popen(shell, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"
            _make(endpoint, container)
            yield {
                "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
                "AZURE_STORAGE_ACCOUNT_KEY": KEY,
                "AZURE_STORAGE_ENDPOINT": endpoint,
                "AZURE_ALLOW_HTTP": "true",
            }
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def _make(endpoint: str, container: str) -> None:
    """PUT the container, signed with the account's key, as soon as the server answers."""
    ends = time.monotonic() + _PATIENCE
    while True:
        date, version = formatdate(usegmt=True), "2021-08-06"
        named = f"x-ms-date:{date}\nx-ms-version:{version}\n"
        resource = f"/{ACCOUNT}/{ACCOUNT}/{container}\nrestype:container"
        text = "PUT" + "\n" * 12 + named + resource
        signed = base64.b64encode(hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()).decode()
        headers = {"x-ms-date": date, "x-ms-version": version, "Content-Length": "0"}
        headers["Authorization"] = f"SharedKey {ACCOUNT}:{signed}"
        url = f"{endpoint}/{container}?restype=container"
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="PUT", headers=headers), timeout=5).close()
        except urllib.error.HTTPError:
            raise
        except OSError:
            if time.monotonic() > ends:
                raise
            time.sleep(0.1)
        else:
            return
