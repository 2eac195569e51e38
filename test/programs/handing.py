"""A master that accepts, and hands its connections to workers by SCM_RIGHTS: handing.py PORT UPSTREAM read|unread.

The master reads each request before it hands the connection over, or leaves that to the worker. The workers ask the
upstream for the path, and answer.
"""
import os
import signal
import socket
import sys

port, upstream, way = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]


def work(from_master: socket.socket) -> None:
    while True:
        head, descriptors, _, _ = socket.recv_fds(from_master, 65536, 1)
        if not descriptors:
            return
        with socket.socket(fileno=descriptors[0]) as client:
            # A message without bytes carries nothing.
            request = head[1:] or client.recv(65536)
            if not request:
                continue
            path = request.split()[1]
            with socket.create_connection(("127.0.0.1", upstream)) as asked:
                asked.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: upstream\r\nConnection: close\r\n\r\n")
                answer = b""
                while piece := asked.recv(65536):
                    answer += piece
            client.sendall(answer)


workers = []
for _ in range(2):
    ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        ours.close()
        for other in workers:
            other.close()
        work(theirs)
        os._exit(0)
    theirs.close()
    workers.append(ours)

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
with socket.create_server(("127.0.0.1", port)) as listener:
    number = 0
    while True:
        client, _ = listener.accept()
        with client:
            head = b"." + (client.recv(65536) if way == "read" else b"")
            socket.send_fds(workers[number % len(workers)], [head], [client.fileno()])
        number += 1
