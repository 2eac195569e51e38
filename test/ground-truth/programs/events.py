"""events.py SETTINGS: an HTTP server on asyncio, all in one thread, which asks Redis and an HTTP upstream.

  GET  /upstream/N  the HTTP upstream, on a connection for this request
  GET  /redis/N     two pipelined commands, on one connection that all requests share
  GET  /both/N      both at once
  GET  /udp/N       a datagram to a socket of the test, and its answer
  POST /echo        the body

SETTINGS is JSON. Listens on IPv4 and IPv6; ends on SIGTERM.
"""

import asyncio
import json
import signal
import sys

settings = json.loads(sys.argv[1])


class Redis:
    """Answers come in the order of the commands, whoever waits for them."""

    async def connect(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", settings["redis"])
        self.waiting = asyncio.Queue()
        self.task = asyncio.create_task(self.read())

    async def read(self):
        while True:
            future = await self.waiting.get()
            head = await self.reader.readuntil(b"\r\n")
            if head[:1] == b"$" and head != b"$-1\r\n":
                head += await self.reader.readexactly(int(head[1:]) + 2)
            future.set_result(head)

    def ask(self, *words):
        future = asyncio.get_running_loop().create_future()
        self.waiting.put_nowait(future)
        data = [word.encode() for word in words]
        self.writer.write(b"*%d\r\n" % len(data) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in data))
        return future


redis = Redis()


async def by_upstream(number):
    reader, writer = await asyncio.open_connection("127.0.0.1", settings["upstream"])
    writer.write(f"GET /{number} HTTP/1.1\r\nHost: upstream\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer.split(b"\r\n\r\n", 1)[1]


async def by_redis(number):
    answers = await asyncio.gather(redis.ask("INCRBY", f"n:{number}", "1"), redis.ask("GET", "large"))
    return b"".join(answers)


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self):
        self.answer = asyncio.get_running_loop().create_future()

    def datagram_received(self, data, address):
        self.answer.set_result(data)


async def by_udp(number):
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        Datagrams, remote_addr=("127.0.0.1", settings["udp"])
    )
    transport.sendto(f"datagram {number}".encode())
    answer = await protocol.answer
    transport.close()
    return answer


async def work(path):
    _, kind, number = path.split("/")
    if kind == "both":
        return b"".join(await asyncio.gather(by_upstream(number), by_redis(number)))
    return await {"upstream": by_upstream, "redis": by_redis, "udp": by_udp}[kind](number)


async def serve(reader, writer):
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, path, _ = head.split("\r\n", 1)[0].split(" ")
            if method == "POST":
                length = next(line for line in head.split("\r\n") if line.lower().startswith("content-length:"))
                body = await reader.readexactly(int(length.split(":")[1]))
            else:
                body = await work(path)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
            writer.write(body)
            await writer.drain()
    except asyncio.IncompleteReadError:
        pass
    writer.close()


async def main():
    await redis.connect()
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    server = await asyncio.start_server(serve, ["127.0.0.1", "::1"], settings["port"], backlog=128)
    async with server:
        await over.wait()


asyncio.run(main())
