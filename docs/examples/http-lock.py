#!/usr/bin/env python3
"""Runs a command while it holds an exclusive lock of `berth lock serve` (docs/lock-server.md).

    LOCKS=http://127.0.0.1:7020 http-lock.py NAME COMMAND…

Needs Python 3.8 and nothing else; a program can use the class Lock. TOKEN_FILE names a file with the server's token,
CA the certificate that signed the server's; WAIT_MS limits the wait. Exits with the code of the command; with 4 if
another holds the lock or it is disabled; with 5 if the lock was lost, which kills the command and everything that it
has started; with 6 if the server or its store does not answer, or refuses the request. SIGKILL leaves the command
running, without the lock.
"""
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import urllib.parse


class LockError(Exception):
    """The server refuses. `code` says why: contended, timeout, disabled, invalid, unauthorized, unavailable …"""

    def __init__(self, failure):
        super().__init__(failure["message"])
        self.code = failure["code"]


class Lock:
    """A lock, from the begin of `with` to its end. `lost` is set when it is not held any more: the work has to end."""

    def __init__(self, server, name, token=None, ca=None, on_wait=print, **request):
        url = urllib.parse.urlsplit(server)
        if url.scheme == "https":
            context = ssl.create_default_context(cafile=ca)
            self._connection = http.client.HTTPSConnection(url.netloc, timeout=60, context=context)
        else:
            self._connection = http.client.HTTPConnection(url.netloc, timeout=60)
        self._path = "/v1/locks/" + urllib.parse.quote(name, safe="")
        self._headers = {} if token is None else {"Authorization": "Bearer " + token}
        self._request = json.dumps(request)
        self._on_wait = on_wait
        self.lost = threading.Event()

    def __enter__(self):
        self._connection.request("POST", self._path, self._request, self._headers)
        self._socket = self._connection.sock
        self._answer = self._connection.getresponse()
        try:
            if self._answer.status != 200:
                raise LockError(json.load(self._answer)["error"])
            while True:
                event = self._next()
                if event["event"] == "waiting":
                    self._on_wait(event["holders"])
                elif event["event"] == "error":
                    raise LockError(event)
                elif event["event"] == "granted":
                    break
        except BaseException:
            self._connection.close()
            raise
        self.token = event["token"]
        # A server that says nothing may have lost the lock.
        self._socket.settimeout(event["maxSilenceMs"] / 1000)
        self._following = threading.Thread(target=self._follow, daemon=True)
        self._following.start()
        return self

    def __exit__(self, *_):
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # The server has closed the connection before.
        self._following.join()
        self._connection.close()

    def _next(self):
        line = self._answer.readline()
        if not line:
            raise ConnectionError("the connection to the lock server has ended")
        return json.loads(line)

    def _follow(self):
        try:
            while self._next()["event"] == "alive":
                pass
        except (OSError, ValueError, http.client.HTTPException):
            pass  # The server is silent, or the connection has ended.
        self.lost.set()


def say(text):
    # Other users choose the words of their requests: no control character of theirs reaches the terminal.
    text = "".join(each if each.isprintable() else "?" for each in text)
    print("http-lock: " + text, file=sys.stderr, flush=True)


def say_waiting(holders):
    for holder in holders:
        say("waiting for host {host} ({reason}), since {since}".format(**holder))


def content_of(path):
    with open(path, encoding="utf8") as file:
        return file.read().strip()


def run(name, command):
    env = os.environ
    request = {"owner": socket.gethostname(), "reason": "python", "detail": " ".join(command)[:200]}
    if env.get("WAIT_MS"):
        request["waitMs"] = int(env["WAIT_MS"])
    token = content_of(env["TOKEN_FILE"]) if env.get("TOKEN_FILE") else None
    server = env.get("LOCKS", "http://127.0.0.1:7020")
    with Lock(server, name, token=token, ca=env.get("CA"), on_wait=say_waiting, **request) as lock:
        # The command runs in a process group of its own, which is killed when the lock is lost.
        variables = {**env, "BERTH_LOCK_TOKEN": str(lock.token)}
        process = subprocess.Popen(command, env=variables, start_new_session=True)
        try:
            while process.poll() is None:
                if lock.lost.wait(0.1):
                    say(f"the lock {name} was lost: the command is killed")
                    return 5
            return process.returncode if process.returncode >= 0 else 128 - process.returncode
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


if __name__ == "__main__":
    # Else the command would go on without the lock: the end of the connection releases it.
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    try:
        sys.exit(run(sys.argv[1], sys.argv[2:]))
    except LockError as error:
        say(str(error))
        sys.exit(4 if error.code in ("contended", "timeout", "disabled") else 6)
    except (OSError, http.client.HTTPException) as error:
        say(f"the lock server does not answer: {error}")
        sys.exit(6)
