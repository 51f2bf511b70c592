"""The workers of a Ray cluster. Ray places the tasks, starts them again where a node dies, and keeps a GPU for each; nothing of that
is done here. The engine must be installed on every node, and inputs and results be seen by all: a shared folder, or URLs."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Generator, Sequence
from typing import Any
from urllib.parse import urlsplit

from engine.batch.item import FAILED, HELD, Item, Outcome, Problem
from engine.batch.slots import threads_told
from engine.batch.store import Store
from engine.batch.work import do_item
from engine.errors import InputError
from engine.reporting import QuietReporter

RETRIES = 4
"""How often Ray starts an item again whose worker or node died."""
ANSWER_SECONDS = 5.0
HTTP2_SETTINGS = b"\x04"
HTTP2_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + HTTP2_SETTINGS + bytes(5)
"""Ray speaks gRPC, whose first answer is a frame of settings too (RFC 9113, 3.4 and 4.1)."""
_START = "Start a cluster with `ray start --head`, and give its address."
AHEAD = 2
"""Items that are handed to Ray for each that can run: enough that none waits, few enough that a large batch takes no memory."""


class RayCluster:
    """Makes items on the cluster at an address: HOST:PORT, ray://HOST:PORT, or "auto" for the one that this machine belongs to.

    InputError where it does not take this batch.
    """

    def __init__(self, address: str, out: str, threads: int, blender: tuple[str, ...] | None, make: str) -> None:
        self._out, self._threads, self._blender, self._make = out, threads, blender, make
        self._stopped = threading.Event()
        self._proof = f".sketchbridge-batch-{secrets.token_hex(6)}"
        self._ray = _connected(address)

    def run(self, items: Sequence[Item]) -> Generator[Outcome]:
        """Outcomes as they come."""
        ray, store = self._ray, Store(self._out)
        gpus = bool(ray.cluster_resources().get("GPU"))
        needs: dict[str, Any] = {"num_gpus": 1} if gpus else {"num_cpus": self._threads}
        task = ray.remote(max_retries=RETRIES, **needs)(make_item)
        store.write(self._proof, b"The nodes of the cluster look whether they see this.\n")
        running: dict[Any, Item] = {}
        left = iter(items)
        try:
            while True:
                places = max(1, int(ray.cluster_resources().get("GPU" if gpus else "CPU", 0)))  # nodes come and go
                while not self._stopped.is_set() and len(running) < AHEAD * places and (item := next(left, None)) is not None:
                    running[task.remote(item.to_dict(), self._out, self._proof, self._threads, self._blender, self._make)] = item
                if not running or self._stopped.is_set():
                    break
                ready, _ = ray.wait(list(running), num_returns=1, timeout=0.5)
                for reference in ready:
                    yield self._outcome(running.pop(reference), reference)
        finally:
            for reference in running:
                ray.cancel(reference, force=False)
            _wait(ray, list(running))
            with contextlib.suppress(Exception):
                store.remove(self._proof)
            ray.shutdown()

    def stop(self) -> None:
        """No more items; those that are being made are cancelled."""
        self._stopped.set()

    def _outcome(self, item: Item, reference: Any) -> Outcome:
        try:
            return Outcome.from_dict(self._ray.get(reference))
        except Exception as error:  # of Ray: the worker died too often, or the engine is not there
            reason = str(getattr(error, "cause", None) or error).strip().splitlines()
            return Outcome(item.number, FAILED, problem=Problem(
                "no_cluster", f"Ray gave '{item.name}' up: {type(error).__name__}: {reason[-1] if reason else ''}",
                "See Ray's dashboard or logs; the engine must be installed on every node, and have enough memory there."))  # fmt: skip


def make_item(held: dict[str, Any], out: str, proof: str, threads: int, blender: tuple[str, ...] | None, make: str) -> dict[str, Any]:
    """The task: one item on one node, the outcome as plain data. Waits for a dying process that still holds the item."""
    os.environ |= threads_told(threads)  # whatever the node had set
    item, store = Item.from_dict(held), Store(out)
    if store.read(proof) is None:
        return Outcome(item.number, FAILED, problem=Problem(
            "no_cluster", f"The node '{socket.gethostname()}' does not see the results' place '{out}'.",
            "Use a folder that all nodes share under the same path, or a URL such as s3://BUCKET/PATH.")).to_dict()  # fmt: skip
    while (outcome := do_item(item, store, QuietReporter(), blender, make)).state == HELD:
        time.sleep(0.5)
    return outcome.to_dict()


def check_cluster(address: str) -> None:
    """InputError where Ray is not installed or nothing listens there: Ray itself would wait for minutes."""
    if importlib.util.find_spec("ray") is None:
        raise InputError("no_cluster", "Ray is not installed here.", "Install it: pip install 'sketchbridge[cluster]'.")
    if address != "auto":
        _knock(address)


def _connected(address: str) -> Any:
    """The module, connected."""
    ray = importlib.import_module("ray")
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        raise InputError(
            "no_cluster", f"The Ray cluster at '{address}' does not take this batch: {str(error).splitlines()[0]}.", _START
        ) from error
    return ray


def _knock(address: str) -> None:
    parts = urlsplit(address if "://" in address else f"ray://{address}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or not port:
        raise InputError("no_cluster", f"A Ray address must be HOST:PORT, ray://HOST:PORT or auto, got '{address}'.", "Correct --ray.")
    try:
        with socket.create_connection((host, port), ANSWER_SECONDS) as line:
            line.sendall(HTTP2_GREETING)
            answer = line.recv(9)
    except OSError as error:
        raise InputError("no_cluster", f"Nothing answers at '{address}': {error}.", _START) from error
    if answer[3:4] != HTTP2_SETTINGS and os.environ.get("RAY_USE_TLS", "0") in ("0", ""):
        raise InputError("no_cluster", f"What answers at '{address}' is no Ray cluster.", _START)


def _wait(ray: Any, references: Sequence[Any]) -> None:
    """Let cancelled tasks end, so that they let go of their items."""
    if references:
        with contextlib.suppress(Exception):
            ray.wait(list(references), num_returns=len(references), timeout=ANSWER_SECONDS)
