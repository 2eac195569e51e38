"""databases.py SETTINGS: Python's threading HTTP server, which asks by psycopg2, psycopg, PyMySQL or redis.

  GET /postgres/KIND/N   psycopg2: a connection for each request, on TCP
  GET /pooled/KIND/N     psycopg2: one connection for all, made at the start
  GET /psycopg/KIND/N    psycopg 3: a connection for each request, its statements prepared
  GET /mysql/KIND/N      PyMySQL: a connection for each request, on the unix socket
  GET /redis/KIND/N      redis: a pool

KIND is `read` or `write`. SETTINGS is JSON; who is asked is in it. REGRESSION=value asks for another row. Ends on
SIGTERM.
"""

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

settings = json.loads(sys.argv[1])
shift = 1 if os.environ.get("REGRESSION") == "value" else 0
READ = "SELECT id, name, height FROM trees WHERE id = %s"
WRITE = "INSERT INTO visits (tree, note) VALUES (%s, %s)"


def ask(connection, kind, number, **options):
    with connection.cursor() as cursor:
        if kind == "read":
            cursor.execute(READ, (number + shift,), **options)
            return [list(row) for row in cursor.fetchall()]
        cursor.execute(WRITE, (number + shift, f"note {number}"), **options)
        connection.commit()
        return cursor.rowcount


work = {}
if "postgres" in settings:
    import psycopg
    import psycopg2

    account = settings["postgres"]
    words = {name: account[name] for name in ("port", "user", "password")}
    words |= {"host": "127.0.0.1", "dbname": account["database"], "sslmode": account.get("sslmode", "prefer")}
    # Who can't be asked in a replay is not asked before it has begun.
    shared = psycopg2.connect(**words) if words["sslmode"] == "prefer" else None

    def by_postgres(kind, number):
        connection = psycopg2.connect(**words)
        try:
            return ask(connection, kind, number)
        finally:
            connection.close()

    def by_psycopg(kind, number):
        with psycopg.connect(**words) as connection:
            return ask(connection, kind, number, prepare=True)

    def by_pool(kind, number):
        with shared:
            return ask(shared, kind, number)

    work |= {"postgres": by_postgres, "psycopg": by_psycopg, "pooled": by_pool}

if "mysql" in settings:
    import pymysql

    def by_mysql(kind, number):
        account = settings["mysql"]
        words = {name: account[name] for name in ("user", "password", "database")}
        connection = pymysql.connect(unix_socket=account["socket"], **words)
        try:
            return ask(connection, kind, number)
        finally:
            connection.close()

    work["mysql"] = by_mysql

if "redis" in settings:
    import redis

    store = redis.Redis(host="127.0.0.1", port=settings["redis"]["port"], db=2, client_name="grove")

    def by_redis(kind, number):
        if kind == "read":
            name = store.hget(f"tree:{number + shift}", "name")
            return None if name is None else name.decode()
        return store.hset(f"tree:{number + shift}", mapping={"name": f"name {number}"})

    work["redis"] = by_redis


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        _, asked, kind, number = self.path.split("/")
        status = 200
        try:
            answer = work[asked](kind, int(number))
        except Exception as error:
            status, answer = 502, {"error": type(error).__name__}
        body = json.dumps(answer, default=str).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer.daemon_threads = True
server = ThreadingHTTPServer(("127.0.0.1", settings["port"]), Handler)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
server.serve_forever()
