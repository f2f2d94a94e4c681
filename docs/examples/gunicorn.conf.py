"""Two processes of four threads; the application is imported once, before they fork."""

bind = "127.0.0.1:8000"
worker_class = "gthread"
workers = 2
threads = 4
preload_app = True
