"""Connections that are reset, by either end, and connects that fail later: `resets.py PORT PEER NOBODY`.

Asks the server at PEER in four ways, tries to connect to NOBODY, and then answers requests at PORT until one says `end`.
Prints what each call returned.
"""

import errno
import select
import socket
import struct
import sys

port, peer, nobody = map(int, sys.argv[1:4])


def told(call):
    """What a call returned, or the name of its error."""
    try:
        return call()
    except OSError as error:
        return errno.errorcode[error.errno]


for way in ["before", "within", "own", "unread"]:
    server = socket.create_connection(("127.0.0.1", peer))
    server.sendall(way.encode())
    select.select([server], [], [])
    if way == "own":
        # close(2) resets.
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        print(way, told(lambda: server.recv(100)))
    elif way == "unread":
        # So does it where bytes wait that nobody reads.
        print(way, told(lambda: server.recv(2)))
    else:
        while isinstance(got := told(lambda: server.recv(100)), bytes):
            print(way, got)
        print(way, got, told(lambda: server.send(b"more")))
    server.close()

for asks in [True, False]:
    later = socket.socket()
    later.setblocking(False)
    begun = told(lambda: later.connect(("127.0.0.1", nobody)))
    select.select([], [later], [])
    asked = later.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if asks else told(lambda: later.send(b"x"))
    print("later", begun, asked)
    later.close()

listener = socket.create_server(("127.0.0.1", port))
print("serving", flush=True)
while True:
    client, _ = listener.accept()
    request = told(lambda: client.recv(100))
    print(request)
    if request == b"before":
        # Told to go on when the client has gone.
        told(lambda: client.recv(100))
        print("answered", told(lambda: client.send(b"too late")))
    elif isinstance(request, bytes) and request:
        client.sendall(b"answer to " + request)
        print("and then", told(lambda: client.recv(100)))
    client.close()
    if request == b"end":
        break
