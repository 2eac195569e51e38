"""A server that looks names up, asks by datagrams, and appends to a log: HOST PORT of the UDP server, the log."""

import http.server
import json
import logging
import socket
import sys
from urllib.parse import parse_qs, urlparse

PORT, UDP_PORT, LOG = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
CHANGED = "changed" in sys.argv[4:]
UDP = ("127.0.0.1", UDP_PORT)

logging.basicConfig(filename=LOG, format="%(asctime)s %(process)d %(message)s", level=logging.INFO)
shared = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
shared.settimeout(5)


def lookup(name):
    try:
        found = socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)
        return sorted({entry[4][0] for entry in found})
    except socket.gaierror as error:
        return error.errno


def names(name):
    try:
        by_host = socket.gethostbyname_ex(name)[2]
    except OSError as error:
        by_host = error.errno
    return {"addresses": lookup(name), "host": by_host, "numeric": lookup("192.0.2.1")}


def ask(text):
    """By a socket that is not connected, and by one that is."""
    shared.sendto(("ask " + text).encode(), UDP)
    answer, source = shared.recvfrom(1000)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connected:
        connected.settimeout(5)
        connected.connect(UDP)
        connected.send(b"again " + text.encode())
        second = connected.recv(1000)
        return {
            "answer": answer.decode(),
            "source": source == UDP,
            "second": second.decode(),
            "peer": connected.getpeername() == UDP,
        }


def count(text):
    shared.sendto(f"{text}:{2 if CHANGED else 1}|c".encode(), ("127.0.0.1", UDP_PORT + 1))
    return {}


def append(text):
    logging.info("appended %s%s", text, " otherwise" if CHANGED else "")
    with open(LOG + ".raw", "ab", buffering=0) as raw:
        raw.write(text.encode() + b"\n")
    return {}


DEEDS = {"/names": names, "/ask": ask, "/count": count, "/append": append}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        url = urlparse(self.path)
        result = DEEDS[url.path](parse_qs(url.query)["q"][0])
        body = json.dumps(result).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
