"""A kubectl that forwards a port of this machine to the port in FAKE_TARGET.

It writes its arguments to the file FAKE_LOG. If FAKE_SAYS is set, it prints that error and ends at
once. If the file FAKE_LOG.die exists, it ends. If the file FAKE_LOG.lose exists, it reports that it
lost the pod, and continues to run.
"""

import os
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

LOG = Path(os.environ["FAKE_LOG"])


def main() -> None:
    with LOG.open("a") as log:
        print(os.getpid(), *sys.argv[1:], file=log)
    if os.environ.get("FAKE_SAYS"):
        sys.exit(os.environ["FAKE_SAYS"])
    threading.Thread(target=watch, daemon=True).start()
    port = int(sys.argv[-1].partition(":")[0])
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            sys.exit(
                f"error: unable to listen on any of the requested ports: [{port}]: {error.strerror}"
            )
        listener.listen(16)
        print(f"Forwarding from 127.0.0.1:{port} -> 80", flush=True)
        while True:
            near, _ = listener.accept()
            print(f"Handling connection for {port}", flush=True)
            far = socket.create_connection(("127.0.0.1", int(os.environ["FAKE_TARGET"])))
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=copy, args=(one, other), daemon=True).start()


def watch() -> None:
    while True:
        for name, end in (("die", True), ("lose", False)):
            with suppress(FileNotFoundError):
                Path(f"{LOG}.{name}").unlink()
                print(
                    "E0101 an error occurred forwarding 80 -> 80: no such pod",
                    file=sys.stderr,
                    flush=True,
                )
                if end:
                    os._exit(1)
        time.sleep(0.02)


def copy(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)


main()
