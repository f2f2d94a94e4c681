"""Serves flask_app by waitress on the socket whose number is given."""

import socket
import sys

import waitress
from flask_app import app

listener = socket.socket(fileno=int(sys.argv[1]))
# A client that left is seen once so many bytes wait for it.
waitress.serve(app, sockets=[listener], threads=8, outbuf_high_watermark=100_000)
