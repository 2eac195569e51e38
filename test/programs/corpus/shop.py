"""shop.py SETTINGS: a shop's service, which asks Redis, memcached and an HTTP service by the usual clients.

  GET /redis/DEED/N...   redis       GET /cache/DEED/N...   pymemcache       GET /http/DEED/N...   requests

SETTINGS is JSON: `port`, who is asked, and `later`, by how many seconds the clock is ahead. Times, ids and tokens are
made anew at each request. Ends on SIGTERM.
"""

import json
import secrets
import signal
import sys
import time
import uuid
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

settings = json.loads(sys.argv[1])


def now():
    return time.time() + settings["later"]


def clock():
    return datetime.fromtimestamp(now(), timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


work = {}
if "redis" in settings:
    import redis

    store = redis.Redis(host="127.0.0.1", port=settings["redis"]["port"], max_connections=1)

    def by_redis(deed, *args):
        match deed, *args:
            case "ping", :
                return store.ping()
            case "login", user:
                token = secrets.token_hex(16)
                session = {"user_id": int(user), "created_at": clock(), "csrf": secrets.token_urlsafe(24)}
                store.setex(f"session:{token}", 1800, json.dumps(session))
                store.hset(f"user:{user}", mapping={"last_login": clock(), "agent": "grove/2"})
                return store.sadd(f"user:{user}:sessions", token)
            case "session", token:
                store.expire(f"session:{token}", 1800)
                return store.get(f"session:{token}")
            case "item", number:
                return store.hgetall(f"item:{number}")
            case "field", number, name:
                return store.hget(f"item:{number}", name)
            case "items", *numbers:
                return store.mget([f"item:{number}:price" for number in numbers])
            case "cart", user, item, count:
                with store.pipeline(transaction=True) as pipe:
                    pipe.hset(f"cart:{user}", item, count)
                    pipe.expire(f"cart:{user}", 3600)
                    pipe.hset(f"cart:{user}:meta", "updated_at", int(now()))
                    return pipe.execute()
            case "page", number:
                start = int(number) * 10
                return store.zrevrange("items:by-sales", start, start + 9, withscores=True)
            case "view", user, item:
                store.zincrby("items:by-views", 1, f"item:{item}")
                store.lpush(f"user:{user}:seen", json.dumps({"item": int(item), "at": round(now() * 1000)}))
                return store.ltrim(f"user:{user}:seen", 0, 99)
            case "render", version, page:
                name = f"page:v{version}:{page}"
                body = f"<main>page {page}, made at {clock()}</main>"
                return [store.get(name), store.set(name, body, ex=300)]
            case "lock", name:
                token = str(uuid.uuid4())
                return [store.set(f"lock:{name}", token, nx=True, px=5000), store.delete(f"lock:{name}")]
            case "limit", address:
                minute = int(now() // 60)
                return store.incr(f"rate:{address}:{minute}")
            case "event", kind, user:
                return store.xadd("events", {"kind": kind, "user": user, "at": clock(), "id": str(uuid.uuid4())})
            case "count", name, by:
                return store.incrby(f"counter:{name}", int(by))

    work["redis"] = by_redis

if "memcached" in settings:
    from pymemcache.client.base import Client

    cache = Client(("127.0.0.1", settings["memcached"]["port"]), default_noreply=False)

    def by_cache(deed, *args):
        match deed, *args:
            case "get", key:
                return cache.get(key)
            case "many", *keys:
                return cache.get_many(keys)
            case "product", number:
                value = {"id": int(number), "cached_at": clock(), "etag": secrets.token_hex(8)}
                return [cache.get(f"product:{number}"), cache.set(f"product:{number}", json.dumps(value), expire=60)]
            case "drop", key:
                return cache.delete(key)
            case "login", user:
                return cache.set(f"sess_{secrets.token_hex(16)}", f"user={user};at={int(now())}", expire=900)
            case "hit", name:
                return [cache.add(f"hits:{name}", "0"), cache.incr(f"hits:{name}", 1)]
            case "touch", key:
                return cache.touch(key, 600)

    work["cache"] = by_cache

if "http" in settings:
    import requests

    web = requests.Session()
    base = f"http://127.0.0.1:{settings['http']['port']}"

    def headers():
        return {"X-Request-Id": str(uuid.uuid4()), "Authorization": "Bearer 5f1c2a6d9b3e47a8"}

    def by_http(deed, *args):
        def get(path, **params):
            return web.get(base + path, params=params, headers=headers()).status_code

        def post(path, **body):
            return web.post(base + path, headers=headers(), **body).status_code

        match deed, *args:
            case "user", number:
                return get(f"/v1/users/{number}")
            case "orders", user, page:
                return get(f"/v1/users/{user}/orders", page=page, per_page=20, _=round(now() * 1000))
            case "search", words:
                return get("/v1/search", q=words, sort="price", limit=10)
            case "order", user, item, count:
                line = {"item_id": int(item), "quantity": int(count)}
                order = {
                    "id": str(uuid.uuid4()),
                    "user_id": int(user),
                    "lines": [line],
                    "created_at": clock(),
                    "idempotency_key": secrets.token_hex(12),
                }
                return post("/v1/orders", json=order)
            case "pay", order, cents:
                return post(
                    "/v1/payments",
                    data={"order": order, "amount": cents, "currency": "EUR", "nonce": secrets.token_hex(8), "ts": int(now())},
                )
            case "status", order, status:
                change = {"status": status, "updated_at": clock()}
                return web.patch(f"{base}/v1/orders/{order}", json=change, headers=headers()).status_code
            case "remove", user, address:
                return web.delete(f"{base}/v1/users/{user}/addresses/{address}", headers=headers()).status_code
            case "graph", user:
                query = "query User($id: ID!) { user(id: $id) { name orders { id } } }"
                return post("/graphql", json={"query": query, "variables": {"id": user}})

    work["http"] = by_http


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        _, asked, deed, *args = self.path.split("/")
        body = json.dumps(work[asked](deed, *args), default=str).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer.daemon_threads = True
server = ThreadingHTTPServer(("127.0.0.1", settings["port"]), Handler)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
server.serve_forever()
