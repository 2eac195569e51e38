"""service.py PORT REDIS_PORT UPSTREAM_PORT: Python's threading HTTP server with a Redis client and an HTTP upstream.

  GET  /item/KEY   Redis GET item:KEY
  POST /count      Redis INCRBY count BODY
  GET  /price/KEY  Redis GET item:KEY, then the upstream's /price?item=KEY
  GET  /list       Redis pipeline of three GETs

REGRESSION=answer changes what it answers, REGRESSION=call what it asks for. Ends on SIGTERM and SIGINT.
"""

import json
import os
import signal
import sys
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import redis

port, redis_port, upstream_port = (int(argument) for argument in sys.argv[1:4])
regression = os.environ.get("REGRESSION", "")
store = redis.Redis(host="127.0.0.1", port=redis_port)


def text(value):
    return None if value is None else value.decode()


def item(key):
    return text(store.get(f"item:{key}{'0' if regression == 'call' else ''}"))


def price(key):
    with urllib.request.urlopen(f"http://127.0.0.1:{upstream_port}/price?item={key}", timeout=10) as response:
        return json.load(response)["price"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, value):
        if regression == "answer":
            value["changed"] = True
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def serve(self, work):
        try:
            value = work()
        except (redis.RedisError, urllib.error.URLError) as error:
            self.answer(502, {"error": type(error).__name__})
        else:
            self.answer(404 if value is None else 200, {"error": "no such route"} if value is None else value)

    def do_GET(self):
        route, _, key = self.path[1:].partition("/")

        def work():
            if route == "item":
                return {"item": key, "name": item(key)}
            if route == "price":
                return {"item": key, "name": item(key), "price": price(key)}
            if route == "list":
                with store.pipeline(transaction=False) as pipeline:
                    for number in (1, 2, 3):
                        pipeline.get(f"item:{number}")
                    return {"items": [text(value) for value in pipeline.execute()]}
            return None

        self.serve(work)

    def do_POST(self):
        amount = int(self.rfile.read(int(self.headers["Content-Length"])))
        self.serve(lambda: {"count": store.incrby("count", amount)} if self.path == "/count" else None)

    def log_message(self, *_):
        pass


ThreadingHTTPServer.daemon_threads = True
server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
try:
    server.serve_forever()
except KeyboardInterrupt:
    sys.exit(130)
