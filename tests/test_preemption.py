"""Requests to stop: what is heard, and that nothing is lost."""

import http.server
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from training.preemption import StopRequests


def wait_for(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_noted_and_does_not_interrupt(number):
    with StopRequests() as requests:
        assert requests.reason is None
        os.kill(os.getpid(), number)
        assert requests.reason == signal.Signals(number).name


def test_handlers_are_as_before_when_it_is_over():
    before = [signal.getsignal(number) for number in StopRequests.SIGNALS]
    with StopRequests():
        os.kill(os.getpid(), signal.SIGTERM)
    assert [signal.getsignal(number) for number in StopRequests.SIGNALS] == before


def test_the_second_signal_ends_the_process_at_once():
    program = """
        import os, signal, time
        from training.preemption import StopRequests
        with StopRequests():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], timeout=30)
    assert done.returncode == -signal.SIGTERM


@pytest.fixture
def metadata_server(monkeypatch):
    """A server that answers as Compute Engine's; returns the values, by notice, that a test may change."""
    values = {"maintenance-event": "NONE", "preempted": "FALSE"}
    changed = threading.Condition()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            path, _, query = self.path.partition("?")
            notice = path.rpartition("/")[2]
            google = self.headers["Metadata-Flavor"] == "Google"
            if query.startswith("wait_for_change=true"):
                with changed:
                    changed.wait(5.0)
            self.send_response(200 if google else 403)
            self.end_headers()
            self.wfile.write(values[notice].encode() if google else b"TRUE")

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("GCE_METADATA_HOST", f"127.0.0.1:{server.server_port}")

    def set_value(notice, value):
        with changed:
            values[notice] = value
            changed.notify_all()

    yield set_value
    set_value("preempted", "FALSE")
    server.shutdown()


@pytest.mark.parametrize(
    "notice, value",
    [("maintenance-event", "TERMINATE_ON_HOST_MAINTENANCE"), ("preempted", "TRUE")],
)
def test_the_announced_end_of_the_machine_is_a_request(metadata_server, notice, value):
    with StopRequests(watch_maintenance=True) as requests:
        time.sleep(0.2)
        assert requests.reason is None
        metadata_server(notice, value)
        assert wait_for(lambda: requests.reason)
        assert requests.reason == f"{notice} {value}"


def test_a_migration_of_the_machine_is_none(metadata_server):
    with StopRequests(watch_maintenance=True) as requests:
        time.sleep(0.2)
        metadata_server("maintenance-event", "MIGRATE_ON_HOST_MAINTENANCE")
        assert not wait_for(lambda: requests.reason, seconds=0.5)


def test_without_a_metadata_server_signals_are_still_heard(monkeypatch):
    monkeypatch.setenv("GCE_METADATA_HOST", "127.0.0.1:9")
    with StopRequests(watch_maintenance=True) as requests:
        os.kill(os.getpid(), signal.SIGTERM)
        assert requests.reason == "SIGTERM"
