"""The server of the functions: waitress connections under a gunicorn worker, driven by one loop."""
