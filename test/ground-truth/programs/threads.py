"""threads.py SETTINGS: Python's threading HTTP server, which asks by `requests`, psycopg2 and PyMySQL, each from a pool.

  GET  /requests/N  two requests to the HTTP upstream, one of which posts
  GET  /postgres/N  a transaction with a long row, on TCP
  GET  /mysql/N     the same in MariaDB, on its unix socket
  POST /echo        the body
  GET  /file/SIZE   a file of that size, by socket.sendfile

SETTINGS is JSON. Ends on SIGTERM.
"""

import json
import os
import queue
import signal
import socket
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg2.pool
import pymysql
import requests

settings = json.loads(sys.argv[1])
upstream = f"http://127.0.0.1:{settings['upstream']}"
web = requests.Session()
web.mount("http://", requests.adapters.HTTPAdapter(pool_connections=4, pool_maxsize=8))
postgres_settings = settings["postgres"]
postgres_pool = psycopg2.pool.ThreadedConnectionPool(
    2,
    32,
    host="127.0.0.1",
    port=postgres_settings["port"],
    user=postgres_settings["user"],
    password=postgres_settings["password"],
    dbname=postgres_settings["database"],
)
mysql_pool = queue.LifoQueue()


def by_requests(number):
    first = web.get(f"{upstream}/first/{number}", timeout=30).text
    second = web.post(f"{upstream}/second/{number}", data="x" * (number * 997 % 30000), timeout=30).text
    return first + second


def by_postgres(number):
    connection = postgres_pool.getconn()
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT repeat(%s, %s), generate_series(1, 40)", (str(number), number * 31 % 900))
            return str(cursor.fetchall())
    finally:
        postgres_pool.putconn(connection)


def by_mysql(number):
    try:
        connection = mysql_pool.get_nowait()
    except queue.Empty:
        account = settings["mysql"]
        connection = pymysql.connect(
            unix_socket=account["socket"],
            user=account["user"],
            password=account["password"],
            database=account["database"],
        )
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, REPEAT(name, %s) FROM trees ORDER BY id", (number * 7 % 300,))
        rows = cursor.fetchall()
    mysql_pool.put(connection)
    return str(rows)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        _, kind, argument = self.path.split("/")
        number = int(argument)
        if kind == "file":
            self.send_response(200)
            self.send_header("Content-Length", str(number))
            self.end_headers()
            with tempfile.NamedTemporaryFile(dir=settings["folder"], delete=False) as file:
                file.write(os.urandom(number))
                file.flush()
                self.wfile.flush()
                self.connection.sendfile(file, 0)
            return
        work = {"requests": by_requests, "postgres": by_postgres, "mysql": by_mysql}[kind]
        self.answer(work(number).encode())

    def do_POST(self):
        self.answer(self.rfile.read(int(self.headers["Content-Length"])))

    def log_message(self, format, *arguments):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128


def main():
    server = Server(("127.0.0.1", settings["port"]), Handler)
    stop = lambda *_: threading.Thread(target=server.shutdown).start()
    signal.signal(signal.SIGTERM, stop)
    server.serve_forever()
    server.server_close()


main()
