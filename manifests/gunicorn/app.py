"""A WSGI application that says which worker answers."""

import os


def app(environ, start_response):
    body = f"hello from worker {os.getpid()}, {environ['PATH_INFO']}\n".encode()
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]
