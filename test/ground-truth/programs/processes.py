"""processes.py KIND SETTINGS: HTTP servers that come to serve in different ways; each asks the HTTP upstream once a request.

  plain       one process
  chroot      two forked workers that shut themselves into a folder and become another user, with the master's listener
  chroot-own  a forked worker that does so before it has done anything on the network
  daemon      a process that has forked twice, left its session and closed what it had
  fork        two workers of multiprocessing, forked; a third is forked for each tenth request
  spawn       two workers of multiprocessing, which start Python anew and get the listener handed over
  subprocess  threads that run curl, and a shell that runs curl in a pipeline, for each request

SETTINGS is JSON. Each ends on SIGTERM, with what it started.
"""

import json
import multiprocessing
import os
import pwd
import signal
import socket
import subprocess
import sys
import threading

settings = json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}


def whole(connection):
    """What comes up to the end of a head, and of the body that it announces."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(4096)
        if not more:
            return data
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            while len(body) < int(line.split(b":")[1]):
                more = connection.recv(65536)
                data, body = data + more, body + more
    return data


def ask(path):
    # Nothing that looks for a file: there is none in a chroot.
    with socket.socket() as connection:
        connection.connect(("127.0.0.1", settings["upstream"]))
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: upstream\r\n\r\n".encode())
        return whole(connection).partition(b"\r\n\r\n")[2]


def answer(connection, work):
    with connection:
        while request := whole(connection):
            path = request.split(b" ")[1].decode()
            body = b"%d: %s" % (os.getpid(), work(path))
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def serve(listener, work=ask):
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=(connection, work), daemon=True).start()


def listen():
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", settings["port"]))
    listener.listen(128)
    return listener


def end_with(children):
    """Ends the children when this process is told to end, and then itself."""

    def end(*_):
        for child in children:
            os.kill(child, signal.SIGTERM)
        for child in children:
            os.waitpid(child, 0)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    while True:
        signal.pause()


def confined(listener):
    nobody = pwd.getpwnam("nobody")
    os.chroot(settings["empty"])
    os.chdir("/")
    os.setgroups([])
    os.setgid(nobody.pw_gid)
    os.setuid(nobody.pw_uid)
    serve(listener or listen())


def fork(work):
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    return child


def daemon():
    if os.fork() > 0:
        os._exit(0)
    os.setsid()
    if os.fork() > 0:
        os._exit(0)
    os.closerange(0, 1024)
    for _ in range(3):
        os.open("/dev/null", os.O_RDWR)
    with open(settings["pid"], "w") as file:
        file.write(str(os.getpid()))
    serve(listen())


def ask_in_child(pipe, path):
    pipe.send(ask(path))


def ask_somehow(path):
    if not path.endswith("0"):
        return ask(path)
    here, there = multiprocessing.Pipe()
    child = multiprocessing.Process(target=ask_in_child, args=(there, path))
    child.start()
    body = here.recv()
    child.join()
    return body


def ask_by_programs(path):
    url = f"http://127.0.0.1:{settings['upstream']}{path}"
    first = subprocess.run(["curl", "-s", url], capture_output=True, check=True).stdout
    pipeline = f'x=$(curl -s {url}/x | tr a-z A-Z); echo "$x" | cat'
    return first + subprocess.run(pipeline, shell=True, capture_output=True, check=True).stdout + ask(path)


def main():
    kind = sys.argv[1]
    if kind == "plain":
        serve(listen())
    elif kind == "chroot":
        listener = listen()
        end_with([fork(lambda: confined(listener)) for _ in range(2)])
    elif kind == "chroot-own":
        end_with([fork(lambda: confined(None))])
    elif kind == "daemon":
        daemon()
    elif kind in ("fork", "spawn"):
        multiprocessing.set_start_method(kind)
        listener = listen()
        work = ask_somehow if kind == "fork" else ask
        children = [multiprocessing.Process(target=serve, args=(listener, work)) for _ in range(2)]
        for child in children:
            child.start()
        end_with([child.pid for child in children])
    elif kind == "subprocess":
        serve(listen(), ask_by_programs)


if __name__ == "__main__":
    main()
elif multiprocessing.parent_process():
    # Started anew: the arguments are the parent's.
    settings = json.loads(sys.argv[2])
