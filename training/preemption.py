"""Stopping on request: SIGTERM, Ctrl-C, or maintenance that the cloud has announced for this machine."""

import http.client
import os
import signal
import threading

METADATA_HOST = "metadata.google.internal"
# What Compute Engine tells a machine of its own end.
NOTICES = {"maintenance-event": "TERMINATE_ON_HOST_MAINTENANCE", "preempted": "TRUE"}
RETRY_SECONDS = 60.0
# The server answers when the value changes, or after the seconds, lest a change between two requests is missed.
WAIT = "?wait_for_change=true&timeout_sec=20"


class Preempted(Exception):
    """The run was asked to stop and has saved: the same command goes on from there."""


class StopRequests:
    """Listens for requests to stop, as a context; what is in work goes on until `reason` is looked at.

    The second signal has its usual effect, which ends the process at once. Signals reach a process only when its main
    thread returns from a call on the device; see `iterations_per_loop` of `training.loop.train`.

    Args:
      watch_maintenance: ask the metadata server of Compute Engine for announced maintenance and preemption; the
        environment variable GCE_METADATA_HOST names another one than Google's.

    Attributes:
      reason: what asked to stop, None until then.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self, watch_maintenance: bool = False):
        self.reason = None
        self._watch_maintenance = watch_maintenance
        self._earlier = {}
        self._left = threading.Event()

    def __enter__(self):
        # Python lets the main thread alone handle signals.
        if threading.current_thread() is threading.main_thread():
            self._earlier = {s: signal.signal(s, self._on_signal) for s in self.SIGNALS}
        if self._watch_maintenance:
            for notice in NOTICES:
                threading.Thread(target=self._watch, args=(notice,), daemon=True).start()
        return self

    def __exit__(self, *exception):
        self._left.set()
        for number, handler in self._earlier.items():
            signal.signal(number, handler)

    def _on_signal(self, number, frame):
        self.reason = signal.Signals(number).name
        for each in self.SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        # Not the log: its lock may be held by what was interrupted.
        text = f"{self.reason}: saving after the steps in work; a second one ends the process at once\n"
        os.write(2, text.encode())

    def _watch(self, notice: str) -> None:
        query = ""
        while not self._left.is_set():
            try:
                value = _read_metadata(f"/computeMetadata/v1/instance/{notice}{query}")
            except (OSError, http.client.HTTPException):
                self._left.wait(RETRY_SECONDS)
                continue
            if value == NOTICES[notice]:
                self.reason = f"{notice} {value}"
                return
            query = WAIT


def _read_metadata(path: str) -> str:
    connection = http.client.HTTPConnection(os.environ.get("GCE_METADATA_HOST", METADATA_HOST))
    try:
        connection.request("GET", path, headers={"Metadata-Flavor": "Google"})
        response = connection.getresponse()
        if response.status != http.client.OK:
            raise OSError(f"{path}: status {response.status}")
        return response.read().decode().strip()
    finally:
        connection.close()
