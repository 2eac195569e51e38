"""prefork.py: a WSGI application for gunicorn that asks the HTTP upstream (UPSTREAM is its port) by `requests`."""

import os

import requests

session = requests.Session()


def application(environment, start):
    body = session.get(f"http://127.0.0.1:{os.environ['UPSTREAM']}{environment['PATH_INFO']}", timeout=30).content
    start("200 OK", [("Content-Length", str(len(body)))])
    return [body]
