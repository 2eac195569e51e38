"""A service that uses sockets of the kinds that few programs use: `families.py PORT FOLDER`.

`/packets` asks who listens at FOLDER/packets.sock by messages (SOCK_SEQPACKET), `/own` asks the service itself in that
way, `/vsock` connects to a virtual machine's host, `/raw` sends to 127.0.0.1 past TCP and UDP, `/datagram` sends to
FOLDER/raw.sock by a unix socket of SOCK_RAW, and `/kernel` asks the kernel for its interfaces (AF_NETLINK). Each answers
with what came of it.
"""
import os
import signal
import socket
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

port, folder = int(sys.argv[1]), sys.argv[2]
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


def packets(path="packets.sock"):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
        asking.connect(os.path.join(folder, path))
        asking.send(b"how many")
        asking.send(b"and a second message")
        first, second = asking.recv(1000), asking.recv(6)
        return f"{first.decode()}, {second.decode()}"


def own():
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as serving:
        path = "own.sock"
        serving.bind(os.path.join(folder, path))
        serving.listen()

        def serve():
            accepted, _ = serving.accept()
            with accepted:
                for _ in range(2):
                    accepted.send(b"own " + accepted.recv(1000))

        threading.Thread(target=serve).start()
        try:
            return packets(path)
        finally:
            os.unlink(os.path.join(folder, path))


def vsock():
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as asking:
        asking.settimeout(2)
        asking.connect((socket.VMADDR_CID_HOST, 1))
        return "connected"


def raw():
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, 253) as sending:
        return str(sending.sendto(b"past TCP and UDP", ("127.0.0.1", 0)))


def datagram():
    with socket.socket(socket.AF_UNIX, socket.SOCK_RAW) as sending:
        return str(sending.sendto(b"a datagram all the same", os.path.join(folder, "raw.sock")))


def kernel():
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as asking:
        # RTM_GETLINK, as a request for all of them (rtnetlink(7)).
        asking.send(struct.pack("=IHHIIBxHiII", 32, 18, 0x301, 1, 0, 0, 0, 0, 0, 0))
        return str(len(asking.recv(65536)) > 16)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        ways = {"packets": packets, "own": own, "vsock": vsock, "raw": raw, "datagram": datagram, "kernel": kernel}
        try:
            said = ways[self.path[1:]]()
        except OSError as error:
            said = f"failed: {os.strerror(error.errno) if error.errno else error}"
        body = said.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
