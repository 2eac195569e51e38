"""Answers with what it draws at random, what it encrypts, and a digest of what it says: tokens.py PORT REDIS_PORT [changed]"""
import hashlib
import json
import secrets
import signal
import socket
import sys
import time
import uuid
from http.server import BaseHTTPRequestHandler, HTTPServer

PORT, REDIS = int(sys.argv[1]), int(sys.argv[2])
PRICE = 8 if "changed" in sys.argv[3:] else 7


def ask(*words):
    """Asks Redis on a connection of its own, and returns the first line of its answer."""
    with socket.create_connection(("127.0.0.1", REDIS)) as server:
        encoded = [str(word).encode() for word in words]
        server.sendall(b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded))
        return server.makefile("rb").readline().strip()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        job = secrets.token_hex(12)
        ask("LPUSH", "queue", json.dumps({"jid": job, "class": "Mail", "at": time.time()}))
        ask("INCR", "requests:%d" % (time.time() // 60))
        body = json.dumps({"csrf": secrets.token_hex(16), "trace": uuid.uuid4().hex, "price": "in the ETag"})
        self.send_response(200)
        self.send_header("ETag", '"%s"' % hashlib.sha256(b"%d" % PRICE).hexdigest())
        self.send_header("Set-Cookie", "remember=%s; Path=/; HttpOnly" % secrets.token_urlsafe(32))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


signal.signal(signal.SIGTERM, lambda *_: sys.exit())
HTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
